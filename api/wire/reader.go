package wire

import "google.golang.org/protobuf/encoding/protowire"

// A Reader walks the fields of one message. Its methods say ok = false where
// proto.Unmarshal would refuse the message; then the Reader is of no more use.
type Reader struct{ b []byte }

// NewReader returns a reader of the message b. What it returns are slices of b.
func NewReader(b []byte) Reader { return Reader{b} }

// More reports whether there is another field.
func (r *Reader) More() bool { return len(r.b) > 0 }

// Tag reads the next field's number and wire type.
func (r *Reader) Tag() (num protowire.Number, typ protowire.Type, ok bool) {
	v, ok := r.Varint()
	n := v >> 3
	if !ok || n < uint64(protowire.MinValidNumber) || n > uint64(protowire.MaxValidNumber) {
		return 0, 0, false
	}
	return protowire.Number(n), protowire.Type(v & 7), true
}

// Is reads the next field's tag if it is the single byte tag, the usual one at
// this place, and reports whether it was. If not, nothing is read.
func (r *Reader) Is(tag byte) bool {
	if len(r.b) == 0 || r.b[0] != tag {
		return false
	}
	r.b = r.b[1:]
	return true
}

// Varint reads a varint of at most 10 bytes and 64 bits.
func (r *Reader) Varint() (uint64, bool) {
	if len(r.b) > 0 && r.b[0] < 0x80 { // nearly always
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v), true
	}
	return r.varint()
}

func (r *Reader) varint() (uint64, bool) {
	v, n := protowire.ConsumeVarint(r.b)
	if n < 0 {
		return 0, false
	}
	r.b = r.b[n:]
	return v, true
}

// Bytes reads a length and that many bytes, which are not copied.
func (r *Reader) Bytes() ([]byte, bool) {
	if b := r.b; len(b) > 0 && b[0] < 0x80 && int(b[0]) < len(b) { // nearly always
		n := int(b[0]) + 1
		r.b = b[n:]
		return b[1:n:n], true
	}
	return r.bytes()
}

func (r *Reader) bytes() ([]byte, bool) {
	n, ok := r.Varint()
	if !ok || n > uint64(len(r.b)) {
		return nil, false
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v, true
}

// Skip reads the value of a field that has no meaning to the caller: one that is
// unknown, or known with another wire type.
func (r *Reader) Skip(num protowire.Number, typ protowire.Type) bool {
	n := protowire.ConsumeFieldValue(num, typ, r.b)
	if n < 0 {
		return false
	}
	r.b = r.b[n:]
	return true
}
