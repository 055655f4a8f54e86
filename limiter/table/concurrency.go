package table

import (
	"time"
	"unsafe"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/slots"
)

// How concurrency limits are kept. The entry under a limit's key, the parent,
// has the number of a group of slots in Word, and in Due when the last of them
// expires. A slot that has a holder is an entry of its own, under Key.Slot, with
// its expiry in Due and the same Word; a slot without one is in its group only,
// and counted as an entry all the same. What is held is what the group says: an
// entry whose slot is not in its group is nobody's, and forgotten when it is due.

// collectStep is how many slots that are not held any more are freed with each
// charge: more than one charge adds.
const collectStep = 8

// setBytes is what a shard's first slot costs beside its chunk.
const setBytes = int64(unsafe.Sizeof(slots.Set{})) + 64

// A claim is a charge of a concurrency limit as it is decided: owned by the call
// that holds the shard's mutex.
type claim struct {
	s   *shard
	now limiter.Instant
	ch  *limiter.Charge
	l   *limiter.Limit // the definition in force
	g   slots.Group    // of ch.Key; 0: none

	slot     limiter.Key // the holder's slot; zero: anonymous
	lifetime time.Duration
}

// chargeSlots does op with ch, of a concurrency limit, in s, which is locked, and
// sets ch.Decision.
func (t *Table) chargeSlots(s *shard, now limiter.Instant, c *limiter.Call, ch *limiter.Charge, op limiter.Op) {
	m := t.claim(s, now, c, ch)
	ch.Decision = limiter.Decision{Verdict: limiter.Allowed}
	switch op {
	case limiter.OpGiveBack:
		if m.g != 0 {
			t.uncount(s, ch.Key, s.held.GiveBack(m.g, ch.Cost))
			m.settle()
		}
	case limiter.OpRelease:
		t.release(&m)
	case limiter.OpRenew:
		if from, ok := m.holds(); ok {
			m.move(from, m.now.Add(m.lifetime))
		} else {
			ch.Decision.Verdict = limiter.Denied
		}
	default:
		t.acquire(&m, op == limiter.OpCharge && ch.Cost > 0)
	}
	if d := &ch.Decision; d.Degraded == limiter.NotDegraded {
		d.Remaining = m.l.Amount - min(m.l.Amount, s.held.Held(m.g))
		if last := s.held.Last(m.g); last > m.now {
			d.ResetAfter = last.Sub(m.now)
		}
	}
}

// claim prepares a charge: the definition that decides, and the group without
// what has expired.
func (t *Table) claim(s *shard, now limiter.Instant, c *limiter.Call, ch *limiter.Charge) claim {
	m := claim{s: s, now: min(max(now, 0), limiter.InstantMax), ch: ch, l: ch.Limit}
	a, i, ok := s.find(ch.Key)
	if s.converting || m.l.Shared {
		if ok {
			m.l = t.adopt(s, a, i, m.l, m.now)
		} else {
			_, m.l = t.reg.in(m.l)
		}
	}
	if ok && s.held != nil {
		if m.g = s.held.Group(a.slots[i].c.Word, ch.Key); m.g != 0 {
			t.uncount(s, ch.Key, s.held.Expire(m.g, m.now))
		}
		s.held.Collect(collectStep)
	}
	m.lifetime = m.l.Period
	if c.Holder.Lo != 0 {
		m.slot = ch.Key.Slot(c.Holder)
		if c.Lifetime > 0 {
			m.lifetime = min(c.Lifetime, m.lifetime)
		}
	}
	return m
}

// acquire takes a slot, or renews the one that the holder has, or only looks if
// !charge.
func (t *Table) acquire(m *claim, charge bool) {
	ch := m.ch
	ch.Was = 0
	if from, ok := m.holds(); ok {
		if charge {
			ch.Was = from
			m.move(from, m.now.Add(m.lifetime))
		}
		return
	}
	held, cost := m.s.held.Held(m.g), ch.Cost
	if cost == 0 && !m.l.PeekUsed {
		cost = 1
	}
	if cost > m.l.Amount || held > m.l.Amount-cost {
		ch.Decision.Verdict, ch.Decision.RetryAfter = limiter.Denied, limiter.Never
		if cost <= m.l.Amount {
			ch.Decision.RetryAfter = m.s.held.When(m.g, m.l.Amount-cost).Sub(m.now)
		}
		return
	}
	if !charge {
		return
	}
	ref := t.reg.ref(ch.Limit)
	if m.s.converting {
		ref, _ = t.reg.in(ch.Limit)
	}
	expiry := m.now.Add(m.lifetime)
	g, why := t.take(m.s, m.now, taking{ch.Key, m.slot, expiry, uint32(cost), ref})
	if why != limiter.NotDegraded {
		t.full(why, &ch.Decision)
		return
	}
	m.g = g
	if m.slot.Lo == 0 {
		ch.Was = expiry
	}
}

// undo makes the charge ch, which was allowed, undone: exactly, unless somebody
// else has renewed or released the same slot since.
func (t *Table) undo(s *shard, now limiter.Instant, c *limiter.Call, ch *limiter.Charge) {
	m := t.claim(s, now, c, ch)
	switch {
	case ch.Cost == 0 || m.g == 0:
	case m.slot.Lo == 0:
		t.uncount(s, ch.Key, s.held.Undo(m.g, ch.Was, uint32(ch.Cost)))
		m.settle()
	case ch.Was == 0:
		t.release(&m)
	default:
		if from, ok := m.holds(); ok && from == m.now.Add(m.lifetime) {
			m.move(from, ch.Was)
		}
	}
}

// holds returns when the holder's slot expires, and false if it has none.
func (m *claim) holds() (expiry limiter.Instant, ok bool) {
	if m.slot.Lo == 0 || m.g == 0 {
		return 0, false
	}
	a, i, ok := m.s.find(m.slot)
	if !ok || !m.s.held.Has(m.g, m.slot, a.slots[i].c.Due) {
		return 0, false
	}
	return a.slots[i].c.Due, true
}

// move has the holder's slot expire at to.
func (m *claim) move(from, to limiter.Instant) {
	a, i, _ := m.s.find(m.slot)
	a.slots[i].c.Due = to
	m.s.held.Take(m.g, m.slot, to, m.s.held.Release(m.g, m.slot, from))
	m.settle()
}

// settle has the parent's entry say when the last slot expires.
func (m *claim) settle() { m.s.settle(m.ch.Key, m.g) }

func (s *shard) settle(parent limiter.Key, g slots.Group) {
	if a, i, ok := s.find(parent); ok {
		a.slots[i].c.Due = s.held.Last(g)
	}
}

// release ends the holder's slot, if it has one.
func (t *Table) release(m *claim) {
	from, ok := m.holds()
	if !ok {
		return
	}
	s := m.s
	s.held.Release(m.g, m.slot, from)
	a, i, _ := s.find(m.slot)
	if a == &s.array && !s.converting { // which needs entries to stay where they are
		gone := tally{t: t}
		gone.add(s, a.tags[i])
		s.gone-- // it was not due
		gone.flush()
		s.remove(i)
	} else {
		a.slots[i].c = limiter.Counter{} // a sweep forgets it
	}
	m.settle()
}

// A taking is a slot to be taken. An anonymous one has the zero slot.
type taking struct {
	parent, slot limiter.Key
	expiry       limiter.Instant
	weight       uint32
	ref          uint32
}

// take adds a slot that is not held, or says why there is no room.
func (t *Table) take(s *shard, now limiter.Instant, k taking) (slots.Group, limiter.Degraded) {
	if why := t.makeRoom(s); why != limiter.NotDegraded {
		return 0, why
	}
	a, i, ok := s.find(k.parent)
	if !ok {
		why := t.store(s, now, slot{k.parent.Lo, k.parent.Hi, limiter.Counter{Due: k.expiry}}, k.ref)
		if why != limiter.NotDegraded {
			return 0, why
		}
		a, i, _ = s.find(k.parent)
	}
	c := &a.slots[i].c
	g := s.held.Group(c.Word, k.parent)
	if g == 0 {
		g = s.held.New(k.parent)
		*c = limiter.Counter{Due: k.expiry, Word: uint64(g)}
	}
	c.Due = max(c.Due, k.expiry) // before anything is stored: it must stay
	if why := t.takeEntry(s, now, &k, g); why != limiter.NotDegraded {
		s.settle(k.parent, g)
		return g, why
	}
	s.held.Take(g, k.slot, k.expiry, k.weight)
	return g, limiter.NotDegraded
}

// takeEntry makes the entry of a slot of g, or counts one that is anonymous.
func (t *Table) takeEntry(s *shard, now limiter.Instant, k *taking, g slots.Group) limiter.Degraded {
	c := limiter.Counter{Due: k.expiry, Word: uint64(g)}
	if k.slot.Lo != 0 {
		if a, i, ok := s.find(k.slot); ok {
			a.slots[i].c = c // nobody holds it any more
			return limiter.NotDegraded
		}
		return t.store(s, now, slot{k.slot.Lo, k.slot.Hi, c}, k.ref)
	}
	a, i, _ := s.find(k.parent)
	tag := a.tags[i]
	_, why := t.count(tag)
	if why != limiter.NotDegraded && t.sweep(s, now, sweepStep) > 0 {
		_, why = t.count(tag)
	}
	return why
}

// uncount counts n anonymous slots of a parent less.
func (t *Table) uncount(s *shard, parent limiter.Key, n int64) {
	if n == 0 {
		return
	}
	if a, i, ok := s.find(parent); ok {
		t.entries.Add(-n)
		t.reg.def(a.tags[i]).add(-n)
	}
}

// retagSlots counts the anonymous slots of sl, if it is a parent, under the tag
// that it has now.
func (t *Table) retagSlots(s *shard, sl *slot, from, to uint32) {
	if s.held == nil || from == to {
		return
	}
	if g := s.held.Group(sl.c.Word, sl.key()); g != 0 {
		n := s.held.Anonymous(g)
		t.reg.def(from).add(-n)
		t.reg.def(to).add(n)
	}
}

// forgetSlots ends the slots of an entry that is forgotten, if it is a parent.
func (t *Table) forgetSlots(s *shard, sl *slot, tag uint32) {
	if s.held == nil {
		return
	}
	if g := s.held.Group(sl.c.Word, sl.key()); g != 0 {
		n := s.held.Drop(g)
		t.entries.Add(-n)
		t.reg.def(tag).add(-n)
	}
}

// group returns the group of a parent that was copied, 0 if it is gone.
func (s *shard) group(parent *record) slots.Group {
	if s.held == nil {
		return 0
	}
	return s.held.Group(parent.c.Word, parent.key())
}

// makeRoom makes room for a group and a slot.
func (t *Table) makeRoom(s *shard) limiter.Degraded {
	if s.held == nil {
		if t.bytes.Add(setBytes) > t.cfg.BytesMax {
			t.bytes.Add(-setBytes)
			t.refused.Add(1)
			return limiter.TableFull
		}
		s.held = new(slots.Set)
	}
	n := s.held.Room(2)
	if n == 0 {
		return limiter.NotDegraded
	}
	if s.held.Collect(collectStep); s.held.Room(2) == 0 {
		return limiter.NotDegraded
	}
	if n > 0 {
		size := recordsBytes(n)
		if t.bytes.Add(size) <= t.cfg.BytesMax {
			if chunk, ok := newRecords(n); ok {
				s.held.Grow(chunk)
				return limiter.NotDegraded
			}
		}
		t.bytes.Add(-size)
	}
	t.refused.Add(1)
	return limiter.TableFull
}

// recordsBytes returns how many bytes newRecords(n) takes.
func recordsBytes(n int) int64 {
	size := n * slots.RecordBytes
	if !mapped(size) {
		return int64(size)
	}
	return int64(pageUp(size))
}

// newRecords returns n zeroed records, and false if the system has no memory for
// them. Like an array's, they live outside Go's heap where they are many.
func newRecords(n int) ([]slots.Record, bool) {
	if !mapped(n * slots.RecordBytes) {
		return make([]slots.Record, n), true
	}
	mem, ok := mapMemory(int(recordsBytes(n)))
	if !ok {
		return nil, false
	}
	return unsafe.Slice((*slots.Record)(unsafe.Pointer(&mem[0])), n), true //nolint:gosec // the mapping has n records, and they have no pointers
}

// slotBytesOf returns how many bytes s takes for slots.
func (s *shard) slotBytesOf() (n int64) {
	if s.held == nil {
		return 0
	}
	for _, chunk := range s.held.Chunks() {
		n += recordsBytes(len(chunk))
	}
	return n + setBytes
}

// releaseSlots gives the memory of s's slots back. Nobody holds one.
func (t *Table) releaseSlots(s *shard) {
	if s.held == nil {
		return
	}
	t.bytes.Add(-s.slotBytesOf())
	for _, chunk := range s.held.Chunks() {
		if mapped(len(chunk) * slots.RecordBytes) {
			unmapMemory(unsafe.Slice((*byte)(unsafe.Pointer(&chunk[0])), recordsBytes(len(chunk)))) //nolint:gosec // what newRecords mapped
		}
	}
	s.held = nil
}

// tidySlots does a bounded part of what a sweep owes the slots of s.
func (t *Table) tidySlots(s *shard) {
	if s.held != nil && !s.held.Collect(sweepHold) && s.held.Empty() {
		t.releaseSlots(s)
	}
}

func (sl *slot) key() limiter.Key { return limiter.Key{Hi: sl.hi, Lo: sl.lo} }
