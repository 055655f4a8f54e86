package table

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/headgate/headgate/limiter"
)

// A Place is where a listing goes on: it has come to the counters of Partition
// whose Key.Lo is at least Lo. The zero Place is the beginning. It stays valid
// whatever happens to the table, and over a Save and a Load.
type Place struct {
	Partition limiter.Partition
	Lo        uint64
}

// List returns the counters at a place, at most some two thousand, in the order of
// Key.Lo, and the place where to go on; more is false at the end of the table. It
// may return none although there are more. Counters that are due by now are left
// out, and so are the slots of concurrency limits, which the limit's own counter
// stands for: its Held is without what has expired.
//
// Going from place to place finds every counter that is there all the while
// exactly once, however the table grows, shrinks or is swept meanwhile. A counter
// that comes or goes meanwhile may be found or not.
//
// A call holds the mutex of one shard while it visits 1,024 slots and the rest of
// the run of full slots that it ends in, some 20 µs.
func (t *Table) List(now limiter.Instant, at Place) (entries []Entry, next Place, more bool) {
	if at.Partition >= limiter.PartitionCount {
		return nil, at, false
	}
	s := t.shard(at.Partition)
	records, to, end := s.list(now, at.Lo)
	entries = t.counters(s, records)
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Key.Lo, b.Key.Lo), cmp.Compare(a.Key.Hi, b.Key.Hi))
	})
	if !end {
		return entries, Place{at.Partition, to}, true
	}
	next = Place{Partition: at.Partition + 1}
	return entries, next, next.Partition < limiter.PartitionCount
}

// counters returns records of s as entries, without slots that nobody holds any more:
// they are no parents, and have the tag of a concurrency limit.
func (t *Table) counters(s *shard, rs []record) []Entry {
	entries := make([]Entry, 0, len(rs))
	for i := range rs {
		e := t.entry(s.id, rs[i])
		if rs[i].role == roleNone && e.Limit != nil && e.Limit.Kind == limiter.KindConcurrency {
			continue
		}
		entries = append(entries, e)
	}
	return entries
}

// list copies the entries of s whose lo is at least from, up to the lo where the
// next call goes on, and reports whether there is none beyond.
//
// Where an array ends a run, at an empty slot, it ends a range of lo, too: home is
// monotone, and no entry stands beyond the first slot after its home that is empty.
func (s *shard) list(now limiter.Instant, from uint64) (rs []record, to uint64, end bool) {
	rs = make([]record, 0, s.room()) // who allocates may have to wait
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.slots)
	if n == 0 {
		return rs, 0, true
	}
	begin := home(from, n)
	step := max(1, sweepHold*n/max(n, len(s.old.slots))) // as much of the larger array
	stop := run(s.slots, 0, begin, min(begin+step, n))
	if end = stop >= n; !end {
		to = lowest(stop, n)
	}
	in := func(lo uint64) bool { return lo >= from && (end || lo < to) }
	rs = s.collect(rs, &s.array, span{0, begin, stop}, now, in)
	if s.moving {
		o := span{low: s.moved, begin: max(home(from, len(s.old.slots)), s.moved)}
		last := len(s.old.slots)
		if !end {
			last = home(to, last)
		}
		o.end = run(s.old.slots, o.low, o.begin, max(last, o.begin))
		rs = s.collect(rs, &s.old, o, now, in)
	}
	return rs, to, end
}

// room returns how many records one call of list is likely to copy at most.
func (s *shard) room() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(s.n, sweepHold+sweepHold/8)
}

// A span is slots of an array from begin to end, which may be beyond the last one:
// then it goes on at low.
type span struct{ low, begin, end int }

// run returns where the run of full slots ends that goes on at to, counted on
// beyond the last slot if it wraps around to low; at most one round from begin.
func run(slots []slot, low, begin, to int) (end int) {
	round := begin + len(slots) - low
	for end = to; end < round; end++ {
		i := end
		if i >= len(slots) {
			i += low - len(slots)
		}
		if slots[i].lo == 0 {
			break
		}
	}
	return end
}

// collect appends the entries of a span whose lo is in to rs.
func (s *shard) collect(rs []record, a *array, sp span, now limiter.Instant, in func(lo uint64) bool) []record {
	for i := sp.begin; i < sp.end; i++ {
		j := i
		if j >= len(a.slots) {
			j += sp.low - len(a.slots)
		}
		sl := &a.slots[j]
		if sl.lo == 0 || sl.c.Due <= now || !in(sl.lo) {
			continue
		}
		r := s.record(a, j)
		switch r.role {
		case roleSlot:
			continue
		case roleParent:
			r.held = s.held.HeldAfter(s.held.Group(r.c.Word, r.key()), now)
		case roleNone:
		}
		rs = append(rs, r)
	}
	return rs
}

// lowest returns the lowest lo whose home in an array of n slots is i, below n.
func lowest(i, n int) uint64 {
	lo, rest := bits.Div64(uint64(i), 0, uint64(n))
	if rest > 0 {
		lo++
	}
	return lo
}

// Find returns the counters whose Key.Lo is lo, which [limiter.Key.Fingerprint]
// spells: none or, but for one chance in 2^64, one. What List leaves out is left
// out. It looks into every shard, and holds one mutex at a time, as long as a
// decision does.
func (t *Table) Find(now limiter.Instant, lo uint64) []Entry {
	var found []Entry
	if lo == 0 {
		return nil // no key
	}
	for i := range t.shards {
		s := &t.shards[i]
		found = append(found, t.counters(s, s.named(now, lo))...)
	}
	return found
}

// named copies the entries of s with that lo.
func (s *shard) named(now limiter.Instant, lo uint64) (rs []record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := func(other uint64) bool { return other == lo }
	if n := len(s.slots); n > 0 {
		h := home(lo, n)
		rs = s.collect(rs, &s.array, span{0, h, run(s.slots, 0, h, h)}, now, is)
	}
	if s.moving {
		h := max(home(lo, len(s.old.slots)), s.moved)
		rs = s.collect(rs, &s.old, span{s.moved, h, run(s.old.slots, s.moved, h, h)}, now, is)
	}
	return rs
}
