package holdings

import (
	"iter"
	"sync/atomic"
	"unsafe"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/prefetch"
)

// An index finds the counters of a shard by their places: open addressing, where
// those of one key stand beside each other. The zero index is empty. The shard's
// lock guards it.
type index struct {
	slots  []slot                 // a power of two of them, or none
	shared atomic.Pointer[[]slot] // the same for who has no lock
	n      int                    // counters
	taken  int                    // slots that have or had one: at most three quarters
}

// A slot is for one counter; a cache line has four.
type slot struct {
	tag     atomic.Uint64           // of its key; 0: it never had a counter
	counter atomic.Pointer[counter] // nil: it has none
}

// slotsMin is how many slots an index has that has any.
const slotsMin = 8

// tag tells the keys of a shard apart, of which the lowest bits are the same; it is
// not 0.
func tag(k limiter.Key) uint64 { return k.Lo | 1 }

// home is where among n slots the search for a key begins.
func home(tag uint64, n int) int { return int(tag/shardCount) & (n - 1) }

// find returns the slot of the counter at p, and that counter, or nil.
func (x *index) find(p place) (*slot, *counter) {
	n, t := len(x.slots), tag(p.key)
	if n == 0 {
		return nil, nil
	}
	for i := home(t, n); ; i = (i + 1) & (n - 1) {
		s := &x.slots[i]
		switch s.tag.Load() {
		case t:
			if k := s.counter.Load(); k != nil && k.place == p {
				return s, k
			}
		case 0:
			return nil, nil
		}
	}
}

// get returns the counter at p, or nil.
func (x *index) get(p place) *counter {
	_, k := x.find(p)
	return k
}

// put adds a counter, whose place has none.
func (x *index) put(k *counter) {
	x.n++
	if 4*(x.taken+1) > 3*len(x.slots) {
		x.resize()
	}
	x.insert(k)
}

// insert is put where there is a free slot.
func (x *index) insert(k *counter) {
	n, t := len(x.slots), tag(k.key)
	i := home(t, n)
	for x.slots[i].counter.Load() != nil {
		i = (i + 1) & (n - 1)
	}
	s := &x.slots[i]
	if s.tag.Load() == 0 {
		x.taken++
	}
	s.tag.Store(t)
	s.counter.Store(k)
}

// remove forgets the counter at p, if there is one. It may be called while each
// yields.
func (x *index) remove(p place) {
	if s, _ := x.find(p); s != nil {
		s.counter.Store(nil)
		x.n--
	}
}

// each yields every counter.
func (x *index) each() iter.Seq[*counter] { return each(x.slots) }

func each(slots []slot) iter.Seq[*counter] {
	return func(yield func(*counter) bool) {
		for i := range slots {
			if k := slots[i].counter.Load(); k != nil && !yield(k) {
				return
			}
		}
	}
}

// resize moves to as many slots as the counters want: at most half of them.
func (x *index) resize() {
	old, size := x.slots, slotsMin
	for size < 2*(x.n+1) {
		size *= 2
	}
	slots := make([]slot, size)
	x.slots, x.taken = slots, 0
	for k := range each(old) {
		x.insert(k)
	}
	x.shared.Store(&slots)
}

// tidy gives slots back if far fewer are needed than there are.
func (x *index) tidy() {
	switch {
	case len(x.slots) > 0 && x.n == 0:
		x.slots, x.taken = nil, 0
		x.shared.Store(nil)
	case len(x.slots) > slotsMin && len(x.slots) > 8*(x.n+1):
		x.resize()
	}
}

// address returns where a counter of k is, of some window; 0 if it has none. It needs
// no lock, and may be out of date, or that of a key with the same tag.
func (x *index) address(k limiter.Key) uintptr {
	shared := x.shared.Load()
	if shared == nil {
		return 0
	}
	slots, t := *shared, tag(k)
	i := home(t, len(slots))
	for range slots {
		s := &slots[i]
		switch s.tag.Load() {
		case t:
			if k := s.counter.Load(); k != nil {
				return uintptr(unsafe.Pointer(k)) //nolint:gosec // only ever prefetched
			}
		case 0:
			return 0
		}
		i = (i + 1) & (len(slots) - 1)
	}
	return 0
}

// Prefetch asks for the memory that a charge of k will need, and does not wait for
// it, as limiter/table's does: call it for each key as soon as it is known. It is
// safe at any time, and never needed.
func (h *Holdings) Prefetch(k limiter.Key) {
	at := h.shard(k).counters.address(k)
	prefetch.LineAndPair(at, at+cacheLine)
}

// cacheLine is how many bytes are fetched at once.
const cacheLine = 64
