package hpack

// The first bits of representations, RFC 7541 §6.
const (
	bitsIndexed    = 0x80
	bitsIndexing   = 0x40
	bitsSizeUpdate = 0x20
)

// staticNameMax is the length of the longest name in the static table, bytes.
const staticNameMax = 27

// AppendIndexed appends the field with index i of the two tables: 1 to 61 are
// static, 62 is the one that entered the dynamic table last.
func AppendIndexed(dst []byte, i int) []byte {
	return appendInteger(dst, bitsIndexed, 0x7f, uint64(i))
}

// AppendLiteral appends a field that does not enter the dynamic table.
func AppendLiteral[N, V ~string | ~[]byte](dst []byte, name N, value V) []byte {
	return appendString(appendName(dst, 0, 0x0f, name), value)
}

// AppendLiteralIndexed appends a field that enters the dynamic table and has
// index 62 from then on. The caller knows that the peer's table has room.
func AppendLiteralIndexed[N, V ~string | ~[]byte](dst []byte, name N, value V) []byte {
	return appendString(appendName(dst, bitsIndexing, 0x3f, name), value)
}

// AppendTableSize appends a size update: the dynamic table has at most n bytes
// from now on. It is allowed at the beginning of a block only.
func AppendTableSize(dst []byte, n uint32) []byte {
	return appendInteger(dst, bitsSizeUpdate, 0x1f, uint64(n))
}

// appendName appends the name's static index, or the name if it has none.
func appendName[N ~string | ~[]byte](dst []byte, first, mask byte, name N) []byte {
	if len(name) <= staticNameMax {
		if i := staticName(string(name)); i > 0 {
			return appendInteger(dst, first, mask, uint64(i))
		}
	}
	return appendString(append(dst, first), name)
}

func appendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	return append(appendInteger(dst, 0, 0x7f, uint64(len(s))), s...)
}

// appendInteger appends n (RFC 7541 §5.1) with the first octet's other bits.
func appendInteger(dst []byte, first, mask byte, n uint64) []byte {
	if n < uint64(mask) {
		return append(dst, first|byte(n))
	}
	dst = append(dst, first|mask)
	for n -= uint64(mask); n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}
