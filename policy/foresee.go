package policy

import (
	"unsafe"

	"github.com/headgate/headgate/limiter/prefetch"
)

// A lead is what the tags say of an entry's value before any record is read:
// where the record is that must be verified. It is the first half of a match,
// which waits for no far memory.
type lead struct {
	exact, prefix, network uint32   // 1 + index to records; 0: surely none
	length                 uint16   // of the prefix
	bits                   uint8    // of the network
	v6                     bool     // address has 16 bytes; else 4
	later                  bool     // nothing is known yet: the tags are on their way
	address                [16]byte // the value, if the attribute's rules are about networks
}

// farFrom is from how many places on it is worth to ask for one: fewer stay in the
// processor's second cache.
const farFrom = 4096

func (t *textTable) far() bool { return t.size >= farFrom }

// tagsFar is far for the tags.
func (t *textTable) tagsFar() bool { return t.size >= 1<<18 }

// Foresee starts fetching what Match will read of the rules that r fits, and
// does not wait for it. Rules are far apart in memory if there are many, and a
// match waits for each that it finds. So whoever has several requests at hand
// does well to foresee them all, those that want more once more, then to match
// them all. It is never needed and changes no outcome. A lone request it costs
// nothing, since it is a half of what Match would do; only the way to an entry in
// a tree of thousands is gone again. Neither r nor what it points to may be
// changed before Match is called.
func (s *Snapshot) Foresee(r *Request) (more bool) {
	if r.carried.Kind != 0 {
		return false // it needs no rules
	}
	d := s.domainOf(r)
	if d == nil || d.operator == ModeOff {
		return false
	}
	if r.foreseen {
		d.selectors.lookLater(r)
		return false
	}
	d.selectors.look(r, byTags)
	if d.tree.far {
		for i := range r.descriptors[:r.nd] {
			d.tree.foresee(r, r.descriptors[i].Entries)
		}
	}
	r.foreseen = true
	return r.later
}

// look makes the leads of all entries of r and asks for the records that they
// point to. If they are not wanted at once, leads for which tags must be fetched are
// left for lookLater.
func (x *selectors) look(r *Request, how search) {
	r.later = false
	if len(x.byAttr) == 0 {
		return
	}
	n := 0
	for i := range r.descriptors[:r.nd] {
		d := &r.descriptors[i]
		attrs, leads := r.attrs[n:n+len(d.Entries)], r.leads[n:n+len(d.Entries)]
		n += len(d.Entries)
		if d.Override != nil { // it comes instead of the rules
			clear(attrs)
			continue
		}
		for j := range d.Entries {
			e := &d.Entries[j]
			attr, known := x.attrs[string(e.Key)]
			// Only the first of several entries with one key counts.
			if !known || attrIndexOf(attrs[:j], attr) >= 0 {
				attrs[j] = 0
				continue
			}
			attrs[j] = attr + 1
			at, l := &x.byAttr[attr], &leads[j]
			if l.later = how == byTags && at.askForTags(e.Value); l.later {
				r.later = true
			} else {
				at.look(l, e.Value, how)
			}
		}
	}
}

// lookLater makes the leads that look has left.
func (x *selectors) lookLater(r *Request) {
	if !r.later {
		return
	}
	r.later = false
	for i := range r.entries[:r.ne] {
		if attr, l := r.attrs[i], &r.leads[i]; attr != 0 && l.later {
			x.byAttr[attr-1].look(l, r.entries[i].Value, byTags)
			l.later = false
		}
	}
}

// askForTags asks for the tags that look reads first, if they are far.
func (x *attrIndex) askForTags(value []byte) (asked bool) {
	if x.exact.tagsFar() {
		x.exact.askForTags(value)
		asked = true
	}
	if p := &x.prefixes; p.table.tagsFar() {
		length := min(int(p.lengths[len(p.lengths)/2]), len(value))
		p.table.askForTags(value[:length])
		asked = true
	}
	return asked
}

func (t *textTable) askForTags(text []byte) {
	at, _ := t.place(text)
	prefetch.Line(uintptr(unsafe.Pointer(&t.tags[at]))) //nolint:gosec // only ever prefetched
}

// attrIndexOf returns the index of an attribute among those of a descriptor's
// entries, or −1.
func attrIndexOf(attrs []uint32, attr uint32) int {
	for i, a := range attrs {
		if a == attr+1 {
			return i
		}
	}
	return -1
}

// look makes the lead of a value.
func (x *attrIndex) look(l *lead, value []byte, how search) {
	l.exact, l.prefix, l.network = 0, 0, 0
	if len(x.exact.tags) > 0 {
		l.exact = x.exact.lead(value, how)
	}
	if len(x.prefixes.lengths) > 0 {
		var length int
		l.prefix, length = x.prefixes.lead(value, how)
		l.length = uint16(length)
	}
	if len(x.ipv4.lengths)+len(x.ipv6.lengths) == 0 {
		return
	}
	addr, ok := parseAddress(value)
	if !ok {
		return
	}
	t := &x.ipv4
	if l.v6 = !addr.Is4(); l.v6 {
		t, l.address = &x.ipv6, addr.As16()
	} else {
		v4 := addr.As4()
		copy(l.address[:], v4[:])
	}
	var bits int
	l.network, bits = t.lead(l.addressBytes(), how)
	l.bits = uint8(bits)
}

func (l *lead) addressBytes() []byte {
	if l.v6 {
		return l.address[:]
	}
	return l.address[:4]
}

// lead returns 1 + the index of the first record with the tag of text, and asks
// for it; 0 if there is none.
func (t *textTable) lead(text []byte, how search) uint32 { return t.ask(t.look(text, how)) }

// lead is the textTable's for the longest key or waymark that value begins with,
// and returns its length, too.
func (t *prefixTable) lead(value []byte, how search) (at uint32, length int) {
	i, length := t.search(value, how)
	return t.table.ask(i), length
}

// ask asks for a record that look has found, if it is far, and returns 1 + its
// index.
func (t *textTable) ask(i int) uint32 {
	if t.far() && i >= 0 {
		if t.slots == nil {
			prefetch.Line(uintptr(unsafe.Pointer(&t.records[i]))) //nolint:gosec // only ever prefetched
		} else {
			prefetch.Line(uintptr(unsafe.Pointer(&t.slots[i]))) //nolint:gosec // as above
		}
	}
	return uint32(i + 1)
}

// guess asks for the places where a search that begins at one mostly ends, together
// with the tags that say so.
func (t *textTable) guess(at int) {
	if t.slots == nil {
		prefetch.LineAndPair(uintptr(unsafe.Pointer(&t.tags[at])), uintptr(unsafe.Pointer(&t.records[at]))) //nolint:gosec // only ever prefetched
	} else {
		prefetch.LineAndPair(uintptr(unsafe.Pointer(&t.tags[at])), uintptr(unsafe.Pointer(&t.slots[at]))) //nolint:gosec // as above
	}
}

// foresee asks for what the last entry leads to; the way to it is gone.
func (t *tree) foresee(r *Request, entries []Entry) {
	last := len(entries) - 1
	if last < 0 || last >= t.depth {
		return
	}
	s, node := step{text: r.edge, room: &r.rule}, t.root
	ok := true
	for i := 0; i < last && ok; i++ {
		if ok = s.take(t, node, entries[i]); ok {
			node = s.rule.next
			ok = node&leafBit == 0
		}
	}
	if ok {
		s.foresee(t, node, entries[last])
	}
	r.edge = s.text
}
