package rls

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// A wire walks the fields of one protobuf message in place. Its methods say ok
// = false where proto.Unmarshal would refuse the message.
type wire struct{ b []byte }

// tag reads the next field's number and wire type.
func (w *wire) tag() (num protowire.Number, typ protowire.Type, ok bool) {
	v, ok := w.varint()
	n := v >> 3
	if !ok || n < uint64(protowire.MinValidNumber) || n > uint64(protowire.MaxValidNumber) {
		return 0, 0, false
	}
	return protowire.Number(n), protowire.Type(v & 7), true
}

// varint reads a varint of at most 10 bytes and 64 bits.
func (w *wire) varint() (uint64, bool) {
	if len(w.b) > 0 && w.b[0] < 0x80 { // nearly always
		v := w.b[0]
		w.b = w.b[1:]
		return uint64(v), true
	}
	v, n := protowire.ConsumeVarint(w.b)
	if n < 0 {
		return 0, false
	}
	w.b = w.b[n:]
	return v, true
}

// bytes reads a length and that many bytes, which are not copied.
func (w *wire) bytes() ([]byte, bool) {
	n, ok := w.varint()
	if !ok || n > uint64(len(w.b)) {
		return nil, false
	}
	v := w.b[:n:n]
	w.b = w.b[n:]
	return v, true
}

// skip reads the value of a field that has no meaning here: one that is unknown,
// or known with another wire type.
func (w *wire) skip(num protowire.Number, typ protowire.Type) bool {
	n := protowire.ConsumeFieldValue(num, typ, w.b)
	if n < 0 {
		return false
	}
	w.b = w.b[n:]
	return true
}
