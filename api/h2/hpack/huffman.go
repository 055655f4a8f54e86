package hpack

import "encoding/binary"

// huffmanPairs has, for each 12 bits that a string can go on with, the one or
// two symbols that they begin with, complete:
//
//	bits 0–5    how many bits those symbols take; 0: not one is complete
//	bits 8–15   the first symbol
//	bits 16–23  the second symbol
//	bits 24–25  how many symbols
//	bits 26–31  how many bits the first symbol takes
//
// So hexadecimal digits always come in pairs. Longer codes are found in
// huffmanLong: rare octets only.
const (
	pairBits   = 12
	pairTaken  = 0x3f
	pairFirst  = 8
	pairCount  = 24
	firstTaken = 26
)

// slack is how much room appendHuffman wants beyond what it appends.
const slack = 8

const (
	faultEOS     = "the string contains the end-of-string symbol"
	faultPadding = "the string ends within a symbol, or is padded with more than 7 bits"
	faultZero    = "the padding is not all ones"
)

// longSymbol returns the symbol that w begins with and its length in bits. Its
// code is longer than pairBits. 0 bits: it is the end-of-string symbol.
func longSymbol(w uint64) (symbol byte, bits uint) {
	code := uint32(w >> 32)
	for i := range huffmanLong {
		l := &huffmanLong[i]
		if code < l.limit {
			bits = uint(i) + pairBits + 1
			return huffmanSymbols[l.index+code>>(32-bits)], bits
		}
	}
	return 0, 0
}

// appendHuffman appends the string that src encodes to dst, which has room for
// it and for slack. A fault other than "" says what is wrong with src.
//
// The loop keeps the next bits at the top of w, n of them are counted as read.
// Reading the same octet twice does no harm, so that it can read 8 at a time.
func appendHuffman(dst, src []byte) (_ []byte, fault string) {
	var w uint64
	var n uint
	out := dst[len(dst):cap(dst)]
	o, p := 0, 0
	for len(src)-p >= 8 {
		w |= binary.BigEndian.Uint64(src[p:]) >> (n & 63)
		p += int((63 - n) >> 3)
		n |= 56
		a := huffmanPairs[w>>(64-pairBits)]
		if a == 0 {
			symbol, bits := longSymbol(w)
			if bits == 0 {
				return dst, faultEOS
			}
			out[o] = symbol
			o++
			w <<= bits
			n -= bits
			continue
		}
		w <<= a & pairTaken
		binary.LittleEndian.PutUint16(out[o:], uint16(a>>pairFirst))
		o += int(a >> pairCount & 3)
		b := huffmanPairs[w>>(64-pairBits)]
		w <<= b & pairTaken
		binary.LittleEndian.PutUint16(out[o:], uint16(b>>pairFirst))
		o += int(b >> pairCount & 3)
		c := huffmanPairs[w>>(64-pairBits)]
		w <<= c & pairTaken
		binary.LittleEndian.PutUint16(out[o:], uint16(c>>pairFirst))
		o += int(c >> pairCount & 3)
		d := huffmanPairs[w>>(64-pairBits)]
		w <<= d & pairTaken
		binary.LittleEndian.PutUint16(out[o:], uint16(d>>pairFirst))
		o += int(d >> pairCount & 3)
		n -= uint(a&pairTaken + b&pairTaken + c&pairTaken + d&pairTaken)
	}
	t := tail{w: w, n: n, left: n + 8*uint(len(src)-p), rest: lastBits(src, p)}
	o, fault = t.decode(out, o)
	return dst[:len(dst)+o], fault
}

// huffmanLen returns the length of the string that src encodes, for a string
// that may be too long to keep.
func huffmanLen(src []byte) (length int, fault string) {
	t := tail{left: 8 * uint(len(src))}
	p := 0
	for t.left > 0 {
		for ; t.n <= 56 && p < len(src); p++ {
			t.w |= uint64(src[p]) << (56 - t.n)
			t.n += 8
		}
		bits := uint(huffmanPairs[t.w>>(64-pairBits)] >> firstTaken)
		if bits == 0 {
			if _, bits = longSymbol(t.w); bits == 0 {
				return 0, faultEOS
			}
		}
		if bits > t.left {
			break
		}
		length++
		t.take(bits)
	}
	return length, t.fault()
}

// lastBits returns src[p:], at most 7 octets, at the top of 64 bits. Zeros follow.
func lastBits(src []byte, p int) uint64 {
	bits := 8 * uint(len(src)-p)
	if len(src) >= 8 {
		return binary.BigEndian.Uint64(src[len(src)-8:]) << (64 - bits)
	}
	w := uint64(0)
	for i, b := range src[p:] {
		w |= uint64(b) << (56 - 8*i)
	}
	return w
}

// A tail is the end of a string: the next n bits at the top of w, the last ones
// in rest. Zeros follow: whether a symbol is complete is seen by left alone.
type tail struct {
	w, rest uint64
	n       uint
	left    uint // bits of the string that are not decoded yet
}

// fill makes w hold at least 32 bits, or all that are left and then zeros.
func (t *tail) fill() {
	if t.n < 32 {
		t.w |= t.rest >> t.n
		t.rest <<= 64 - t.n
		t.n = 64
	}
}

// take drops the first bits of w.
func (t *tail) take(bits uint) {
	t.w <<= bits
	t.n -= bits
	t.left -= bits
}

// decode puts the symbols that are left at out[o:] and returns where they end.
func (t *tail) decode(out []byte, o int) (end int, fault string) {
	for t.left >= pairBits {
		t.fill()
		e := huffmanPairs[t.w>>(64-pairBits)]
		if e != 0 {
			binary.LittleEndian.PutUint16(out[o:], uint16(e>>pairFirst))
			o += int(e >> pairCount & 3)
			t.take(uint(e & pairTaken))
			continue
		}
		symbol, bits := longSymbol(t.w)
		if bits == 0 {
			return o, faultEOS
		}
		if bits > t.left {
			return o, faultPadding
		}
		out[o] = symbol
		o++
		t.take(bits)
	}
	for t.left > 0 {
		t.fill()
		e := huffmanPairs[t.w>>(64-pairBits)]
		bits := uint(e >> firstTaken)
		if bits == 0 || bits > t.left {
			break
		}
		out[o] = byte(e >> pairFirst)
		o++
		t.take(bits)
	}
	return o, t.fault()
}

// fault says what is wrong with the bits that are left and make no symbol: up
// to 7 ones are the padding.
func (t *tail) fault() string {
	switch {
	case t.left == 0:
		return ""
	case t.left > 7:
		return faultPadding
	case t.w>>(64-t.left) != 1<<t.left-1:
		return faultZero
	default:
		return ""
	}
}
