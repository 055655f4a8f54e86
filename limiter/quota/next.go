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
