package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/ledger"
)

// A Use is what becomes of the parts of a backup while it is read. A nil func looks at
// its part and drops it. An error of one ends the reading and is returned as it is.
type Use struct {
	// Secret gets the secret of the key hash.
	Secret func([SecretBytes]byte) error
	// Group gets the snapshot of one group, 0 first, and reads it to its end.
	Group func(group int, from io.Reader) (ledger.Summary, error)
}

// Read reads a backup to its end and checks all of it. Only when it returns without an
// error is what use was given known to be whole.
func Read(from io.Reader, use Use) (*Manifest, error) {
	r := &reader{from: bufio.NewReaderSize(from, chunkBytes), sum: sha256.New(), part: "its head"}
	m, err := r.all(use)
	var mine *DamagedError
	switch {
	case err == nil:
		return m, nil
	case r.broken != nil:
		return nil, fmt.Errorf("backup: read: %w", r.broken) // the disk, or the network
	case errors.As(err, &mine), errors.Is(err, storage.ErrNewerFormat), r.used:
		return nil, err
	default:
		return nil, &DamagedError{Part: r.part, At: r.at, Cause: err}
	}
}

// A reader reads a backup.
type reader struct {
	from   *bufio.Reader
	sum    hash.Hash // of what was read
	at     int64
	part   string // that is being read
	broken error  // the first error of from that is not its end
	used   bool   // the error is one of Use
}

func (r *reader) all(use Use) (*Manifest, error) {
	if err := r.head(); err != nil {
		return nil, err
	}
	r.part = "the secret"
	if err := r.secret(use); err != nil {
		return nil, err
	}
	var groups []ledger.Summary
	for {
		kind, err := r.octet()
		switch {
		case err != nil:
			return nil, err
		case kind == sectionManifest:
			return r.end(groups)
		case kind != sectionGroup || len(groups) == GroupsMax:
			return nil, fmt.Errorf("a section of kind %d behind %d groups", kind, len(groups))
		}
		r.part = "group " + strconv.Itoa(len(groups))
		s, err := r.group(len(groups), use)
		if err != nil {
			return nil, err
		}
		groups = append(groups, s)
	}
}

// head reads what the file begins with.
func (r *reader) head() error {
	b := make([]byte, len(magic))
	if err := r.full(b); err != nil || string(b) != magic {
		return errors.New("it does not begin as a backup of Headgate does")
	}
	number := ""
	for len(number) < 10 {
		c, err := r.octet()
		if err != nil {
			return err
		}
		if c == '\n' {
			break
		}
		number += string(rune(c))
	}
	switch format, err := strconv.Atoi(number); {
	case err != nil || format < 1 || strings.HasPrefix(number, "+"):
		return fmt.Errorf("format %q is no version", number)
	case format > Format:
		return fmt.Errorf("backup: it has format %d, this version reads up to %d: %w; restore it with that version", format, Format, storage.ErrNewerFormat)
	}
	return nil
}

func (r *reader) secret(use Use) error {
	if kind, err := r.octet(); err != nil || kind != sectionSecret {
		return errors.Join(err, errors.New("it is not where it should be"))
	}
	b, err := io.ReadAll(io.LimitReader(&section{reader: r}, SecretBytes+1))
	if err != nil {
		return err
	}
	if len(b) != SecretBytes {
		return fmt.Errorf("it has %d bytes or more, not %d", len(b), SecretBytes)
	}
	if use.Secret == nil {
		return nil
	}
	err = use.Secret([SecretBytes]byte(b))
	r.used = err != nil
	return err
}

func (r *reader) group(group int, use Use) (ledger.Summary, error) {
	from := &section{reader: r}
	read := use.Group
	if read == nil {
		read = func(_ int, from io.Reader) (ledger.Summary, error) { return ledger.Examine(from) }
	}
	s, err := read(group, from)
	if err != nil {
		r.used = use.Group != nil && from.err == nil
		return s, err
	}
	n, err := io.Copy(io.Discard, from)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d bytes follow it", n)
	}
	return s, err
}

// end reads the manifest and what follows it.
func (r *reader) end(groups []ledger.Summary) (*Manifest, error) {
	r.part = "the manifest"
	b, err := io.ReadAll(io.LimitReader(&section{reader: r}, manifestBytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(b) > manifestBytesMax {
		return nil, fmt.Errorf("it has more than %d bytes", manifestBytesMax)
	}
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, err
	}
	if !slices.Equal(m.Groups, groups) {
		return nil, errors.New("it is not of the groups before it")
	}
	r.part = "the end"
	if kind, err := r.octet(); err != nil || kind != sectionEnd {
		return nil, errors.Join(err, errors.New("it is not where it should be"))
	}
	want, got := r.sum.Sum(nil), make([]byte, sha256.Size)
	if err := r.full(got); err != nil {
		return nil, err
	}
	if !bytes.Equal(got, want) {
		r.part = "the file"
		return nil, fmt.Errorf("the checksum of the file is %x, of what is there %x", got, want)
	}
	if _, err := r.from.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows it")
	}
	return m, nil
}

// octet reads one byte.
func (r *reader) octet() (byte, error) {
	var b [1]byte
	err := r.full(b[:])
	return b[0], err
}

// full reads all of b.
func (r *reader) full(b []byte) error {
	n, err := io.ReadFull(r.from, b)
	_, _ = r.sum.Write(b[:n]) // never fails
	r.at += int64(n)
	if err == nil {
		return nil
	}
	if r.broken == nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		r.broken = err
	}
	return cut(err)
}

// A section is the bytes of one, without its chunks. It ends with io.EOF.
type section struct {
	*reader

	left int // of the chunk
	done bool
	err  error // the first one that is not the end
}

func (s *section) Read(b []byte) (n int, err error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.left == 0 && !s.done {
		if s.err = s.next(); s.err != nil {
			return 0, s.err
		}
	}
	if s.done {
		return 0, io.EOF
	}
	b = b[:min(len(b), s.left)]
	if s.err = s.full(b); s.err != nil {
		return 0, s.err
	}
	s.left -= len(b)
	return len(b), nil
}

// next begins the next chunk.
func (s *section) next() error {
	var b [4]byte
	if err := s.full(b[:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(b[:])
	if length > chunkBytes {
		return fmt.Errorf("a chunk of %d bytes: at most %d", length, chunkBytes)
	}
	s.left, s.done = int(length), length == 0
	return nil
}
