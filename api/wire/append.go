package wire

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Tag returns the single byte that begins field num, in [1, 15], of a type.
func Tag(num protowire.Number, typ protowire.Type) byte { return byte(num)<<3 | byte(typ) }

// AppendUint appends a field, unless v is 0, which is its default.
func AppendUint(dst []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(append(dst, tag), v)
}

// AppendString appends a field, unless s is empty, which is its default.
func AppendString(dst []byte, tag byte, s string) []byte {
	if s == "" {
		return dst
	}
	return append(protowire.AppendVarint(append(dst, tag), uint64(len(s))), s...)
}

// AppendDuration appends a google.protobuf.Duration, also if it is zero.
func AppendDuration(dst []byte, tag byte, d time.Duration) []byte {
	dst, at := Open(dst, tag)
	dst = AppendUint(dst, Tag(1, protowire.VarintType), uint64(d/time.Second))
	dst = AppendUint(dst, Tag(2, protowire.VarintType), uint64(d%time.Second))
	return Shut(dst, at)
}

// Open starts a message, or packed numbers, whose length is not known yet; Shut
// ends it.
func Open(dst []byte, tag byte) (_ []byte, at int) {
	dst = append(dst, tag, 0)
	return dst, len(dst)
}

// Shut writes the length of what began at at, and makes room where it takes more
// than the one byte that Open left.
func Shut(dst []byte, at int) []byte {
	n := uint64(len(dst) - at)
	if n < 0x80 {
		dst[at-1] = byte(n)
		return dst
	}
	more := protowire.SizeVarint(n) - 1
	for range more {
		dst = append(dst, 0)
	}
	copy(dst[at+more:], dst[at:])
	protowire.AppendVarint(dst[:at-1], n)
	return dst
}
