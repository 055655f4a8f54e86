package hpack

// The dynamic table of RFC 7541 §2.3.2: a ring of entries whose texts lie one
// after the other in one buffer, oldest first. What a block's fields point to
// is not overwritten before the next block.

// entryOverhead is what an entry counts beside its text (RFC 7541 §4.1), and a
// field in a header list (RFC 9113 §6.5.2).
const entryOverhead = 32

// ringMin is the first length of the ring.
const ringMin = 16

// An entry is one field of the dynamic table: name, then value, in the buffer.
type entry struct {
	at    uint32 // where the name begins, from a dynamicTable.origin that only grows; may wrap
	name  uint32 // length of the name, bytes
	value uint32 // length of the value, bytes
	tag   uint32
}

type dynamicTable struct {
	ring  []entry // its length is a power of two
	first uint32  // the oldest entry is ring[first & (len-1)]
	count uint32
	size  uint32 // as RFC 7541 counts it, bytes; at most max
	max   uint32 // what the peer's encoder has chosen, bytes

	text    []byte // the entries' text, after that of evicted ones
	origin  uint32 // entry.at of text[0]
	textMax int    // most bytes of text: twice the most that max can be
	viewed  bool   // the present block's fields may point into text
}

// at returns the i-th youngest entry, from 0; i is below count.
func (t *dynamicTable) at(i uint32) *entry {
	return &t.ring[(t.first+t.count-1-i)&uint32(len(t.ring)-1)]
}

// field returns an entry's texts. They don't change during a block.
func (t *dynamicTable) field(e *entry) (name, value []byte) {
	at := uint(e.at - t.origin)
	end := at + uint(e.name) + uint(e.value)
	both := t.text[at:end:end]
	return both[:e.name:e.name], both[e.name:]
}

// evict drops the oldest entries until size is at most want.
func (t *dynamicTable) evict(want uint32) {
	for t.size > want {
		e := &t.ring[t.first&uint32(len(t.ring)-1)]
		t.size -= e.name + e.value + entryOverhead
		t.first++
		t.count--
	}
}

// add makes the last bytes of text, of which the name has the first, an entry.
// There is room: evict(max - its size) has been called.
func (t *dynamicTable) add(start, name int, tag uint32) {
	if int(t.count) == len(t.ring) {
		t.growRing()
	}
	e := &t.ring[(t.first+t.count)&uint32(len(t.ring)-1)]
	e.at, e.name, e.value, e.tag = t.origin+uint32(start), uint32(name), uint32(len(t.text)-start-name), tag
	t.count++
	t.size += e.name + e.value + entryOverhead
}

func (t *dynamicTable) growRing() {
	ring := make([]entry, max(ringMin, 2*len(t.ring)))
	for i := range t.count {
		ring[i] = t.ring[(t.first+i)&uint32(len(t.ring)-1)]
	}
	t.ring, t.first = ring, 0
}

// hasRoom reports whether n more bytes of text, and slack, fit as it is.
func (t *dynamicTable) hasRoom(n int) bool { return cap(t.text)-len(t.text) >= n+slack }

// reserve makes room for n more bytes of text, and for slack. It moves what is
// live to the front, or to a new buffer if fields point into this one or it
// would soon be full again.
func (t *dynamicTable) reserve(n int) {
	if t.hasRoom(n) {
		return
	}
	live := t.text[len(t.text):]
	if t.count > 0 {
		live = t.text[t.ring[t.first&uint32(len(t.ring)-1)].at-t.origin:]
	}
	t.origin += uint32(len(t.text) - len(live))
	size, need := cap(t.text), len(live)+n+slack
	if need > size || len(live) > size/2 {
		size = min(max(textMin, 2*need), t.textMax)
	}
	if size == cap(t.text) && !t.viewed {
		t.text = t.text[:copy(t.text[:size], live)]
		return
	}
	text := make([]byte, len(live), size)
	copy(text, live)
	t.text, t.viewed = text, false
}
