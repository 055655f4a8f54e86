package policy

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"strings"
)

// A textTable finds rules by texts. It is a map that is never changed, laid out
// so that a look-up among 100,000 texts fetches one line of far memory: what a
// match costs among many rules is what it must fetch. One byte for each record,
// its tag, stays in the cache and says which record to fetch, or that there is
// none. The hash has a random seed, so that nobody can choose values that share
// a place. The zero textTable is empty.
type textTable struct {
	seed    maphash.Seed
	tags    []byte // one for each record, and the first tagGroup−1 again; 0: no record
	records []textRecord
	long    []byte // texts that do not fit into their record
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

// newTextTable returns the table of entries, whose texts are distinct.
func newTextTable(entries []textEntry) textTable {
	if len(entries) == 0 {
		return textTable{}
	}
	size := max(tagGroup, (len(entries)*4+2)/3) // a quarter is empty
	t := textTable{
		seed: maphash.MakeSeed(), tags: make([]byte, size+tagGroup-1),
		records: make([]textRecord, size),
	}
	askForHugePages(t.records)
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
		r := &t.records[at]
		*r = textRecord{rule: e.rule, length: uint16(len(e.text)), rest: uint16(len(e.rest)), outer: e.outer, kind: e.kind}
		if len(e.text)+len(e.rest) <= len(r.text) {
			copy(r.text[copy(r.text[:], e.text):], e.rest)
			continue
		}
		if all := e.text + e.rest; !strings.HasPrefix(last, all) {
			last = all
			t.long = append(t.long, all...)
		}
		binary.NativeEndian.PutUint32(r.text[:], uint32(len(t.long)-len(last)))
	}
	copy(t.tags[size:], t.tags)
	return t
}

// place returns where a text's search begins and its tag.
func (t *textTable) place(text []byte) (at int, tag byte) {
	h := maphash.Bytes(t.seed, text)
	high, _ := bits.Mul64(h, uint64(len(t.records)))
	return int(high), max(byte(h), 1)
}

// find returns the record of text, or nil.
func (t *textTable) find(text []byte) *textRecord { return t.at(t.look(text, true)) }

// at returns a record that look has found, or nil.
func (t *textTable) at(i int) *textRecord {
	if i < 0 {
		return nil
	}
	return &t.records[i]
}

// look returns the index of the record of text, or −1. Unless it must be sure, it
// returns that of the first record with the tag of text, which is another text's
// once in some dozen times, and reads no record.
func (t *textTable) look(text []byte, sure bool) int {
	if len(t.records) == 0 {
		return -1
	}
	const ones = 0x0101010101010101
	for at, tag := t.place(text); ; {
		group := binary.LittleEndian.Uint64(t.tags[at:])
		empty := zeroBytes(group)
		// Only what comes before the first empty place counts.
		for hits := zeroBytes(group^uint64(tag)*ones) & (empty&-empty - 1); hits != 0; hits &= hits - 1 {
			i := at + bits.TrailingZeros64(hits)/8
			if i >= len(t.records) {
				i -= len(t.records)
			}
			if !sure || t.has(&t.records[i], text) {
				return i
			}
		}
		if empty != 0 {
			return -1
		}
		if at += tagGroup; at >= len(t.records) {
			at -= len(t.records)
		}
	}
}

// zeroBytes sets the top bit of each byte of x that is zero, and perhaps of
// bytes above one that is zero.
func zeroBytes(x uint64) uint64 {
	return (x - 0x0101010101010101) &^ x & 0x8080808080808080
}

// has reports whether r is the record of text.
func (t *textTable) has(r *textRecord, text []byte) bool {
	return int(r.length) == len(text) && string(t.pattern(r)[:len(text)]) == string(text)
}

// pattern returns the text and the rest of a record.
func (t *textTable) pattern(r *textRecord) []byte {
	n := int(r.length) + int(r.rest)
	if n <= len(r.text) {
		return r.text[:n]
	}
	at := int(binary.NativeEndian.Uint32(r.text[:]))
	return t.long[at : at+n]
}

// continues reports whether the rest of r matches what value has after the
// text.
func (t *textTable) continues(r *textRecord, value []byte) bool {
	// A single `*` matches all.
	return r.rest <= 1 || glob(t.pattern(r)[r.length:]).matches(value[r.length:])
}
