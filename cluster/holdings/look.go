package holdings

import "github.com/headgate/headgate/limiter"

// A View is what is held of one counter in one window.
type View struct {
	Limit limiter.LimitID // of the limit that it counts for
	Ends  int64           // when the window ends by the zone's rules, in Unix seconds
	Life  uint32          // of the holder, whose tenure is this node's
	Used  uint64          // units that were spent in this life, or are set aside by open holds
}

// Look returns what is held of the counter of key in the window that began at start,
// in Unix seconds. ok is false if it is not remembered here: then nothing is held.
// It takes one shard's lock.
func (h *Holdings) Look(key limiter.Key, start int64) (v View, ok bool) {
	s := h.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.counters.get(place{key, start})
	if k == nil {
		return View{}, false
	}
	used := k.holding.Used() + k.holding.Held()
	return View{Limit: k.plan.limit.ID, Ends: k.end, Life: k.holding.Life(), Used: used}, true
}
