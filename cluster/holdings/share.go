package holdings

import (
	"sync/atomic"

	"github.com/headgate/headgate/limiter"
)

// A domain counts the counters of its quotas.
type domain struct{ live atomic.Int64 }

// domainsOf returns those of quotas, by name: one that had counters before is the same. It
// is called by Install alone.
func (h *Holdings) domainsOf(quotas []Quota) map[string]*domain {
	next := map[string]*domain{}
	for _, q := range quotas {
		name := q.Limit.Domain
		if d := h.domains[name]; d != nil {
			next[name] = d
		} else if next[name] == nil {
			next[name] = &domain{}
		}
	}
	h.several.Store(len(next) > 1)
	for name, d := range h.domains {
		if d.live.Load() > 0 { // it may come back before they are forgotten
			next[name] = d
		}
	}
	return next
}

// room takes the room of one more counter, unless there is none; then it says why.
func (h *Holdings) room(d *domain) (full limiter.Degraded) {
	if h.leaving.Load() {
		return limiter.Unavailable
	}
	if h.counters.Add(1) > h.cfg.CountersMax {
		h.counters.Add(-1)
		return limiter.TableFull
	}
	if d.live.Add(1) > h.share && h.several.Load() {
		h.free(d)
		return limiter.ShareFull
	}
	return limiter.NotDegraded
}

// free gives back the room of a counter.
func (h *Holdings) free(d *domain) {
	h.counters.Add(-1)
	d.live.Add(-1)
}

// full counts a charge that found no room.
func (t *tally) full(why limiter.Degraded) {
	switch why { //nolint:exhaustive // no other is for want of room
	case limiter.ShareFull:
		t.shareFull++
	case limiter.TableFull:
		t.refused++
	}
}
