package holdings

import (
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// A place is a counter's key and the start of the window.
type place struct {
	key   limiter.Key
	start int64
}

// A counter is what is held of one counter in one window. It belongs to its
// shard. It has three cache lines, which [Holdings.Prefetch] knows.
type counter struct {
	holding quota.Holding
	place
	end       int64 // by the zone's rules
	plan      *plan
	domain    *domain
	asked     limiter.Instant // when a call last came; 0: none did yet
	waiting   []parked        // calls that need units, in the order in which they came
	lost      uint64          // post-paid use that no record has, and was not given back
	partition limiter.Partition
	told      uint8 // which of the plan's marks were reached, and told: a bit for each
	heard     bool  // the ledger has said what is free
	prepared  bool  // that of the next window was asked ahead for
	gathers   bool  // what was asked for ahead of need may not be sent yet
	closes    bool  // it was idle, and the ledger is being told so: then it begins anew if calls wait
	_         [17]byte
}

// parked is a call whose charge i needs units.
type parked struct {
	call *limiter.Call
	i    int
}

// over reports whether nothing can be charged any more, and the ledger knows.
func (k *counter) over() bool {
	return k.holding.Closed() && k.holding.Forgettable() && len(k.waiting) == 0
}

// refund gives back units and returns how many are not credited. What no record has
// was charged to nobody, so it comes first.
func (k *counter) refund(units uint64) (dropped uint64) {
	lost := min(units, k.lost)
	k.lost -= lost
	return lost + k.holding.Refund(units-lost)
}

// refund gives back units of k, or of a counter that is forgotten if k is nil, and
// returns how many are credited.
func (s *shard) refund(k *counter, units uint64) (credited uint64) {
	dropped := units
	if k != nil {
		dropped = k.refund(units)
	}
	s.tally.refunded += units - dropped
	s.tally.dropped += dropped
	return units - dropped
}

// follow has the counter go by p, which may be another policy's than before.
func (k *counter) follow(p *plan) {
	if k.plan == p {
		return
	}
	if k.plan != nil && k.plan.terms.Version != p.terms.Version {
		k.holding.Amend()
		k.retell(p)
	}
	k.plan = p
}

// content reports whether the ledger need not be asked or told anything after a
// charge.
func (k *counter) content() bool {
	return len(k.waiting) == 0 && !k.plan.postPaid && k.holding.Content(&k.plan.terms)
}

// need returns what is to be proposed now, for those who wait or ahead of need.
func (k *counter) need(now limiter.Instant) (quota.Command, bool) {
	var first, all uint64
	for _, w := range k.waiting {
		if !charges(w.call, w.i) {
			continue
		}
		cost := w.call.Charges()[w.i].Cost
		if first == 0 {
			first = cost
		}
		all += min(cost, limiter.AmountMax-all)
	}
	return k.holding.Need(now, first, all, &k.plan.terms)
}

// of completes a command of the counter's holding.
func (h *Holdings) of(k *counter, c quota.Command) quota.Command {
	c.Key = k.key
	c.Window = k.plan.pool(k.start)
	c.Holder.Partition, c.Holder.Tenure = k.partition, h.cfg.Tenure
	return c
}
