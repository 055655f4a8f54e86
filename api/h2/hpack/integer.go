package hpack

// Integers longer than this are refused: 4 octets after the prefix hold 28
// bits, far more than any block that we read.
const integerOctetsMax = 4

// integer reads the integer whose first octet is block[at] and whose prefix has
// the bits of mask (RFC 7541 §5.1), and returns where the next octet is.
func integer(block []byte, at int, mask byte) (n, next int, err error) {
	n = int(block[at] & mask)
	at++
	if n < int(mask) {
		return n, at, nil
	}
	for i := range integerOctetsMax {
		if at+i >= len(block) {
			return 0, 0, malformed(len(block), "the block ends within an integer")
		}
		b := block[at+i]
		n += int(b&0x7f) << (7 * i)
		if b < 0x80 {
			return n, at + i + 1, nil
		}
	}
	return 0, 0, malformed(at, "an integer goes on after %d octets: at most 28 bits beside its prefix", integerOctetsMax)
}

// A text is a string as the block has it.
type text struct {
	raw     []byte
	at      int // where raw begins
	huffman bool
}

// read makes s the string whose first octet is block[at] (RFC 7541 §5.2), and
// returns where the next octet is.
func (s *text) read(block []byte, at int) (next int, err error) {
	if at >= len(block) {
		return 0, malformed(at, "the block ends where a string is due")
	}
	s.huffman = block[at]&0x80 != 0
	n := int(block[at] & 0x7f)
	if n < 0x7f {
		at++
	} else if n, at, err = integer(block, at, 0x7f); err != nil {
		return 0, err
	}
	if n > len(block)-at {
		return 0, malformed(at, "a string of %d octets, and the block has %d left", n, len(block)-at)
	}
	s.raw, s.at = block[at:at+n], at
	return at + n, nil
}

// lenMax returns what s can have at most when decoded: the shortest code has 5 bits.
func (s *text) lenMax() int {
	if s.huffman {
		return len(s.raw) * 8 / 5
	}
	return len(s.raw)
}

// measure returns the length of s when decoded, exactly.
func (s *text) measure() (int, error) {
	if !s.huffman {
		return len(s.raw), nil
	}
	n, fault := huffmanLen(s.raw)
	if fault != "" {
		return 0, malformed(s.at, "Huffman code: %s", fault)
	}
	return n, nil
}

// appendTo appends s to dst, which has room for lenMax, or for exactly its
// length, and for slack more.
func (s *text) appendTo(dst []byte) ([]byte, error) {
	if !s.huffman {
		return append(dst, s.raw...), nil
	}
	dst, fault := appendHuffman(dst, s.raw)
	if fault != "" {
		return dst, malformed(s.at, "Huffman code: %s", fault)
	}
	return dst, nil
}
