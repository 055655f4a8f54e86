package holdings

import "github.com/headgate/headgate/limiter"

// What follows is about units that were charged for a call whose cost was not known
// yet. A charge's Was says in which window they were charged here.

// Keep remembers the counter of key and of the window that was says until a while after
// until, also if nobody asks for it, so that what was charged can be given back. It
// returns who was charged, as [Former] has it; no tenure if the counter is forgotten, or if it
// has post-paid use that did not fit: what no unit was granted for must not be returned to
// the pool, which would take it from what others have spent.
func (h *Holdings) Keep(key limiter.Key, was, until limiter.Instant) (tenure uint64, life uint32) {
	s := h.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.counters.get(place{key, int64(was) - 1})
	if k == nil {
		return 0, 0
	}
	k.asked = max(k.asked, until)
	if k.lost > 0 || k.holding.Owes() > 0 {
		return 0, 0
	}
	return h.cfg.Tenure, k.holding.Life()
}

// Refund gives back units that were charged to key in the window that was says, and
// returns how many were credited: none if the window is over.
func (h *Holdings) Refund(key limiter.Key, was limiter.Instant, units uint64) (credited uint64) {
	s := h.shard(key)
	s.mu.Lock()
	k := s.counters.get(place{key, int64(was) - 1})
	credited, owed := s.refund(k, units), proposal{}
	if k != nil {
		owed = h.owed(k)
	}
	s.mu.Unlock()
	h.submit(owed)
	return credited
}

// Owe records use that has happened and that ch, which was denied, could not charge: as
// much of it as the largest debt allows is owed from now on. It returns how much that
// is; what the node still holds of the counter is charged first, and counts as well.
func (h *Holdings) Owe(now limiter.Instant, ch *limiter.Charge, units uint64) (recorded uint64) {
	p := h.plans.Load().find(ch.Limit)
	if p == nil {
		return 0
	}
	s := h.shard(ch.Key)
	s.mu.Lock()
	k, _ := h.counter(s, now, ch, p)
	if k == nil {
		s.mu.Unlock()
		return 0
	}
	lost := h.record(s, now, k, units)
	owed := h.owed(k)
	s.mu.Unlock()
	h.submit(owed)
	return units - lost
}
