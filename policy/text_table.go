package policy

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"strings"
)

// A textTable finds rules by texts. It is a map that is never changed, laid out
// so that a look-up among 100,000 texts fetches one line of far memory: what a
// match costs among many rules is what it must fetch. One byte for each place, its
// tag, stays in the cache and says which place to look at, or that there is none. The
// hash has a random seed, so that nobody can choose values that share a place.
//
// At a place is a textRecord, with the text, or, if most of the rules have nothing
// of their own beside a LimitID and a limit, a textSlot, which is half as large and
// has a hash of the text. The zero textTable is empty.
type textTable struct {
	seed    maphash.Seed
	size    int    // how many places there are
	tags    []byte // one for each place, and the first tagGroup−1 again; 0: nothing is there
	records []textRecord
	long    []byte // texts that do not fit into their record

	slots  []textSlot // nil: the records are at the places; else they are of wide slots
	shapes []textShape
	keys   *textKeys
}

// A textRecord is one cache line: a rule and the text that leads to it. The text
// comes first: functions that compare or search bytes may read 16 of them where
// there are fewer, which must not be in another line.
type textRecord struct {
	text   [25]byte // text and rest, or where they begin in long
	kind   recordKind
	length uint16
	rest   uint16 // bytes after the text: a glob for what a value has after it
	outer  uint16 // prefixTable: 1 + the length of the longest key that the text begins with; 0: none
	rule   compactRule
}

// A recordKind says what the rule of a record is.
type recordKind uint8

const (
	oneRule   recordKind = iota
	manyRules            // the span {by, next}
	waymark              // none: longer keys begin with the text, see prefixTable
)

// A textEntry is what a table is made of.
type textEntry struct {
	text, rest string
	rule       compactRule
	kind       recordKind
	outer      uint16
}

// tagGroup is how many tags are looked at together.
const tagGroup = 8

// newTextTable returns the table of entries, whose texts are distinct. With slotsFrom
// of them or more it may have slots.
func newTextTable(entries []textEntry, slotsFrom int) textTable {
	if len(entries) == 0 {
		return textTable{}
	}
	size := max(tagGroup, (len(entries)*4+2)/3) // a quarter is empty
	t := textTable{seed: maphash.MakeSeed(), size: size, tags: make([]byte, size+tagGroup-1)}
	w := slotWriter{t: &t, numbers: map[shapeKey]byte{}}
	if len(entries) >= slotsFrom && w.pays(entries) {
		t.slots, t.keys = make([]textSlot, size), newTextKeys()
		askForHugePages(t.slots)
	} else {
		t.shapes, t.records = nil, make([]textRecord, size)
		askForHugePages(t.records)
	}
	last := "" // of the texts in long
	for i := range entries {
		e := &entries[i]
		at, tag := t.place([]byte(e.text))
		for t.tags[at] != 0 {
			if at++; at == size {
				at = 0
			}
		}
		t.tags[at] = tag
		if t.slots == nil {
			t.records[at], last = t.record(e, last)
		} else if !w.write(&t.slots[at], e) {
			var r textRecord
			r, last = t.record(e, last)
			t.records = append(t.records, r)
		}
	}
	copy(t.tags[size:], t.tags)
	return t
}

// record returns the record of e, whose text it adds to long if it needs to, and what
// then was last added there.
func (t *textTable) record(e *textEntry, last string) (textRecord, string) {
	r := textRecord{rule: e.rule, length: uint16(len(e.text)), rest: uint16(len(e.rest)), outer: e.outer, kind: e.kind}
	if len(e.text)+len(e.rest) <= len(r.text) {
		copy(r.text[copy(r.text[:], e.text):], e.rest)
		return r, last
	}
	if all := e.text + e.rest; !strings.HasPrefix(last, all) {
		last = all
		t.long = append(t.long, all...)
	}
	binary.NativeEndian.PutUint32(r.text[:], uint32(len(t.long)-len(last)))
	return r, last
}

// place returns where a text's search begins and its tag.
func (t *textTable) place(text []byte) (at int, tag byte) {
	h := maphash.Bytes(t.seed, text)
	high, _ := bits.Mul64(h, uint64(t.size))
	if t.slots != nil {
		high &^= slotGroup - 1
	}
	return int(high), max(byte(h), 1)
}

// A search is how a look-up is done.
type search uint8

const (
	byTags search = iota // the first place with the tag of the text, which is another text's once in some dozen times; nothing there is read
	hasty                // byTags, and its place is wanted at once
	sure                 // the place of the text
)

// find returns the place of text, or −1.
func (t *textTable) find(text []byte) int { return t.look(text, sure) }

// look returns the place of text that a search finds, or −1.
func (t *textTable) look(text []byte, how search) int {
	size := t.size
	if size == 0 {
		return -1
	}
	const ones = 0x0101010101010101
	at, tag := t.place(text)
	if how != byTags && t.far() {
		t.guess(at)
	}
	for {
		group := binary.LittleEndian.Uint64(t.tags[at:])
		empty := zeroBytes(group)
		// Only what comes before the first empty place counts.
		for hits := zeroBytes(group^uint64(tag)*ones) & (empty&-empty - 1); hits != 0; hits &= hits - 1 {
			i := at + bits.TrailingZeros64(hits)/8
			if i >= size {
				i -= size
			}
			if how != sure || t.has(i, text) {
				return i
			}
		}
		if empty != 0 {
			return -1
		}
		if at += tagGroup; at >= size {
			at -= size
		}
	}
}

// zeroBytes sets the top bit of each byte of x that is zero, and perhaps of
// bytes above one that is zero.
func zeroBytes(x uint64) uint64 {
	return (x - 0x0101010101010101) &^ x & 0x8080808080808080
}

// has reports whether the place i is that of text.
func (t *textTable) has(i int, text []byte) bool {
	if t.slots == nil {
		return t.records[i].has(t.long, text)
	}
	return t.slotHas(i, text)
}

// slotHas is has if there are slots. Where a slot leads to a record, texts are compared.
func (t *textTable) slotHas(i int, text []byte) bool {
	s := &t.slots[i]
	if s.shape() == wideShape {
		return t.records[s.number()].has(t.long, text)
	}
	if len(text) > hashedMax {
		return false
	}
	high, low := t.keys.hash(text)
	return s.high == high && s.low == low
}

// has reports whether r is the record of text.
func (r *textRecord) has(long, text []byte) bool {
	return int(r.length) == len(text) && string(r.pattern(long)[:len(text)]) == string(text)
}

// pattern returns the text and the rest of a record.
func (r *textRecord) pattern(long []byte) []byte {
	n := int(r.length) + int(r.rest)
	if n <= len(r.text) {
		return r.text[:n]
	}
	at := int(binary.NativeEndian.Uint32(r.text[:]))
	return long[at : at+n]
}

// continues reports whether the rest of r matches what value has after the text.
func (r *textRecord) continues(long, value []byte) bool {
	// A single `*` matches all.
	return r.rest <= 1 || glob(r.pattern(long)[r.length:]).matches(value[r.length:])
}
