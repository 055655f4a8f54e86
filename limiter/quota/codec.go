package quota

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/headgate/headgate/limiter"
)

// Errors of the Decode functions.
var (
	// ErrVersion means that a newer Headgate wrote the bytes.
	ErrVersion = errors.New("quota: unknown version")
	// ErrMalformed means that the bytes are not what they should be.
	ErrMalformed = errors.New("quota: malformed")
)

// A reader reads fields until the first error, then zeros. All numbers are
// unsigned varints in their shortest form, so that one value has one encoding.
type reader struct {
	b     []byte
	err   error
	first bool // what is read is of format, where that is not the newest
}

// fail keeps the first problem: field, what it is, and its bound.
func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
	}
	r.b = nil
}

// format is the version that every format of this package begins with. A group's head
// has formatAhead where the leader's clock is ahead of the group's time. Entries and
// pools have formatTold: those of format say nothing of what was told to be spent, was
// waived, or is ahead. They are read, and never written.
const (
	format      = 1
	formatAhead = 2
	formatTold  = 2
)

// version reads the byte that a format starts with.
func (r *reader) version(what string) { r.versions(what, format) }

// versions reads the same byte of what has several, from format on.
func (r *reader) versions(what string, newest byte) byte {
	v := r.octet("version")
	if r.err == nil && (v < format || v > newest) {
		r.err = fmt.Errorf("%w: %s has version %d, known is %d", ErrVersion, what, v, newest)
		r.b = nil
	}
	return v
}

// versionOf returns the version of what has ahead.
func versionOf(ahead int64) byte {
	if ahead > 0 {
		return formatAhead
	}
	return format
}

func appendAhead(b []byte, ahead int64) []byte {
	if ahead > 0 {
		b = binary.AppendUvarint(b, uint64(ahead))
	}
	return b
}

// ahead reads by how much a clock is ahead of at, in milliseconds.
func (r *reader) ahead(at int64) int64 { return int64(r.uint("ahead", uint64(1000*TimeMax-at))) }

func (r *reader) octet(field string) byte {
	if len(r.b) == 0 {
		r.fail("%s is missing", field)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// uint reads a number in [0, most].
func (r *reader) uint(field string, most uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	switch {
	case n <= 0 || (n > 1 && r.b[n-1] == 0): // cut off, above 64 bits, or padded
		r.fail("%s is not a varint", field)
		return 0
	case v > most:
		r.fail("%s=%d: must be at most %d", field, v, most)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// told reads a number that is not in the first format: 0 there.
func (r *reader) told(field string, most uint64) uint64 {
	if r.first {
		return 0
	}
	return r.uint(field, most)
}

// units reads an amount.
func (r *reader) units(field string) uint64 { return r.uint(field, TotalMax) }

// signed reads an amount that may be negative, as sign and magnitude in one
// number.
func (r *reader) signed(field string) int64 {
	v := r.uint(field, 2*TotalMax+1)
	return int64(v>>1) ^ -int64(v&1)
}

func appendSigned(b []byte, v int64) []byte {
	return binary.AppendUvarint(b, uint64(v)<<1^uint64(v>>63))
}

func (r *reader) key() limiter.Key {
	if len(r.b) < 16 {
		r.fail("key has %d bytes: must be 16", len(r.b))
		return limiter.Key{}
	}
	k := limiter.Key{Hi: binary.BigEndian.Uint64(r.b), Lo: binary.BigEndian.Uint64(r.b[8:])}
	r.b = r.b[16:]
	return k
}

func appendKey(b []byte, k limiter.Key) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, k.Hi), k.Lo)
}

// window reads a Window: its start, its length, and how many roll with it.
func (r *reader) window() Window {
	start := int64(r.uint("window start", TimeMax))
	w := Window{Start: start, End: start + int64(r.uint("window length", TimeMax))}
	w.Rolling = uint8(r.uint("window rolling", RollingMax))
	if r.err == nil && !w.valid() {
		r.fail("window [%d, %d): must not be empty, and end by %d", w.Start, w.End, TimeMax)
		return Window{}
	}
	return w
}

func appendWindow(b []byte, w Window) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(w.Start)), uint64(w.End-w.Start))
	return binary.AppendUvarint(b, uint64(w.Rolling))
}

func (r *reader) holder() Holder {
	h := Holder{
		Partition: limiter.Partition(r.uint("partition", limiter.PartitionCount-1)),
		Tenure:    r.uint("tenure", TotalMax),
		Life:      uint32(r.uint("life", 1<<32-1)),
	}
	if r.err == nil && h.Tenure == 0 {
		r.fail("tenure=0: must be at least 1")
	}
	return h
}

func appendHolder(b []byte, h Holder) []byte {
	b = binary.AppendUvarint(b, uint64(h.Partition))
	b = binary.AppendUvarint(b, h.Tenure)
	return binary.AppendUvarint(b, uint64(h.Life))
}

// end returns the first problem; bytes that are left over are one.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes too many", len(r.b))
	}
	return r.err
}
