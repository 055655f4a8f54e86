package holdings

import (
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// retryAfter is the RetryAfter of a charge that could not be decided: when it
// could is not known.
const retryAfter = time.Second

// charges reports whether charge i of c takes units.
func charges(c *limiter.Call, i int) bool {
	ch := &c.Charges()[i]
	return ch.Op == limiter.OpCharge && ch.Cost > 0 && !dead(c, i)
}

// Has reports whether c asks anything of a quota.
func Has(c *limiter.Call) bool {
	list := c.Charges()
	for i := range list {
		if list[i].Limit.Kind == limiter.KindQuota {
			return true
		}
	}
	return false
}

// Decide decides c: its quotas, in order, and then by [Config.Rest] its other
// limits. If it returns false, c is parked until the units that it needs are
// granted, and c.Finish is called then.
//
// In mode AllOrNothing, the charges after a denial are only looked at, and what was
// charged before one is given back.
func (h *Holdings) Decide(now limiter.Instant, c *limiter.Call) (done bool) {
	c.Reused, c.Ticket = false, limiter.Key{}
	if a := arbiter(c); a >= 0 && !h.one(now, c, a) {
		return false
	}
	return h.from(now, c, 0)
}

// from is Decide for the charges from i on.
func (h *Holdings) from(now limiter.Instant, c *limiter.Call, i int) (done bool) {
	if c.Reused {
		h.undo(now, c)
		return true
	}
	list, a := c.Charges(), arbiter(c)
	others := i > 0 // there may be charges of other kinds
	for ; i < len(list); i++ {
		if list[i].Limit.Kind != limiter.KindQuota {
			others = true
		} else if i != a && !h.one(now, c, i) {
			return false
		}
	}
	if others {
		h.rest(now, c)
	}
	if a >= 0 && list[a].Op == limiter.OpCharge {
		return h.conclude(now, c, a)
	}
	if c.Mode == limiter.AllOrNothing {
		if v, _ := c.Verdict(); v == limiter.Denied {
			h.undo(now, c)
		}
	}
	return true
}

// dead reports whether a charge before i has denied a call of which nothing may
// stay charged.
func dead(c *limiter.Call, i int) bool {
	if c.Mode != limiter.AllOrNothing {
		return false
	}
	list := c.Charges()
	switch a := arbiter(c); {
	case a == i: // it is asked first
		return false
	case a >= 0 && (sure(c) || list[a].Ends()):
		return true
	}
	for j := range list[:i] {
		if list[j].Limit.Kind == limiter.KindQuota && list[j].Ends() {
			return true
		}
	}
	return false
}

// one decides charge i of c, or parks c and returns false.
func (h *Holdings) one(now limiter.Instant, c *limiter.Call, i int) (done bool) {
	ch := &c.Charges()[i]
	ch.Was = 0
	p := h.plans.Load().find(ch.Limit)
	if p == nil || !p.exact && arbiter(c) == i { // the policy in force has no such quota any more
		unavailable(ch, limiter.Unavailable)
		return true
	}
	if p.exact {
		return h.knownFrozen(now, c, i, p) || h.exact(now, c, i, p)
	}
	s := h.shard(ch.Key)
	s.mu.Lock()
	k, full := h.counter(s, now, ch, p)
	if k == nil {
		s.mu.Unlock()
		unavailable(ch, full)
		return true
	}
	done = h.try(s, now, k, parked{c, i}) || !h.park(s, k, parked{c, i})
	if done && k.content() {
		s.mu.Unlock()
		return true
	}
	h.tell(s, now, k)
	return done
}

// park has a call wait for units, or denies its charge if too many do.
func (h *Holdings) park(s *shard, k *counter, w parked) bool {
	if h.leaving.Load() {
		s.tally.failed++
		unavailable(&w.call.Charges()[w.i], limiter.Unavailable)
		return false
	}
	if h.parked.Add(1) > h.cfg.ParkedMax {
		h.parked.Add(-1)
		s.tally.refused++
		unavailable(&w.call.Charges()[w.i], limiter.Overload)
		return false
	}
	s.tally.waited++
	k.waiting = append(k.waiting, w)
	return true
}

// tell tells the ledger what k needs and owes. It unlocks s, which is k's shard.
func (h *Holdings) tell(s *shard, now limiter.Instant, k *counter) {
	need, owed := h.proposal(k, now), proposal{}
	if k.plan.postPaid { // of others Tend tells
		owed = h.owed(k)
	}
	at, hurry := k.place, (k.gathers || k.closes) && len(k.waiting) > 0
	gathers := need.any && !need.urgent
	k.gathers = (k.gathers && !hurry) || gathers
	s.mu.Unlock()
	if need.any || owed.any {
		h.submit(need, owed)
	}
	switch {
	case h.cfg.Hurry == nil:
	case hurry:
		h.cfg.Hurry(at.key)
	case gathers:
		h.overtaken(at)
	}
}

// owed is what the ledger is to be told of debt.
func (h *Holdings) owed(k *counter) proposal {
	c, ok := k.holding.Owed(&k.plan.terms)
	if !ok {
		return proposal{}
	}
	return h.propose(k, c)
}

// propose returns a command of k as a proposal that no call waits for.
func (h *Holdings) propose(k *counter, c quota.Command) proposal {
	return proposal{command: h.of(k, c), any: true}
}

// proposal is what the ledger is to be asked for.
func (h *Holdings) proposal(k *counter, now limiter.Instant) proposal {
	c, ok := k.need(now)
	if !ok {
		return proposal{}
	}
	p := h.propose(k, c)
	p.urgent = len(k.waiting) > 0
	return p
}

// try decides a charge by k, whose shard s is locked, unless it has to wait: for
// units, or to hear for the first time what is free.
func (h *Holdings) try(s *shard, now limiter.Instant, k *counter, w parked) (done bool) {
	switch ch := &w.call.Charges()[w.i]; {
	case ch.Op == limiter.OpGiveBack:
		s.refund(k, ch.Cost)
		k.allow(ch, now)
		return true
	case !charges(w.call, w.i):
		return h.look(now, k, ch)
	case len(k.waiting) > 0:
		return false // in order
	default:
		return h.spend(s, now, k, ch)
	}
}

// look decides a charge that changes nothing, unless it has to wait.
func (h *Holdings) look(now limiter.Instant, k *counter, ch *limiter.Charge) (done bool) {
	switch still := h.isFrozen(k); {
	case !k.heard && !still:
		return false
	case k.plan.postPaid, max(1, ch.Cost) <= k.left() && !still:
		k.allow(ch, now)
	case still:
		k.freeze(ch, now)
	default:
		k.deny(ch, now)
	}
	return true
}

// spend charges ch, unless it has to wait for units.
func (h *Holdings) spend(s *shard, now limiter.Instant, k *counter, ch *limiter.Charge) (done bool) {
	outcome := quota.Exceeded // a cost above the amount never fits
	if ch.Cost <= k.plan.terms.Limit {
		outcome = k.holding.Spend(now, ch.Cost, &k.plan.terms)
	}
	still := (outcome == quota.Short || outcome == quota.Forbidden) && h.isFrozen(k)
	switch {
	case outcome == quota.Short && !still:
		return false
	case outcome == quota.Admitted:
		s.tally.spent += ch.Cost
	case k.plan.postPaid:
		h.post(s, now, k, ch)
		return true
	case still:
		k.freeze(ch, now)
		return true
	case outcome == quota.Exceeded:
		k.deny(ch, now)
		return true
	case k.closes:
		return false
	default:
		unavailable(ch, limiter.Unavailable)
		return true
	}
	ch.Was = limiter.Instant(k.start + 1)
	k.allow(ch, now)
	h.cross(s, now, k)
	return true
}

// post charges post-paid use that does not fit: it passes, and is owed.
func (h *Holdings) post(s *shard, now limiter.Instant, k *counter, ch *limiter.Charge) {
	k.lost += h.record(s, now, k, ch.Cost)
	ch.Was = limiter.Instant(k.start + 1)
	k.allow(ch, now)
}

// record charges use that has happened: what does not fit is owed. It returns what
// is beyond the largest debt, and recorded nowhere.
func (h *Holdings) record(s *shard, now limiter.Instant, k *counter, units uint64) (lost uint64) {
	owed, lost := k.holding.Post(now, units, &k.plan.terms)
	s.tally.spent += units - owed - lost
	s.tally.owed += owed
	s.tally.lost += lost
	h.cross(s, now, k)
	return lost
}

// left returns how many units could still be charged, as far as is known here.
func (k *counter) left() uint64 {
	return min(k.holding.Balance()+k.holding.Free(), k.plan.terms.Limit)
}

func (k *counter) allow(ch *limiter.Charge, now limiter.Instant) {
	ch.Decision = limiter.Decision{Verdict: limiter.Allowed, Remaining: k.left(), ResetAfter: k.reset(now)}
}

func (k *counter) deny(ch *limiter.Charge, now limiter.Instant) {
	ch.Decision = limiter.Decision{Verdict: limiter.Denied, Remaining: k.left(), ResetAfter: k.reset(now)}
	ch.Decision.RetryAfter = limiter.Never
	if max(1, ch.Cost) <= k.plan.terms.Limit {
		ch.Decision.RetryAfter = k.ends(now)
	}
}

// ends returns how long the window still lasts.
func (k *counter) ends(now limiter.Instant) time.Duration {
	return max(0, limiter.Instant(k.end*int64(time.Second)).Sub(now))
}

// reset is ends if anything was charged.
func (k *counter) reset(now limiter.Instant) time.Duration {
	if k.left() == k.plan.terms.Limit {
		return 0
	}
	return k.ends(now)
}

// unavailable denies ch without its counter: quotas favour correctness.
func unavailable(ch *limiter.Charge, why limiter.Degraded) {
	ch.Decision = limiter.Decision{Verdict: limiter.Allowed, Degraded: why}
	if ch.Op != limiter.OpGiveBack {
		ch.Decision.Verdict, ch.Decision.RetryAfter = limiter.Denied, retryAfter
	}
}

// Absent denies what c asks of quotas, as a node does that has no holdings yet. What else
// c asks is for others to decide.
func Absent(c *limiter.Call) {
	c.Reused, c.Ticket = false, limiter.Key{}
	list := c.Charges()
	for i := range list {
		if ch := &list[i]; ch.Limit.Kind == limiter.KindQuota {
			ch.Was = 0
			unavailable(ch, limiter.Unavailable)
		}
	}
}

// undo gives back what c has charged quotas.
func (h *Holdings) undo(now limiter.Instant, c *limiter.Call) {
	list := c.Charges()
	for i := range list {
		ch := &list[i]
		if ch.Limit.Kind != limiter.KindQuota || ch.Was == 0 {
			continue
		}
		if ch.Was < 0 {
			h.undoExact(now, c, i)
			continue
		}
		s := h.shard(ch.Key)
		s.mu.Lock()
		if k := s.counters.get(place{ch.Key, int64(ch.Was) - 1}); k != nil {
			s.refund(k, ch.Cost)
			k.allow(ch, now)
		}
		s.mu.Unlock()
		ch.Was = 0
	}
}

// answered is told what the ledger made of a command, and goes on with the calls
// that waited for it.
func (h *Holdings) answered(c *quota.Command, r quota.Result, err error) {
	s := h.shard(c.Key)
	now := h.cfg.Now()
	s.mu.Lock()
	k := s.counters.get(place{c.Key, c.Window.Start})
	if k == nil || k.holding.Life() != c.Holder.Life {
		s.mu.Unlock()
		return // forgotten since
	}
	if err != nil {
		k.holding.Lost(c)
	} else {
		k.holding.Learn(c, r)
		if r.Code == quota.OK || r.Code == quota.Exhausted { // others know of no pool
			k.hear()
		}
	}
	var ready []parked
	if c.Op == quota.OpEnsure {
		k.gathers = false
		if r.Code == quota.Frozen {
			h.frozen.learn(c)
		}
		hopeless := err != nil || (r.Code != quota.OK && r.Code != quota.Exhausted && r.Code != quota.Frozen)
		ready = h.serve(s, now, k, hopeless)
	}
	if c.Op == quota.OpClose {
		ready = h.closed(s, now, k, err == nil)
	}
	if err == nil {
		h.tell(s, now, k)
	} else {
		s.mu.Unlock()
	}
	for _, w := range ready {
		h.parked.Add(-1)
		if h.from(now, w.call, w.i+1) {
			w.call.Finish()
		}
	}
}

// serve decides those who wait at k, in their order, as far as there are units,
// and returns them. If it is hopeless, or too late for one, it is denied.
func (h *Holdings) serve(s *shard, now limiter.Instant, k *counter, hopeless bool) (ready []parked) {
	waiting := k.waiting
	k.waiting = nil
	for n, w := range waiting {
		ch := &w.call.Charges()[w.i]
		late := w.call.Deadline != 0 && now > w.call.Deadline
		switch {
		case (hopeless || late) && k.plan.postPaid && charges(w.call, w.i):
			h.post(s, now, k, ch)
		case hopeless || late:
			s.tally.failed++
			unavailable(ch, limiter.Unavailable)
		case !h.try(s, now, k, w):
			k.waiting = append(k.waiting, waiting[n:]...)
			return waiting[:n:n]
		}
	}
	return waiting
}
