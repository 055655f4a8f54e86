package reservations

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
)

// Saved reservations are the eight bytes "HGHOLDS" and a format version, then
//
//	saved at(8)
//	length(4) bytes         for each reservation, see hold.Book.Save
//	0(4)
//	crc(4)                  CRC-32C of all before it
//
// Integers are little-endian.
const (
	saveMagic   = "HGHOLDS"
	saveVersion = 1

	// savedMax bounds the bytes of a reservation: more than its legs, its domain and two
	// answers take.
	savedMax = 1 << 20
)

// Errors of Read.
var (
	// ErrDamaged means that the bytes are not whole saved reservations.
	ErrDamaged = errors.New("reservations: not saved reservations, or damaged")
	// ErrVersion means that another version of Headgate wrote them.
	ErrVersion = errors.New("reservations: unknown version of saved reservations")
)

// A Saved is what Read has read, for [Reservations.Restore].
type Saved struct {
	At   limiter.Instant
	list []hold.Saved
}

// Len returns how many reservations there are.
func (s *Saved) Len() int { return len(s.list) }

// Save writes to w what is open and what is remembered, for a node that ends: what is
// decided or settled meanwhile may be missing. It returns how many reservations that is. The
// error is w's, wrapped.
func (r *Reservations) Save(w io.Writer, now limiter.Instant) (saved int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	crc := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	both := io.MultiWriter(w, crc)
	buf := append([]byte(saveMagic), saveVersion)
	buf = binary.LittleEndian.AppendUint64(buf, uint64(now))
	for one := range r.book.Save() {
		if len(one) > savedMax {
			continue
		}
		buf = append(binary.LittleEndian.AppendUint32(buf, uint32(len(one))), one...)
		if _, err = both.Write(buf); err != nil {
			return saved, fmt.Errorf("reservations: save: %w", err)
		}
		buf = buf[:0]
		saved++
	}
	if _, err = both.Write(append(buf, 0, 0, 0, 0)); err == nil {
		_, err = w.Write(binary.LittleEndian.AppendUint32(nil, crc.Sum32()))
	}
	if err != nil {
		return saved, fmt.Errorf("reservations: save: %w", err)
	}
	return saved, nil
}

// Read reads what Save wrote. The error wraps ErrDamaged, ErrVersion or what r returned.
func Read(r io.Reader) (*Saved, error) {
	in := reader{r: bufio.NewReader(r)}
	var head [len(saveMagic) + 1 + 8]byte
	in.bytes(head[:])
	switch {
	case in.err != nil:
		return nil, in.err
	case string(head[:len(saveMagic)]) != saveMagic:
		return nil, fmt.Errorf("%w: no %q at its beginning", ErrDamaged, saveMagic)
	case head[len(saveMagic)] != saveVersion:
		return nil, fmt.Errorf("%w: %d, this is version %d", ErrVersion, head[len(saveMagic)], saveVersion)
	}
	s := &Saved{At: limiter.Instant(binary.LittleEndian.Uint64(head[len(saveMagic)+1:]))}
	for {
		b := in.record()
		if in.err != nil {
			return nil, in.err
		}
		if b == nil {
			if err := in.end(); err != nil {
				return nil, err
			}
			return s, nil
		}
		one, err := hold.DecodeSaved(b, s.At)
		if err != nil {
			return nil, fmt.Errorf("%w: reservation %d: %w", ErrDamaged, len(s.list), err)
		}
		s.list = append(s.list, one)
	}
}

// A reader reads until the first error.
type reader struct {
	r   *bufio.Reader
	crc uint32 // of all so far
	err error
}

func (r *reader) bytes(b []byte) {
	if r.err != nil {
		return
	}
	if _, err := io.ReadFull(r.r, b); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		r.err = fmt.Errorf("%w: it ends early", ErrDamaged)
	} else if err != nil {
		r.err = fmt.Errorf("reservations: read: %w", err)
	}
	r.crc = crc32.Update(r.crc, crc32.MakeTable(crc32.Castagnoli), b)
}

// record returns the next record, and nil after the last one.
func (r *reader) record() []byte {
	var length [4]byte
	r.bytes(length[:])
	n := binary.LittleEndian.Uint32(length[:])
	if r.err == nil && n > savedMax {
		r.err = fmt.Errorf("%w: a reservation of %d bytes", ErrDamaged, n)
	}
	if r.err != nil || n == 0 {
		return nil
	}
	b := make([]byte, n)
	r.bytes(b)
	return b
}

// end checks what follows the last record.
func (r *reader) end() error {
	want := r.crc
	var sum [4]byte
	r.bytes(sum[:])
	if r.err == nil && binary.LittleEndian.Uint32(sum[:]) != want {
		r.err = fmt.Errorf("%w: checksum", ErrDamaged)
	}
	if _, err := r.r.ReadByte(); r.err == nil && !errors.Is(err, io.EOF) {
		r.err = fmt.Errorf("%w: more follows its end", ErrDamaged)
	}
	return r.err
}

// Restore enters what an earlier process of the node has saved. Nobody may enter it a second
// time, in this process or another: what is given back would be so twice.
func (r *Reservations) Restore(now limiter.Instant, s *Saved, t *hold.Terms) hold.Restored {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.book.Restore(now, s.At, s.list, t)
}
