package table

import (
	"math"
	"math/bits"

	"github.com/headgate/headgate/limiter"
)

// How an array grows. At 36 bytes a slot a key costs 36/load bytes; growing by
// a quarter at 85 % keeps the load between 68 and 85 %.
const (
	slotsMin   = 16
	growFactor = 1.25

	// levelsSmall is how many levels an array below slotsSmall grows at once:
	// it is moved in one step, and its memory doesn't matter.
	slotsSmall  = 64
	levelsSmall = 3

	// moveStep is how many slots an insert moves: about 2 µs. A quarter more
	// slots at 85 % load leave room for n/5 inserts; the move takes n/256.
	moveStep = 256

	// shrinkMax is how many times smaller than the old one an array may be, so
	// that the move ends before the new one fills.
	shrinkMax = 8
)

// loadSoft is the number of entries at which an array of n slots grows.
func loadSoft(n int) int { return n * 17 / 20 }

// loadHard is the number of entries that an array of n slots holds at most,
// when it may not grow.
func loadHard(n int) int { return n * 15 / 16 }

// loadSweep is the number of entries from which inserts sweep, so that an
// array that is full of due entries is swept and not grown.
func loadSweep(n int) int { return n * 3 / 4 }

// loadFresh is how many entries an array of n slots may start with.
func loadFresh(n int) int { return n * 7 / 10 }

// slotsAt returns the number of slots of level l. Shards are staggered: their
// growth points are spread evenly over the logarithm of the number of keys, so
// that the table's memory is a smooth function of it.
func (s *shard) slotsAt(l int16) int {
	stagger := float64(bits.Reverse16(uint16(s.id))>>4) / limiter.PartitionCount
	return int(slotsMin * math.Pow(growFactor, float64(l)+stagger))
}

// grow makes room for one more entry if it can. It is called when the new
// array is at loadSoft or there is none, and no move is under way.
func (t *Table) grow(s *shard, now limiter.Instant) {
	level := s.level
	switch {
	case s.slots == nil:
	case len(s.slots) < slotsSmall:
		level += levelsSmall
	default:
		level++
	}
	t.resize(s, level, now)
}

// resize begins the move of s to an array of level l, if there is memory for
// it. Small arrays are moved at once.
func (t *Table) resize(s *shard, l int16, now limiter.Instant) {
	n := s.slotsAt(l)
	size := arrayBytes(n)
	if t.bytes.Add(size) > t.cfg.BytesMax {
		t.bytes.Add(-size)
		t.refused.Add(1)
		return
	}
	next, ok := newArray(n)
	if !ok {
		t.bytes.Add(-size)
		t.refused.Add(1)
		return
	}
	t.capacity.Add(int64(n - len(s.slots)))
	s.old, s.array, s.level = s.array, next, l
	s.moved, s.hand, s.moving = 0, 0, true
	t.places[s.id].at(&s.array)
	t.move(s, now, moveStep)
}

// move moves the next n slots of the old array and drops what is due. When
// all are moved it gives the old array back.
func (t *Table) move(s *shard, now limiter.Instant, n int) {
	to := min(s.moved+n, len(s.old.slots))
	gone := tally{t: t}
	for i := s.moved; i < to; i++ {
		sl, tag := s.old.slots[i], s.old.tags[i]
		if sl.lo == 0 {
			continue
		}
		if sl.c.Due <= now-staleMax {
			t.forgetSlots(s, &sl, tag)
			gone.add(s, tag)
			continue
		}
		at := home(sl.lo, len(s.slots))
		for s.slots[at].lo != 0 {
			if at++; at == len(s.slots) {
				at = 0
			}
		}
		s.slots[at], s.tags[at] = sl, tag
	}
	gone.flush()
	if chunks := to / chunkSlots * chunkSlots; chunks > s.old.gone {
		s.old.discard(chunks)
	}
	if s.moved = to; to == len(s.old.slots) {
		t.bytes.Add(-arrayBytes(len(s.old.slots)))
		s.old.release()
		s.moved, s.moving = 0, false
	}
}

// shrink begins the move of s to a smaller array if less than half of what the
// present one may hold is in use. It is called after a lap of the hand.
func (t *Table) shrink(s *shard, now limiter.Instant) {
	if s.moving || s.converting || s.n*2 > loadSoft(len(s.slots)) {
		return
	}
	if s.n == 0 && len(s.slots) <= chunkSlots {
		t.capacity.Add(-int64(len(s.slots)))
		t.bytes.Add(-arrayBytes(len(s.slots)))
		s.release()
		t.places[s.id].at(&s.array)
		s.level, s.hand = 0, 0
		return
	}
	least := max(s.n, loadFresh(len(s.slots)/shrinkMax))
	level := int16(0)
	for loadFresh(s.slotsAt(level)) <= least {
		level++
	}
	if level < s.level {
		t.resize(s, level, now)
	}
}
