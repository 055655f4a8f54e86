package policy

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// A textTable finds rules by texts. It is a map[string]rule that is never
// changed, laid out so that a look-up among 100,000 texts fetches one slot of a
// dense array and one cache line: what a match costs among many rules is what
// it must fetch from far memory. Its hash has a random seed, so that nobody can
// choose values that share a slot. The zero textTable is empty.
type textTable struct {
	seed    maphash.Seed
	slots   []textSlot // a power of two; a quarter of them is empty
	records []textRecord
	long    []byte // texts that do not fit into their record
}

type textSlot struct {
	tag    uint32 // bits of the hash that did not choose the slot; 0: empty
	record uint32 // index to records
}

// A textRecord is one cache line: a rule and the text that leads to it.
type textRecord struct {
	rule   compactRule
	length uint16
	text   [30]byte // or where it begins in long
}

// newTextTable returns the table of keys.
func newTextTable(keys map[string]compactRule) textTable {
	if len(keys) == 0 {
		return textTable{}
	}
	size := 4
	for 3*size < 4*len(keys) {
		size *= 2
	}
	t := textTable{
		seed: maphash.MakeSeed(), slots: make([]textSlot, size),
		records: make([]textRecord, 0, len(keys)),
	}
	for key, rule := range keys {
		i, tag := t.place([]byte(key))
		for t.slots[i].tag != 0 {
			i = (i + 1) & (len(t.slots) - 1)
		}
		t.slots[i] = textSlot{tag, uint32(len(t.records))}
		r := textRecord{rule: rule, length: uint16(len(key))}
		if copy(r.text[:], key) < len(key) {
			binary.NativeEndian.PutUint32(r.text[:], uint32(len(t.long)))
			t.long = append(t.long, key...)
		}
		t.records = append(t.records, r)
	}
	return t
}

// place returns where a text's search begins and its tag.
func (t *textTable) place(text []byte) (slot int, tag uint32) {
	h := maphash.Bytes(t.seed, text)
	return int(h & uint64(len(t.slots)-1)), uint32(h>>32) | 1
}

// find returns the rule of text, or nil.
func (t *textTable) find(text []byte) *compactRule {
	if len(t.slots) == 0 {
		return nil
	}
	for i, tag := t.place(text); ; i = (i + 1) & (len(t.slots) - 1) {
		s := t.slots[i]
		if s.tag == 0 {
			return nil
		}
		if r := &t.records[s.record]; s.tag == tag && t.has(r, text) {
			return &r.rule
		}
	}
}

// has reports whether r is the record of text.
func (t *textTable) has(r *textRecord, text []byte) bool {
	if int(r.length) != len(text) {
		return false
	}
	if len(text) <= len(r.text) {
		return bytes.Equal(r.text[:len(text)], text)
	}
	at := binary.NativeEndian.Uint32(r.text[:])
	return bytes.Equal(t.long[at:at+uint32(r.length)], text)
}
