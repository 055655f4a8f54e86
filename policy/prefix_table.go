package policy

import (
	"slices"
	"strings"
)

// A prefixTable finds all of its keys that a value begins with. Keys are texts,
// or networks: the first bits of an address. They are in one textTable, where
// the longest is found by bisecting the lengths that keys have: so that a look-up
// at one length says whether to look at longer ones, each key has waymarks, its
// beginnings of the lengths that a search for it asks for. Waldvogel, Varghese,
// Turner and Plattner, "Scalable high speed IP routing lookups", 1997.
//
// The look-ups along the way trust the tags and read no record. The record at
// the end is verified, and if it is the wrong one, the search is done again with
// care. So a search reads one line of far memory, nearly always, and bytes in
// proportion to the longest key, whatever the value. The zero prefixTable is
// empty.
type prefixTable struct {
	table   textTable
	lengths []uint16 // that keys have, ascending
	bits    bool     // lengths are in bits and values are addresses
}

// A prefixKey is what a prefixTable is made of.
type prefixKey struct {
	value  string // of a network: its address
	length uint16 // in bytes, or in bits of the address
	rest   string // a glob for what follows the key
	rule   compactRule
	kind   recordKind
}

// networkKeyMax is the size of the largest key that stands for a network.
const networkKeyMax = 1 + 16

// newPrefixTable returns the table of keys, which are distinct. With slotsFrom of
// them or more it may have slots.
func newPrefixTable(networks bool, keys []prefixKey, slotsFrom int) prefixTable {
	t := prefixTable{bits: networks}
	// A key comes after those that it begins with, and keys that begin alike
	// stand together.
	slices.SortFunc(keys, func(a, b prefixKey) int {
		if c := strings.Compare(a.value, b.value); c != 0 {
			return c
		}
		return int(a.length) - int(b.length)
	})
	for i := range keys {
		t.lengths = append(t.lengths, keys[i].length)
	}
	slices.Sort(t.lengths)
	t.lengths = slices.Clip(slices.Compact(t.lengths))

	m := waymarker{t: &t, entries: make([]textEntry, 0, len(keys)), last: make([]string, len(t.lengths))}
	for i := range keys {
		m.add(&keys[i])
	}
	t.table = newTextTable(m.entries, slotsFrom)
	return t
}

// A waymarker makes the entries of keys that come in order.
type waymarker struct {
	t       *prefixTable
	entries []textEntry
	within  []textEntry // the keys that the last one begins with, and itself
	lengths []uint16    // theirs
	last    []string    // the last waymark, by index of its length
}

func (m *waymarker) add(k *prefixKey) {
	for n := len(m.within); n > 0; n-- {
		if l := m.lengths[n-1]; l <= k.length && m.key(k, l) == m.within[n-1].text {
			break
		}
		m.within, m.lengths = m.within[:n-1], m.lengths[:n-1]
	}
	e := textEntry{text: m.key(k, k.length), rest: k.rest, rule: k.rule, kind: k.kind, outer: m.outer(k.length)}
	m.entries = append(m.entries, e)
	for low, high := 0, len(m.t.lengths); ; {
		i := (low + high) / 2
		l := m.t.lengths[i]
		if l == k.length {
			break
		}
		if l > k.length {
			high = i
			continue
		}
		low = i + 1
		if text := m.key(k, l); text != m.last[i] && !slices.Contains(m.lengths, l) {
			m.last[i] = text
			m.entries = append(m.entries, textEntry{text: text, kind: waymark, outer: m.outer(l)})
		}
	}
	m.within, m.lengths = append(m.within, e), append(m.lengths, k.length)
}

// key returns the first bytes or bits of k as the table has them.
func (m *waymarker) key(k *prefixKey, length uint16) string {
	if !m.t.bits {
		return k.value[:length]
	}
	var room [networkKeyMax]byte
	return string(m.t.key([]byte(k.value), int(length), &room))
}

// outer returns textRecord.outer for a text of a length that the key at hand
// begins with.
func (m *waymarker) outer(length uint16) uint16 {
	for i := len(m.lengths) - 1; i >= 0; i-- {
		if m.lengths[i] <= length {
			return m.lengths[i] + 1
		}
	}
	return 0
}

// key returns the first bytes or bits of value as the table has them.
func (t *prefixTable) key(value []byte, length int, room *[networkKeyMax]byte) []byte {
	if !t.bits {
		return value[:length]
	}
	return networkKey(value, length, room)
}

// networkKey returns the number of bits, then their bytes.
func networkKey(address []byte, bits int, room *[networkKeyMax]byte) []byte {
	n := (bits + 7) / 8
	room[0] = byte(bits)
	copy(room[1:], address[:n])
	room[n] &= ^byte(0xff >> ((bits-1)%8 + 1)) // of length 0: room[0] is 0
	return room[:1+n]
}

// verified returns the place of the longest key or waymark that value begins with,
// or −1, and its length, where a search that trusted the tags has found the place
// at, for a length.
func (t *prefixTable) verified(value []byte, at, length int) (int, int) {
	if at < 0 {
		return at, length
	}
	var room [networkKeyMax]byte
	if t.table.has(at, t.key(value, length, &room)) {
		return at, length
	}
	return t.search(value, sure)
}

// search bisects the lengths and returns the place of the longest key or waymark
// that value begins with, or −1, and its length. Unless it is sure, the place may be
// another key's.
func (t *prefixTable) search(value []byte, how search) (at, length int) {
	units := len(value)
	if t.bits {
		units *= 8
	}
	var room [networkKeyMax]byte
	at = -1
	for low, high := 0, len(t.lengths); low < high; {
		i := int(uint(low+high) / 2)
		if l := int(t.lengths[i]); l <= units {
			if found := t.table.look(t.key(value, l, &room), how); found >= 0 {
				at, length, low = found, l, i+1
				continue
			}
		}
		high = i
	}
	return at, length
}

// A prefixWalk visits the keys that a value begins with, longest first.
type prefixWalk struct {
	table  *prefixTable
	value  []byte
	at     int // the place of the next one; −1: there is none
	length int // its
}

// walk starts a walk over the keys that value begins with; an address is a
// value of 4 or 16 bytes.
func (t *prefixTable) walk(value []byte) prefixWalk {
	at, length := t.search(value, hasty)
	return t.walkFrom(value, at, length)
}

// walkFrom is walk after a search that trusted the tags.
func (t *prefixTable) walkFrom(value []byte, at, length int) prefixWalk {
	at, length = t.verified(value, at, length)
	return prefixWalk{t, value, at, length}
}

// next returns the place of the next key whose rest fits the value, −1 at the end.
func (w *prefixWalk) next() int {
	t := &w.table.table
	for w.at >= 0 {
		i := w.at
		var outer int
		var fits bool
		if t.slots == nil {
			r := &t.records[i]
			outer, fits = int(r.outer)-1, r.kind != waymark && r.continues(t.long, w.value)
		} else {
			outer, fits = t.around(i, w.value, w.length)
		}
		w.at, w.length = -1, outer
		if outer >= 0 {
			var room [networkKeyMax]byte
			w.at = t.find(w.table.key(w.value, outer, &room))
		}
		if fits {
			return i
		}
	}
	return -1
}

// prefixFree sorts prefixes and drops those that begin with another of them:
// what they match, that one matches too.
func prefixFree(prefixes []string) []string {
	var free []string
	for _, p := range slices.Sorted(slices.Values(prefixes)) {
		if len(free) == 0 || !strings.HasPrefix(p, free[len(free)-1]) {
			free = append(free, p)
		}
	}
	return free
}
