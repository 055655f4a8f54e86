package holdings

import (
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// Grow says that the ledger has free units left of the counter of key in window w: they
// came back, or the amount was raised. A charge that was denied for want of units may
// then pass, at this and, of a quota that rolls, at the windows after it. It takes one
// shard's lock.
func (h *Holdings) Grow(key limiter.Key, w quota.Window, free uint64) {
	s := h.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.counters.get(place{key, w.Start}); k != nil {
		k.holding.Grow(free)
	}
	for i := 1; i <= int(w.Rolling); i++ {
		if k := s.counters.get(place{key, w.Near(i).Start}); k != nil {
			k.holding.Grow(k.holding.Free()) // how many there are it hears when it asks
		}
	}
}

// Parts is how many parts the counters are in for [Holdings.Doubt].
const Parts = shardCount

// Doubt says that units may be free of any counter whose group, one of quota.Groups, is
// among groups, in part i of Parts: what is used up there, as far as is known, is asked
// for again when a call needs it. Whoever calls it for all parts spreads that over a
// second, so that not everybody asks at once.
func (h *Holdings) Doubt(i int, groups uint8) {
	s := &h.shards[i%Parts]
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.counters.each() {
		if groups&(1<<quota.GroupOf(k.key)) != 0 {
			k.holding.Grow(k.holding.Free())
		}
	}
}
