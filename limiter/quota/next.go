package quota

import "github.com/headgate/headgate/limiter"

// Next returns the Holding of the window after this one, for a counter that is in use:
// it expects the use that h has seen, so that [Holding.Need] asks for a first grant
// before anybody charges it. begins is when that window does, free how many units its
// pool is thought to have, and life is as for [NewHolding].
func (h *Holding) Next(now, begins limiter.Instant, life uint32, free uint64, t *Terms) Holding {
	next := Holding{life: life, free: free, recent: h.recent, began: h.began, seen: h.seen}
	next.decay(now, t)
	next.seen = max(now, begins)
	next.state = warm | outdated
	return next
}

// Again returns an OpEnsure that asks once more for a unit after the pool had none, if
// nothing else is under way: of a quota that rolls, units may have come back to an
// earlier sub-window. It is to be asked now and then while there are charges. A leader
// that has none to give answers without a log entry.
func (h *Holding) Again(t *Terms) (Command, bool) {
	if !h.is(exhausted) || h.is(asking|refused|closed) {
		return Command{}, false
	}
	h.state |= asking
	c := h.command(OpEnsure, t)
	c.Floor, c.Target, c.Spent = h.known+1, h.known+1, h.used
	return c, true
}
