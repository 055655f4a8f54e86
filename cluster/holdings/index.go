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

// A slot is for one counter; a cache line has two.
type slot struct {
	key     limiter.Key
	mark    int64 // 0: it never had a counter. Else twice the window's start, plus 1
	counter atomic.Pointer[counter]
}

// slotsMin is how many slots an index has that has any.
const slotsMin = 8

func mark(start int64) int64 { return start<<1 | 1 }

// home is where among n slots the search for k begins. The lowest bits are those of
// the shard.
func home(k limiter.Key, n int) int { return int(k.Lo/shardCount) & (n - 1) }

// find returns the slot of p, whose counter may be gone; nil if it has none.
func (x *index) find(p place) *slot {
	n, m := len(x.slots), mark(p.start)
	if n == 0 {
		return nil
	}
	for i := home(p.key, n); ; i = (i + 1) & (n - 1) {
		s := &x.slots[i]
		if s.mark == m && s.key == p.key {
			return s
		}
		if s.mark == 0 {
			return nil
		}
	}
}

// get returns the counter at p, or nil.
func (x *index) get(p place) *counter {
	if s := x.find(p); s != nil {
		return s.counter.Load()
	}
	return nil
}

// put adds a counter, whose place has none.
func (x *index) put(k *counter) {
	x.n++
	if s := x.find(k.place); s != nil {
		s.counter.Store(k)
		return
	}
	if 4*(x.taken+1) > 3*len(x.slots) {
		x.resize()
	}
	x.insert(k)
}

// insert is put where no slot is of the counter's place, and one is free.
func (x *index) insert(k *counter) {
	n := len(x.slots)
	i := home(k.key, n)
	for x.slots[i].mark != 0 {
		i = (i + 1) & (n - 1)
	}
	x.taken++
	x.slots[i].key, x.slots[i].mark = k.key, mark(k.start)
	x.slots[i].counter.Store(k)
}

// remove forgets the counter at p, if there is one. It may be called while each
// yields.
func (x *index) remove(p place) {
	if s := x.find(p); s != nil && s.counter.Load() != nil {
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

// first returns where the counter is that the search for k looks at first, most
// often k's; 0 if it is not known. It needs no lock: it may be out of date.
func (x *index) first(k limiter.Key) uintptr {
	slots := x.shared.Load()
	if slots == nil {
		return 0
	}
	return uintptr(unsafe.Pointer((*slots)[home(k, len(*slots))].counter.Load())) //nolint:gosec // only ever prefetched
}

// Prefetch asks for the memory that a charge of k will need, and does not wait for
// it, as limiter/table's does: call it for each key as soon as it is known. It is
// safe at any time, and never needed.
func (h *Holdings) Prefetch(k limiter.Key) {
	at := h.shard(k).counters.first(k)
	prefetch.LineAndPair(at, at+cacheLine)
}

// cacheLine is how many bytes are fetched at once.
const cacheLine = 64
