package policy

import (
	"encoding/binary"
	"math"

	"github.com/headgate/headgate/limiter"
)

// A textSlot is half a cache line: the hash of a text (textKeys), and the rule that
// it leads to where that has little of its own. So half as much memory is shared
// with what else needs the processor's caches, and more of it is there when a match
// comes.
type textSlot struct {
	high uint64 // the hash; if the shape is wideShape, there is none
	low  uint32
	// The number of the shape, and from bit 8 on the limit; if the shape is wideShape,
	// the index of a record that says all, the text included.
	meaning uint32
	id      limiter.LimitID // or by and next, if the shape says so
}

func (s *textSlot) shape() byte    { return byte(s.meaning) }
func (s *textSlot) number() uint32 { return s.meaning >> 8 }

// wideShape is no shape: the slot leads to a record.
const wideShape = math.MaxUint8

// A textShape is what many slots of a table share.
type textShape struct {
	shapeKey
	glob glob // rest
}

// A shapeKey says which entries have one textShape.
type shapeKey struct {
	kind     recordKind
	outer    uint16
	rest     string
	by, next uint32 // of the rule
	inID     bool   // by and next are in the place of the LimitID
}

// How many texts a table has at least that has slots: fewer are near in any case, and
// comparing is faster than hashing.
const (
	slotsFrom = farFrom
	noSlots   = math.MaxInt
)

// slotGroup is how many slots two cache lines have: a search begins at the first of
// a group.
const slotGroup = 4

// A slotWriter makes the slots of a table.
type slotWriter struct {
	t       *textTable
	numbers map[shapeKey]byte // of shapes
}

// pays reports whether few of the entries have something of their own.
func (w *slotWriter) pays(entries []textEntry) bool {
	wide := 0
	for i := range entries {
		if _, ok := w.fit(&entries[i]); !ok {
			wide++
		}
	}
	return wide+len(w.t.shapes) <= len(entries)/8
}

// fit returns the shape of e if a slot has room for the rest of it.
func (w *slotWriter) fit(e *textEntry) (byte, bool) {
	if len(e.text) > hashedMax || e.rule.more != 0 || e.rule.limit > math.MaxUint32>>8 {
		return 0, false
	}
	s := shapeKey{kind: e.kind, outer: e.outer, rest: e.rest, by: e.rule.by, next: e.rule.next}
	if e.rule.id == (limiter.LimitID{}) && e.rule.limit == 0 {
		s.by, s.next, s.inID = 0, 0, true
	}
	n, known := w.numbers[s]
	if !known {
		if len(w.numbers) == wideShape {
			return 0, false
		}
		n = byte(len(w.numbers))
		w.numbers[s] = n
		w.t.shapes = append(w.t.shapes, textShape{s, glob(e.rest)})
	}
	return n, true
}

// write writes the slot of e, and returns false if it leads to the next record.
func (w *slotWriter) write(s *textSlot, e *textEntry) bool {
	n, ok := w.fit(e)
	if !ok {
		s.meaning = uint32(len(w.t.records))<<8 | wideShape
		return false
	}
	s.high, s.low = w.t.keys.hash([]byte(e.text))
	if w.t.shapes[n].inID {
		s.meaning = uint32(n)
		binary.NativeEndian.PutUint32(s.id[:], e.rule.by)
		binary.NativeEndian.PutUint32(s.id[4:], e.rule.next)
	} else {
		s.meaning, s.id = e.rule.limit<<8|uint32(n), e.rule.id
	}
	return true
}

// wide returns the record of a place, or nil if a slot says it all.
func (t *textTable) wide(i int) *textRecord {
	if t.slots == nil {
		return &t.records[i]
	}
	if s := &t.slots[i]; s.shape() == wideShape {
		return &t.records[s.number()]
	}
	return nil
}

// slot returns the slot of a place that has no record, and its shape.
func (t *textTable) slot(i int) (*textSlot, *textShape) {
	s := &t.slots[i]
	return s, &t.shapes[s.shape()]
}

// rule returns the rule of a place, and what it says. If there is no record of it,
// it is made in room.
func (t *textTable) rule(i int, room *compactRule) (*compactRule, recordKind) {
	if r := t.wide(i); r != nil {
		return &r.rule, r.kind
	}
	s, shape := t.slot(i)
	if shape.inID {
		*room = compactRule{by: binary.NativeEndian.Uint32(s.id[:]), next: binary.NativeEndian.Uint32(s.id[4:])}
	} else {
		*room = compactRule{id: s.id, limit: s.number(), by: shape.by, next: shape.next}
	}
	return room, shape.kind
}

// around returns the length of the longest key that the text of a place begins with,
// or −1, and whether the place leads to a rule that a value fits which begins with
// the text, of a length.
func (t *textTable) around(i int, value []byte, length int) (outer int, fits bool) {
	if r := t.wide(i); r != nil {
		return int(r.outer) - 1, r.kind != waymark && r.continues(t.long, value)
	}
	_, shape := t.slot(i)
	return int(shape.outer) - 1, shape.kind != waymark && (len(shape.glob) <= 1 || shape.glob.matches(value[length:]))
}
