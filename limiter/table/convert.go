package table

import "github.com/headgate/headgate/limiter"

// startConverting puts every shard into converting mode.
func (t *Table) startConverting() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		if !s.converting {
			s.converting = true
			t.pending.Add(1)
		}
		s.hand = 0
		s.mu.Unlock()
	}
}

// in returns the definition that decides for a limit in converting mode, its
// ref and its limit: the one that replaced l's, or l's own.
func (r *registry) in(l *limiter.Limit) (uint32, *limiter.Limit) {
	ref := r.ref(l)
	if next := r.def(ref).next.Load(); next != 0 {
		if n := r.def(next); n.limit.ID == l.ID {
			return next, &n.limit
		}
	}
	return ref, l
}

// adopt makes the entry at i of a, which is about to be charged under l, an
// entry of the definition in force and returns that definition's limit.
func (t *Table) adopt(s *shard, a *array, i int, l *limiter.Limit, now limiter.Instant) *limiter.Limit {
	ref, l := t.reg.in(l)
	if tag := a.tags[i]; tag != ref {
		a.tags[i] = t.retag(&a.slots[i].c, tag, ref, l, now)
		t.retagSlots(s, &a.slots[i], tag, a.tags[i])
	}
	return l
}

// convert takes a counter tagged tag over to the definition that replaced its
// own, if one did, and returns the tag that it has then.
func (t *Table) convert(c *limiter.Counter, tag uint32, now limiter.Instant) uint32 {
	from := t.reg.def(tag)
	next := from.next.Load()
	if to := t.reg.def(next); next != 0 && to.limit.ID == from.limit.ID {
		return t.retag(c, tag, next, &to.limit, now)
	}
	return tag
}

// retag makes a counter tagged tag one of the definition ref, whose limit is l,
// and returns the tag that it has then.
func (t *Table) retag(c *limiter.Counter, tag, ref uint32, l *limiter.Limit, now limiter.Instant) uint32 {
	from := t.reg.def(tag)
	if from.limit.Kind != 0 && from.limit.ID == l.ID {
		*c = limiter.Convert(*c, &from.limit, l, now)
		t.converted.Add(1)
	}
	from.add(-1)
	ref, _ = t.reg.enter(ref)
	return ref
}

// ConvertStep converts counters whose definition was replaced, visiting about
// slots slots, and reports whether none are left and converting mode has
// ended. It holds a shard's mutex for at most about 50 µs at a time.
//
// Call it in the background after an Install, until it returns true, and
// begin no earlier than all calls matched against the policy before are
// decided (a second is ample): a call of a replaced definition that comes
// after converting mode has ended is decided by the terms of its own.
func (t *Table) ConvertStep(now limiter.Instant, slots int64) (done bool) {
	for t.pending.Load() > 0 && slots > 0 {
		i := t.conversion.at()
		visited, finished := t.convertHold(&t.shards[i], now)
		slots -= int64(visited)
		if finished {
			t.conversion.leave(i)
		}
	}
	return t.pending.Load() == 0
}

// convertHold does one bounded step of the conversion of s and reports whether
// s is done.
func (t *Table) convertHold(s *shard, now limiter.Instant) (visited int, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.converting {
		return 1, true
	}
	if s.moving { // first: the hand then visits what was moved
		t.move(s, now, sweepHold)
		return sweepHold, false
	}
	to := min(s.hand+sweepHold, len(s.slots))
	visited = 1 + to - s.hand
	for ; s.hand < to; s.hand++ {
		if sl := &s.slots[s.hand]; sl.lo != 0 {
			tag := s.tags[s.hand]
			s.tags[s.hand] = t.convert(&sl.c, tag, now)
			t.retagSlots(s, sl, tag, s.tags[s.hand])
		}
	}
	if s.hand < len(s.slots) {
		return visited, false
	}
	s.hand, s.converting = 0, false
	t.pending.Add(-1)
	return visited, true
}
