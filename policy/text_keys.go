package policy

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// textKeys makes 96-bit keyed hashes of texts, to stand for them. A text is taken as
// words of 64 bits; its hash is the top of the sum, modulo 2¹⁹², of 192 random bits
// for its length and each word times 192 random bits (multilinear hashing: Lemire and
// Kaser, "Strongly universal string hashing is fast", 2014). So over the choice of
// the keys any two different texts have the same hash with a probability of 2⁻⁹⁶:
//
//   - If their lengths differ, so do two independent summands, and any difference of the
//     sums is as likely as another.
//   - If not, some word differs, by d = 2ᵗ × an odd number, t < 64. Of the difference of
//     the sums the low t bits are given, and the other 192−t equally likely, whatever
//     the other words are. The sums being equally likely too, so is each difference of
//     their top 96 bits.
//
// It needs keys that texts do not depend on. Whoever chooses texts and sees which of them
// are taken for others learns nothing until one is: up to then the answers are those
// of comparing texts. ADR 0026 says what that comes to for a policy.
type textKeys struct {
	lengths [hashedMax + 1]wideWord
	words   [hashedMax / 8]wideWord
}

// hashedMax is how long a text may be that has a hash, in bytes.
const hashedMax = 64

// A wideWord has 192 bits, the lowest first.
type wideWord [3]uint64

// newTextKeys returns random keys.
func newTextKeys() *textKeys {
	var k textKeys
	for i := range k.lengths {
		k.lengths[i] = newWideWord()
	}
	for i := range k.words {
		k.words[i] = newWideWord()
	}
	return &k
}

func newWideWord() (w wideWord) {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails
	for i := range w {
		w[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return w
}

// hash returns the hash of a text of at most hashedMax bytes.
func (k *textKeys) hash(text []byte) (high uint64, low uint32) {
	n := len(text)
	s := &k.lengths[n]
	s0, s1, s2 := s[0], s[1], s[2]
	// The last word comes first. It has bytes of the one before, too, but texts of
	// one length that differ have different words.
	var word uint64
	switch {
	case n >= 8:
		word = binary.LittleEndian.Uint64(text[n-8:])
	case n >= 4:
		word = uint64(binary.LittleEndian.Uint32(text)) | uint64(binary.LittleEndian.Uint32(text[n-4:]))<<32
	case n > 0:
		word = uint64(text[0]) | uint64(text[n/2])<<8 | uint64(text[n-1])<<16
	}
	for i := range k.words {
		key := &k.words[i]
		high0, low0 := bits.Mul64(key[0], word)
		high1, low1 := bits.Mul64(key[1], word)
		var carry uint64
		s0, carry = bits.Add64(s0, low0, 0)
		s1, carry = bits.Add64(s1, high0, carry)
		s2 += key[2]*word + high1 + carry
		s1, carry = bits.Add64(s1, low1, 0)
		s2 += carry
		if len(text) <= 8 {
			break
		}
		word, text = binary.LittleEndian.Uint64(text), text[8:]
	}
	return s2, uint32(s1 >> 32)
}
