package ledger

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/headgate/headgate/storage"
)

// A snapshot as a stream:
//
//	head    "headgate ledger" version(1) group(4) applied(8) crc(4)
//	frames  length(4, above 0) records crc(4)
//	end     0(4) number of records(8) crc(4)
//
// where a record is length(varint) key length(varint) value, with the key behind
// the state's byte, in the order of keys. A crc is CRC-32C of everything before it,
// the crcs before it included, so that frames can't be lost, repeated or moved.
const (
	streamMagic = "headgate ledger"
	// streamVersion is what is written, and the newest that is read: 1 has no blocks.
	streamVersion = 2
	// frameBytes is how long a frame is at least, if it is not the last.
	frameBytes = 64 << 10
	// recordBytesMax bounds a record, and frameBytesMax a frame.
	recordBytesMax = 4 << 10
	frameBytesMax  = frameBytes + recordBytesMax
)

// errNewerSnapshot is in the error of a snapshot that this version can't read.
var errNewerSnapshot = errors.New("written by a newer version of Headgate")

// A streamHead says what a snapshot is of.
type streamHead struct {
	group   storage.Group
	applied uint64
}

// A streamWriter writes a snapshot.
type streamWriter struct {
	to      io.Writer
	crc     uint32
	frame   []byte
	records uint64
}

func newStreamWriter(to io.Writer, h streamHead) (*streamWriter, error) {
	w := &streamWriter{to: to, frame: make([]byte, 4, frameBytesMax+8)}
	b := append([]byte(streamMagic), streamVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(h.group))
	return w, w.write(binary.BigEndian.AppendUint64(b, h.applied))
}

// write writes b and the crc.
func (w *streamWriter) write(b []byte) error {
	table := crc32.MakeTable(crc32.Castagnoli)
	b = binary.BigEndian.AppendUint32(b, crc32.Update(w.crc, table, b))
	w.crc = crc32.Update(w.crc, table, b)
	_, err := w.to.Write(b)
	return err
}

func (w *streamWriter) add(key, value []byte) error {
	w.frame = append(binary.AppendUvarint(w.frame, uint64(len(key))), key...)
	w.frame = append(binary.AppendUvarint(w.frame, uint64(len(value))), value...)
	w.records++
	if len(w.frame) < 4+frameBytes {
		return nil
	}
	return w.flush()
}

func (w *streamWriter) flush() error {
	if len(w.frame) == 4 {
		return nil
	}
	binary.BigEndian.PutUint32(w.frame, uint32(len(w.frame)-4))
	err := w.write(w.frame)
	w.frame = w.frame[:4]
	return err
}

func (w *streamWriter) end() error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.write(binary.BigEndian.AppendUint64(make([]byte, 4), w.records))
}

// A streamReader reads a snapshot.
type streamReader struct {
	from  *bufio.Reader
	crc   uint32
	frame []byte
}

func newStreamReader(from io.Reader) (*streamReader, streamHead, error) {
	r := &streamReader{from: bufio.NewReaderSize(from, frameBytes), frame: make([]byte, 0, frameBytesMax)}
	b, err := r.read(len(streamMagic) + 1)
	if err != nil {
		return nil, streamHead{}, fmt.Errorf("head: %w", err)
	}
	if string(b[:len(streamMagic)]) != streamMagic {
		return nil, streamHead{}, errors.New("it is no snapshot of a ledger")
	}
	if v := b[len(streamMagic)]; v < 1 || v > streamVersion {
		return nil, streamHead{}, fmt.Errorf("it has version %d, this one reads up to %d: %w", v, streamVersion, errNewerSnapshot)
	}
	if b, err = r.read(12); err == nil {
		h := streamHead{storage.Group(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint64(b[4:])}
		if err = r.check(); err == nil {
			return r, h, nil
		}
	}
	return nil, streamHead{}, fmt.Errorf("head: %w", err)
}

// read reads n bytes, which are valid until the next read.
func (r *streamReader) read(n int) ([]byte, error) {
	r.frame = r.frame[:n]
	if _, err := io.ReadFull(r.from, r.frame); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	r.crc = crc32.Update(r.crc, crc32.MakeTable(crc32.Castagnoli), r.frame)
	return r.frame, nil
}

// check reads a crc, of what was read so far.
func (r *streamReader) check() error {
	want := r.crc
	var b [4]byte
	if _, err := io.ReadFull(r.from, b[:]); err != nil {
		return io.ErrUnexpectedEOF
	}
	r.crc = crc32.Update(r.crc, crc32.MakeTable(crc32.Castagnoli), b[:])
	if got := binary.BigEndian.Uint32(b[:]); got != want {
		return fmt.Errorf("the checksum is %08x, of what is there %08x: it is damaged", got, want)
	}
	return nil
}

// each calls add with every record; both are valid until add returns. When it
// returns nil the snapshot was whole.
func (r *streamReader) each(add func(key, value []byte) error) error {
	records := uint64(0)
	for {
		b, err := r.read(4)
		if err != nil {
			return err
		}
		length := int(binary.BigEndian.Uint32(b))
		if length == 0 {
			return r.last(records)
		}
		if length > frameBytesMax {
			return fmt.Errorf("a frame has %d bytes: at most %d", length, frameBytesMax)
		}
		if b, err = r.read(length); err == nil {
			err = r.check()
		}
		for err == nil && len(b) > 0 {
			var key, value []byte
			if key, b, err = field(b); err == nil {
				if value, b, err = field(b); err == nil {
					records++
					err = add(key, value)
				}
			}
		}
		if err != nil {
			return fmt.Errorf("behind record %d: %w", records, err)
		}
	}
}

// last reads the end.
func (r *streamReader) last(records uint64) error {
	b, err := r.read(8)
	if err != nil {
		return err
	}
	want := binary.BigEndian.Uint64(b)
	if err := r.check(); err != nil {
		return err
	}
	if want != records {
		return fmt.Errorf("it has %d records and says %d", records, want)
	}
	switch _, err := r.from.ReadByte(); {
	case err == nil:
		return errors.New("something follows its end")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// field reads a length and as many bytes.
func field(b []byte) (value, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > recordBytesMax || n > uint64(len(b)-size) {
		return nil, nil, errors.New("a record is cut off")
	}
	return b[size : size+int(n)], b[size+int(n):], nil
}
