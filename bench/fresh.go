package bench

import (
	"encoding/binary"
	"math/rand/v2"

	"golang.org/x/net/http2/hpack"
)

// hexCode has Huffman's code of each byte's two hexadecimal digits: the code, and
// in the low 4 bits how many bits it has, 10 to 12.
type hexCode [256]uint16

func newHexCode() *hexCode {
	var one [16]struct{ code, bits uint16 }
	for i := range one {
		s := "0123456789abcdef"[i : i+1]
		// All digits have 5 or 6 bits; the rest of the byte is ones.
		b := hpack.AppendHuffmanString(nil, s)[0]
		bits := uint16(hpack.HuffmanEncodeLength(s + s + s + s + s + s + s + s)) // in bytes: of 8 digits
		one[i].code, one[i].bits = uint16(b)>>(8-bits), bits
	}
	var h hexCode
	for i := range h {
		high, low := one[i>>4], one[i&15]
		h[i] = (high.code<<low.bits|low.code)<<4 | (high.bits + low.bits)
	}
	return &h
}

// pair returns the code of the four digits of v, and its bits, at most 24.
func (h *hexCode) pair(v uint16) (code uint64, bits uint) {
	a, b := h[v>>8], h[v&0xff]
	return uint64(a>>4)<<(b&15) | uint64(b>>4), uint(a&15) + uint(b&15)
}

// Huffman's codes of what stands between the digits, with their bits.
const (
	codeDash, bitsDash   = 0b010110, 6
	code00, bits00       = 0b00000_00000_010110, 16 // "00-"
	codeEnd01, bitsEnd01 = 0b010110_00000_00001, 16 // "-01"
)

// fresh draws the values that no two requests share. It has one owner.
type fresh struct {
	r    rand.Source
	code *hexCode // shared

	// Of the value that is being encoded:
	buf  [64]byte // at most 55 characters of 6 bits, and 8 bytes that put may write beyond
	n    uint     // bytes in buf that are complete
	acc  uint64   // its low bits come next
	bits uint     // how many, at most 7
}

// newFresh returns the source of the lane with the given number, which does not
// disturb its keys.
func newFresh(seed uint64, lane int, code *hexCode) *fresh {
	return &fresh{r: rand.NewPCG(^seed, uint64(lane)), code: code}
}

// appendValue appends a value with its length. A UUID is like Envoy's: its third
// group begins with the reason why the request is traced.
func (f *fresh) appendValue(dst []byte, kind valueKind) []byte {
	f.n, f.acc, f.bits = 0, 0, 0
	if kind == valueRequestID {
		a := f.r.Uint64()&^0xf000 | 0x9000
		b := f.r.Uint64()&^(3<<62) | 2<<62
		f.eight(uint32(a >> 32))
		f.dashFour(uint16(a >> 16))
		f.dashFour(uint16(a))
		f.dashFour(uint16(b >> 48))
		f.dashFour(uint16(b >> 32))
		f.eight(uint32(b))
	} else {
		f.put(code00, bits00)
		f.sixteen(f.r.Uint64())
		f.sixteen(f.r.Uint64())
		f.put(codeDash, bitsDash)
		f.sixteen(f.r.Uint64())
		f.put(codeEnd01, bitsEnd01)
	}
	if f.bits > 0 {
		f.put(1<<(8-f.bits)-1, 8-f.bits) // the last byte is filled with ones
	}
	dst = append(dst, 0x80|byte(f.n)) // below 127
	return append(dst, f.buf[:f.n]...)
}

// put adds at most 56 bits.
func (f *fresh) put(code uint64, bits uint) {
	f.acc = f.acc<<bits | code
	f.bits += bits
	binary.BigEndian.PutUint64(f.buf[f.n:], f.acc<<(64-f.bits))
	f.n += f.bits / 8
	f.bits %= 8
}

func (f *fresh) dashFour(v uint16) {
	c, n := f.code.pair(v)
	f.put(codeDash<<n|c, bitsDash+n)
}

func (f *fresh) eight(v uint32) {
	a, m := f.code.pair(uint16(v >> 16))
	b, n := f.code.pair(uint16(v))
	f.put(a<<n|b, m+n)
}

func (f *fresh) sixteen(v uint64) {
	f.eight(uint32(v >> 32))
	f.eight(uint32(v))
}
