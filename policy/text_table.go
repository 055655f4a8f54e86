package policy

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// A textTable finds spans by texts. It is a map[string]span that is never
// changed, laid out so that a look-up among 100,000 texts touches one slot and
// the text itself: what a match costs among many rules is what it must fetch
// from far memory. Its hash has a random seed, so that nobody can choose
// values that share a slot. The zero textTable is empty.
type textTable struct {
	seed  maphash.Seed
	slots []textSlot // a power of two; a quarter of them is empty
	text  []byte     // each text after its length in two bytes
}

type textSlot struct {
	tag   uint32 // bits of the hash that did not choose the slot; 0: empty
	at    uint32 // offset in text
	value span
}

const textLengthBytes = 2

// newTextTable returns the table of keys, each of at most 64 KiB.
func newTextTable(keys map[string]span) textTable {
	if len(keys) == 0 {
		return textTable{}
	}
	size := 4
	for 3*size < 4*len(keys) {
		size *= 2
	}
	t := textTable{seed: maphash.MakeSeed(), slots: make([]textSlot, size)}
	for key, value := range keys {
		i, tag := t.place([]byte(key))
		for t.slots[i].tag != 0 {
			i = (i + 1) & (len(t.slots) - 1)
		}
		t.slots[i] = textSlot{tag, uint32(len(t.text)), value}
		t.text = binary.BigEndian.AppendUint16(t.text, uint16(len(key)))
		t.text = append(t.text, key...)
	}
	return t
}

// place returns where a text's search begins and its tag.
func (t *textTable) place(text []byte) (slot int, tag uint32) {
	h := maphash.Bytes(t.seed, text)
	return int(h & uint64(len(t.slots)-1)), uint32(h>>32) | 1
}

// find returns the span of text.
func (t *textTable) find(text []byte) (span, bool) {
	if len(t.slots) == 0 {
		return span{}, false
	}
	for i, tag := t.place(text); ; i = (i + 1) & (len(t.slots) - 1) {
		s := &t.slots[i]
		if s.tag == 0 {
			return span{}, false
		}
		if s.tag == tag && bytes.Equal(t.textAt(s.at), text) {
			return s.value, true
		}
	}
}

func (t *textTable) textAt(at uint32) []byte {
	start := at + textLengthBytes
	return t.text[start : start+uint32(binary.BigEndian.Uint16(t.text[at:]))]
}
