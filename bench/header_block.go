package bench

import "golang.org/x/net/http2/hpack"

// tableMax is how many bytes of the server's header table are used at most:
// HTTP/2's default, and what Envoy keeps to.
const tableMax = 4096

// entryOverhead is what HPACK adds to the length of a name and a value.
const entryOverhead = 32

// staticEntries is how many entries HPACK's static table has: the newest of the
// dynamic table is the next.
const staticEntries = 61

// How the value of a header field comes about.
type valueKind uint8

const (
	valueFixed     valueKind = iota // the same in all requests, and put into the table
	valueUnindexed                  // the same in all requests, and never in the table
	valueRequestID                  // a fresh UUID
	valueTrace                      // a fresh trace and parent
)

// A headerField is one field of each request. Immutable.
type headerField struct {
	kind    valueKind
	static  uint64 // the static table's index of the whole field, 0: it has none
	literal []byte // as HPACK: the field, or the name alone where the value is fresh
	size    int    // in the table
}

// newHeaderField encodes a field. Of a fresh one, value has only the length.
func newHeaderField(kind valueKind, name, value string) headerField {
	f := headerField{kind: kind, size: len(name) + len(value) + entryOverhead}
	nameIndex, whole := staticIndex(name, value)
	if whole {
		f.static = nameIndex
		return f
	}
	first, bits := byte(0x40), 6
	if kind == valueUnindexed {
		first, bits = 0, 4
	}
	f.literal = appendInt(nil, first, bits, nameIndex)
	if nameIndex == 0 {
		f.literal = appendText(f.literal, name)
	}
	if kind == valueFixed || kind == valueUnindexed {
		f.literal = appendText(f.literal, value)
	}
	return f
}

// staticIndex returns the entry of HPACK's static table that has the name, and
// whether it has the value, too; 0 if none has.
func staticIndex(name, value string) (index uint64, whole bool) {
	d := hpack.NewDecoder(0, nil)
	for i := uint64(1); i <= staticEntries; i++ {
		f, err := d.DecodeFull([]byte{0x80 | byte(i)})
		if err != nil || f[0].Name != name {
			continue
		}
		if f[0].Value == value {
			return i, true
		}
		if index == 0 {
			index = i
		}
	}
	return index, false
}

// A headerBlock encodes the headers of a connection's requests, as Envoy's
// encoder does: what is in the server's table is named by its index, all else is
// put into it, and pushes out what is oldest. It keeps account of the table, but
// not of what is in it.
type headerBlock struct {
	fields []headerField
	fresh  *fresh // nil: no field has fresh values

	at       []uint64 // by field: the number of its last entry in the table, from 1; 0: none
	sizes    [tableMax / entryOverhead]uint16
	inserted uint64 // entries so far, and
	evicted  uint64 // how many of them are not in the table any more
	used     int    // bytes of the table
	max      int
	resized  bool // the server is to be told the table's size

	block []byte // the last one encoded
	same  bool   // the next is the same
}

func newHeaderBlock(fields []headerField, f *fresh) *headerBlock {
	return &headerBlock{fields: fields, fresh: f, at: make([]uint64, len(fields)), max: tableMax}
}

// limitTable sets how large the server lets the table be, in HPACK's bytes. A
// table whose size changes is emptied: then it does not matter which sizes it had
// in between.
func (h *headerBlock) limitTable(size uint32) {
	next := int(min(size, tableMax))
	if next == h.max {
		return
	}
	h.max = 0
	h.evict(0)
	h.max, h.resized, h.same = next, true, false
}

// next returns the block of the next request, valid until the next call.
func (h *headerBlock) next() []byte {
	if h.same {
		return h.block
	}
	b := h.block[:0]
	if h.resized {
		h.resized = false
		b = append(b, 0x20)
		if h.max > 0 {
			b = appendInt(b, 0x20, 5, uint64(h.max))
		}
	}
	size, same := len(b), true
	for i := range h.fields {
		f := &h.fields[i]
		switch {
		case f.static != 0:
			b = append(b, 0x80|byte(f.static))
		case f.kind == valueUnindexed:
			b = append(b, f.literal...)
		case f.kind == valueFixed:
			if h.at[i] > h.evicted {
				b = appendInt(b, 0x80, 7, h.index(i))
				continue
			}
			b = append(b, f.literal...)
			h.insert(i)
			same = false
		default:
			if h.at[i] > h.evicted {
				b = appendInt(b, 0x40, 6, h.index(i))
			} else {
				b = append(b, f.literal...)
			}
			b = h.fresh.appendValue(b, f.kind)
			h.insert(i)
			same = false
		}
	}
	h.block = b
	h.same = same && size == 0
	return b
}

// index returns where the last entry of field i is in the table.
func (h *headerBlock) index(i int) uint64 { return staticEntries + h.inserted - h.at[i] + 1 }

// insert puts field i into the table. What does not fit empties it, as HPACK has
// it.
func (h *headerBlock) insert(i int) {
	size := h.fields[i].size
	h.evict(size)
	if size > h.max {
		return
	}
	h.inserted++
	h.at[i] = h.inserted
	h.sizes[h.inserted%uint64(len(h.sizes))] = uint16(size)
	h.used += size
}

// evict makes room for size bytes, as far as there is something to take away.
func (h *headerBlock) evict(size int) {
	for h.used > 0 && h.used+size > h.max {
		h.evicted++
		h.used -= int(h.sizes[h.evicted%uint64(len(h.sizes))])
	}
}

// appendInt appends an integer of HPACK whose first byte has n bits of it, and
// first above them.
func appendInt(dst []byte, first byte, n int, v uint64) []byte {
	limit := uint64(1)<<n - 1
	if v < limit {
		return append(dst, first|byte(v))
	}
	dst = append(dst, first|byte(limit))
	for v -= limit; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}

// appendText appends a text of HPACK, in Huffman's code where that is shorter.
func appendText(dst []byte, s string) []byte {
	if n := hpack.HuffmanEncodeLength(s); n < uint64(len(s)) {
		return hpack.AppendHuffmanString(appendInt(dst, 0x80, 7, n), s)
	}
	return append(appendInt(dst, 0, 7, uint64(len(s))), s...)
}
