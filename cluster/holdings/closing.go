package holdings

import (
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// closed is told whether the ledger knows that k is closed. If calls have come to wait
// meanwhile, a new life of the counter begins; or they are returned, which are denied then.
func (h *Holdings) closed(s *shard, now limiter.Instant, k *counter, known bool) (ready []parked) {
	k.closes = false
	switch {
	case len(k.waiting) == 0:
		return nil
	case !known || h.leaving.Load():
		return h.serve(s, now, k, true)
	}
	s.lives++
	*k = counter{
		place: k.place, end: k.end, partition: k.partition, domain: k.domain, plan: k.plan,
		asked: k.asked, waiting: k.waiting, holding: quota.NewHolding(s.lives),
	}
	k.holding.Amend() // what is free is not known yet
	return nil
}

// overtaken has a command that was given to Gather sent at once if a call has come to wait
// for it just before: that call has asked for hurry, and others may have taken it.
func (h *Holdings) overtaken(at place) {
	s := h.shard(at.key)
	s.mu.Lock()
	k := s.counters.get(at)
	waits := k != nil && len(k.waiting) > 0
	s.mu.Unlock()
	if waits {
		h.cfg.Hurry(at.key)
	}
}
