package table

import "github.com/headgate/headgate/limiter"

// An Entry is one counter as the table keeps it, copied.
type Entry struct {
	Key       limiter.Key
	Partition limiter.Partition
	Counter   limiter.Counter

	// Held is how many units of a concurrency limit are held, by slots that have
	// expired and were not asked for since, too; 0 for other kinds.
	Held uint64

	// Limit is the definition that the counter was charged under last; nil if
	// the request carried it or the table does not know it. It is shared: do
	// not change it.
	Limit *limiter.Limit
	// Domain is the domain of the counter; empty if the table does not know it.
	Domain string
}

// entry returns slot i of a as an Entry.
func (t *Table) entry(p limiter.Partition, r record) Entry {
	e := Entry{Key: limiter.Key{Hi: r.hi, Lo: r.lo}, Partition: p, Counter: r.c, Held: r.held}
	d := t.reg.def(r.tag)
	if d.limit.Kind != 0 {
		e.Limit = &d.limit
	}
	if d.domain != nil {
		e.Domain = d.domain.name
	}
	return e
}

// Lookup returns the counter of k in partition p and whether there is one. A
// counter that is due may be there or not; both mean a fresh one.
func (t *Table) Lookup(p limiter.Partition, k limiter.Key) (Entry, bool) {
	s := t.shard(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	a, i, ok := s.find(k)
	if !ok {
		return Entry{}, false
	}
	return t.entry(s.id, s.record(a, i)), true
}

// Reset makes the counter of k in partition p a fresh one and reports whether
// there was one that was not.
func (t *Table) Reset(now limiter.Instant, p limiter.Partition, k limiter.Key) bool {
	s := t.shard(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	a, i, ok := s.find(k)
	if !ok || a.slots[i].c.Due <= now {
		return false
	}
	t.forgetSlots(s, &a.slots[i], a.tags[i])
	a.slots[i].c = limiter.Counter{} // a sweep forgets it
	return true
}

// Range calls yield for the entries of partition p, due ones too but not the
// slots of concurrency limits, until it returns false. It copies a bounded number at a time and holds no lock while
// it calls yield. An entry that is added, removed or moved meanwhile may be
// missing or come twice; on a partition that nobody uses it is exact.
func (t *Table) Range(p limiter.Partition, yield func(Entry) bool) {
	s := t.shard(p)
	t.scan(s, func(rs []record) bool {
		for _, r := range rs {
			if r.role == roleSlot {
				continue
			}
			if !yield(t.entry(s.id, r)) {
				return false
			}
		}
		return true
	})
}

// A record is an entry with its tag, copied out of a shard.
type record struct {
	slot
	tag  uint32
	role role
	held uint64 // units, of a parent
}

// A role is what an entry is to a concurrency limit.
type role uint8

const (
	roleNone   role = iota // a counter of another kind
	roleParent             // the entry under the limit's key
	roleSlot               // a slot with a holder
)

// record copies entry i of a, which is one of s's.
func (s *shard) record(a *array, i int) record {
	r := record{slot: a.slots[i], tag: a.tags[i]}
	if s.held == nil {
		return r
	}
	if g := s.held.Group(r.c.Word, r.key()); g != 0 {
		r.role, r.held = roleParent, s.held.Held(g)
	} else if s.held.HasSlot(r.c.Word, r.key(), r.c.Due) {
		r.role = roleSlot
	}
	return r
}

// scan calls yield with the entries of s, at most sweepHold at a time, until
// it returns false. See Range for what it promises.
func (t *Table) scan(s *shard, yield func([]record) bool) {
	var buf []record
	at, inOld := 0, true
	for {
		s.mu.Lock()
		if !s.moving && inOld {
			at, inOld = 0, false
		}
		a := &s.array
		if inOld {
			a, at = &s.old, max(at, s.moved)
		}
		buf = s.copy(buf[:0], a, at)
		at += sweepHold
		end := at >= len(a.slots)
		s.mu.Unlock()
		if !yield(buf) || (end && !inOld) {
			return
		}
		if end {
			at, inOld = 0, false
		}
	}
}

// copy appends the entries among the sweepHold slots of a from i on to rs.
func (s *shard) copy(rs []record, a *array, i int) []record {
	for end := min(i+sweepHold, len(a.slots)); i < end; i++ {
		if a.slots[i].lo != 0 {
			rs = append(rs, s.record(a, i))
		}
	}
	return rs
}
