package hpack

import (
	"bytes"
	"math/rand/v2"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
)

func TestEveryPairOfSymbolsIsDecoded(t *testing.T) {
	for a := range 256 {
		for b := range 256 {
			for _, around := range []string{"", "0", "0123456789abcdef", "\\\xff\n\x00\x16"} {
				s := around + string([]byte{byte(a), byte(b)}) + around
				checkHuffman(t, xhpack.AppendHuffmanString(nil, s))
			}
		}
	}
}

func TestEveryStringOfTwoOctetsIsAnsweredAsByTheOther(t *testing.T) {
	for n := range 1 << 16 {
		checkHuffman(t, []byte{byte(n >> 8), byte(n)})
		checkHuffman(t, []byte{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, byte(n >> 8), byte(n)})
	}
}

func TestRandomStringsAreAnsweredAsByTheOther(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = byte(r.Uint32()) | byte(r.Uint32()&r.Uint32())
		}
		checkHuffman(t, b)
		checkHuffman(t, xhpack.AppendHuffmanString(nil, string(b)))
	}
}

// checkHuffman compares with the decoder of golang.org/x/net.
func checkHuffman(t *testing.T, src []byte) {
	t.Helper()
	want, err := xhpack.HuffmanDecodeToString(src)
	n, fault := huffmanLen(src)
	if (fault == "") != (err == nil) || err == nil && n != len(want) {
		t.Fatalf("%x: length %d, %q, want %d, %v", src, n, fault, len(want), err)
	}
	room := n + slack // exactly
	if fault != "" {
		room = len(src)*8/5 + slack
	}
	dst := append(make([]byte, 0, 3+room+4), "abc"...)
	guard := dst[3+room : cap(dst)]
	copy(guard, "EDGE")
	got, again := appendHuffman(dst[:3:3+room], src)
	if again != fault {
		t.Fatalf("%x: %q, and %q when measured", src, again, fault)
	}
	if err == nil && (string(got[3:]) != want || string(got[:3]) != "abc") {
		t.Fatalf("%x: got %q, want %q", src, got[3:], want)
	}
	if !bytes.Equal(guard, []byte("EDGE")) {
		t.Fatalf("%x: written past the room", src)
	}
}
