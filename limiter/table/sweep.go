package table

import "github.com/headgate/headgate/limiter"

const (
	// sweepStep is how many slots an insert sweeps when it sweeps at all.
	sweepStep = 64
	// sweepHold is how many slots a background pass visits while it holds a
	// shard's mutex: 5 to 20 µs.
	sweepHold = 1024
)

// A tally collects the entries that a pass forgets, so that the shared counts
// are written once for a run of entries of one definition.
type tally struct {
	t   *Table
	tag uint32
	n   int64
}

// add forgets an entry of s that was charged under tag.
func (y *tally) add(s *shard, tag uint32) {
	s.n--
	s.gone++
	if tag != y.tag {
		y.flush()
		y.tag = tag
	}
	y.n++
}

func (y *tally) flush() {
	if y.n > 0 {
		y.t.entries.Add(-y.n)
		y.t.reg.def(y.tag).add(-y.n)
		y.n = 0
	}
}

// sweep visits the next n slots of s, removes the entries that are due, and
// returns how many there were. It does nothing while s is moving, which drops
// them too, or converting, which needs entries to stay where they are.
func (t *Table) sweep(s *shard, now limiter.Instant, n int) (reclaimed int) {
	if s.moving || s.converting || len(s.slots) == 0 {
		return 0
	}
	gone := tally{t: t}
	for range n {
		sl := &s.slots[s.hand]
		if sl.lo != 0 && sl.c.Due <= now-staleMax {
			tag := s.tags[s.hand]
			t.forgetSlots(s, sl, tag)
			s.remove(s.hand) // and look at this slot again: another entry may have come
			gone.add(s, tag)
			reclaimed++
			continue
		}
		if s.hand++; s.hand == len(s.slots) {
			s.hand = 0
		}
	}
	gone.flush()
	return reclaimed
}

// tend does what an insert owes its shard: a step of the move that is under
// way, a growth, or a sweep.
func (t *Table) tend(s *shard, now limiter.Instant) {
	switch {
	case s.moving:
		t.move(s, now, moveStep)
	case s.n > loadSoft(len(s.slots)):
		// Where an eighth of the entries is due, sweeping makes room as fast
		// as inserts take it.
		if t.sweep(s, now, sweepStep) < sweepStep/8 || s.n > loadHard(len(s.slots))-1 {
			t.grow(s, now)
		}
	case s.n > loadSweep(len(s.slots)) && s.n%4 == 0:
		t.sweep(s, now, sweepStep)
	}
}

// Sweep visits about slots slots, goes on where the last Sweep ended, forgets
// the entries that are due, finishes moves, and shrinks shards that became
// mostly empty. It returns how many entries it forgot. It holds a shard's
// mutex for at most about 20 µs at a time. Whoever owns the table calls it
// regularly: a 60th of Stats.Capacity every second visits each slot once a minute.
func (t *Table) Sweep(now limiter.Instant, slots int64) (reclaimed int64) {
	for shards := 0; slots > 0 && shards < len(t.shards); {
		i := t.sweeping.at()
		visited, forgot, lap := t.sweepHold(&t.shards[i], now)
		slots -= int64(visited)
		reclaimed += int64(forgot)
		if lap {
			t.sweeping.leave(i)
			shards++
		}
	}
	return reclaimed
}

// sweepHold does one bounded step of a Sweep of s and reports whether s is done.
func (t *Table) sweepHold(s *shard, now limiter.Instant) (visited, reclaimed int, lap bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.tidySlots(s)
	if s.moving {
		before := s.n
		t.move(s, now, sweepHold)
		return sweepHold, before - s.n, false
	}
	if len(s.slots) == 0 || s.converting {
		return 1, 0, true
	}
	visited = min(len(s.slots)-s.hand, sweepHold)
	reclaimed = t.sweep(s, now, visited)
	if s.hand == 0 { // wrapped around
		t.shrink(s, now)
		return visited, reclaimed, !s.moving
	}
	return visited, reclaimed, false
}
