package table

import (
	"sync"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/slots"
)

// staleMax is how old the now of a decision may be. An entry is forgotten only
// that long after it was due, so that a decision whose clock was read earlier
// doesn't find a fresh counter where there was a used one.
const staleMax = limiter.Instant(100_000_000)

// A shard holds the counters of one partition. Its mutex guards all of it. The
// first of its three cache lines is what a decision needs. Three, not four:
// every fourth line falls into a quarter of the places that a cache has.
//
// While a shard is moving to another array, old holds the one that it moves
// out of: slots before moved are in the new array and must not be read; a key
// is in at most one of the two. New keys go to the new array, and counters
// that are still in the old one are changed in place.
type shard struct {
	mu sync.Mutex

	// moving and converting are set while a decision must do more than find
	// its counter in slots.
	moving, converting bool
	level              int16 // see slotsAt
	id                 limiter.Partition

	array        // the one that new keys go to; nothing is allocated while it is empty
	old   array  // the one that is being moved out of
	moved int    // how many slots of old were moved
	n     int    // entries in both arrays
	hand  int    // where the next pass over slots goes on: a sweep, or a conversion
	gone  uint64 // entries that were forgotten because they were due

	held *slots.Set // what concurrency limits hold; nil: nothing

	_ [24]byte
}

// find returns the array that k is in and its place there; ok is false if
// there is none.
func (s *shard) find(k limiter.Key) (a *array, i int, ok bool) {
	if i, ok = probe(s.slots, k); ok || !s.moving {
		return &s.array, i, ok
	}
	i, ok = s.probeOld(k)
	return &s.old, i, ok
}

// probe looks for k in an array that is not being moved out of.
func probe(slots []slot, k limiter.Key) (i int, ok bool) {
	i = home(k.Lo, len(slots))
	for i < len(slots) {
		sl := &slots[i]
		if sl.lo == k.Lo && sl.hi == k.Hi {
			return i, true
		}
		if sl.lo == 0 {
			break
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
	return 0, false
}

// probeOld looks for k among the slots that were not moved yet. Every slot
// between a key's home and its place was taken when the move began, and
// nothing is removed from the old array, so the search may skip what was moved.
func (s *shard) probeOld(k limiter.Key) (i int, ok bool) {
	slots := s.old.slots
	i = max(home(k.Lo, len(slots)), s.moved)
	for range len(slots) - s.moved {
		sl := &slots[i]
		if sl.lo == k.Lo && sl.hi == k.Hi {
			return i, true
		}
		if sl.lo == 0 {
			break
		}
		if i++; i == len(slots) {
			i = s.moved
		}
	}
	return 0, false
}

// place returns where a key that is not in s goes in the new array: the first
// slot on its path that is free, or whose entry is due by now. It needs a free
// slot to exist.
func (s *shard) place(lo uint64, now limiter.Instant) (i int, due bool) {
	slots := s.slots
	i = home(lo, len(slots))
	for {
		sl := &slots[i]
		if sl.lo == 0 {
			return i, false
		}
		if sl.c.Due <= now {
			return i, true
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
}

// remove empties slot i of the new array and closes the gap: each following
// entry that may stand nearer its home does.
func (s *shard) remove(i int) {
	slots, tags := s.slots, s.tags
	n := len(slots)
	j := i
	for {
		if j++; j == n {
			j = 0
		}
		if slots[j].lo == 0 {
			break
		}
		if between(home(slots[j].lo, n), i, j) {
			slots[i], tags[i] = slots[j], tags[j]
			i = j
		}
	}
	slots[i] = slot{}
}

// between reports whether i is on the path from h to j, going up and around.
func between(h, i, j int) bool {
	if h <= j {
		return h <= i && i <= j
	}
	return h <= i || i <= j
}
