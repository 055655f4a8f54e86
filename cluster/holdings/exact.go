package holdings

import (
	"errors"
	"math/rand/v2"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// A question is what the ledger is asked about charge i of a call, whose quota is
// exact: the answer decides it. Nothing of an exact quota is held here, so that a
// crash strands nothing but what was charged to calls that were under way.
//
// A charge that the caller gave no id for has one that nobody else has. If its answer
// is late or lost, the call is denied, and the ledger is told that it cost nothing; so
// it is on a denial of another limit, where nothing may stay charged. What the ledger
// doesn't hear of in a few tries stays charged.
//
// A charge with an id of the caller's is never taken back here: another call with this
// id may have been told that it passed. If its answer is late or lost, the call is
// denied, and may be charged: whoever asks again with the id hears which. Where several
// limits decide such a call together, see exact_once.go.
type question struct {
	h       *Holdings
	call    *limiter.Call
	i       int
	plan    *plan
	ends    int64 // the window, in Unix seconds
	command quota.Command
}

// exact asks the ledger to decide charge i of c and parks c. It returns true if
// there is no room for the question: then the charge is denied.
func (h *Holdings) exact(now limiter.Instant, c *limiter.Call, i int, p *plan) (done bool) {
	ch := &c.Charges()[i]
	if h.parked.Add(1) > h.cfg.ParkedMax {
		return h.full(ch, limiter.Overload)
	}
	w, a := p.at(now), arbiter(c)
	if a == i {
		c.Ticket.Hi = uint64(w.Start)
	}
	q := &question{h: h, call: c, i: i, plan: p, ends: w.End, command: quota.Command{
		Op: quota.OpSpend, Key: ch.Key, Window: p.pool(w.Start),
		Version: p.terms.Version, Limit: p.terms.Limit,
	}}
	switch {
	case q.takes():
		q.command.Request, q.command.Cost = request(c, i), ch.Cost
		switch {
		case c.Until != 0:
			q.command.Op, q.command.Until = quota.OpHold, millis(c.Until)
		case a == i:
			q.command.Op = quota.OpPropose
		case a >= 0:
			q.command.Op, q.command.Round = quota.OpJoin, round(c)
		}
	case ch.Op == limiter.OpGiveBack && named(c) && (a < 0 || a == i || sure(c)):
		q.command.Request = request(c, i) // what was it charged?
	}
	if ch.Op != limiter.OpGiveBack { // that is done whether or not somebody waits for it
		q.command.Deadline = c.Deadline
	}
	if h.cfg.Submit(q.command, q.answered) != nil {
		return h.full(ch, limiter.Unavailable)
	}
	return false // c may be decided by now, and another call
}

// full denies a charge that can't be asked about.
func (h *Holdings) full(ch *limiter.Charge, why limiter.Degraded) (done bool) {
	h.parked.Add(-1)
	h.count(ch.Key, func(t *tally) { t.refused++ })
	unavailable(ch, why)
	return true
}

func (h *Holdings) count(key limiter.Key, change func(*tally)) {
	s := h.shard(key)
	s.mu.Lock()
	change(&s.tally)
	s.mu.Unlock()
}

// named reports whether the charges of c are remembered under the caller's id. They are
// not where another limit's denial takes them back, unless there is an arbiter.
func named(c *limiter.Call) bool {
	return c.Request != limiter.Key{} && (c.Mode == limiter.ChargeAll || len(c.Charges()) == 1 || arbiter(c) >= 0)
}

// request returns the name under which the ledger remembers charge i of c.
func request(c *limiter.Call, i int) limiter.Key {
	if !named(c) {
		if c.Ticket == (limiter.Key{}) {
			c.Ticket = quota.Unnamed(rand.Uint64(), rand.Uint64()) //nolint:gosec // they have to differ, and are no secret
		}
		return c.TicketOf(i)
	}
	if a := arbiter(c); a >= 0 {
		return nameOf(c, a, i)
	}
	list := c.Charges()
	before := uint64(0) // charges of the same counter
	for j := range list[:i] {
		if list[j].Key == list[i].Key && list[j].Op == list[i].Op {
			before++
		}
	}
	return quota.Named(limiter.Key{Hi: c.Request.Hi, Lo: c.Request.Lo + before})
}

// answered is told the ledger's answer, and goes on with the call.
func (q *question) answered(c *quota.Command, r quota.Result, err error) {
	h, now := q.h, q.h.cfg.Now()
	ch, next := &q.call.Charges()[q.i], q.i+1
	if arbiter(q.call) == q.i {
		next = 0
		learn(q.call, r)
	}
	if r.Code == quota.Frozen {
		h.frozen.learn(c)
	}
	switch {
	case ch.Op == limiter.OpGiveBack:
		if !q.giveBack(now, ch, c, r, err) {
			return // it asks once more
		}
	case q.takes():
		q.charged(now, ch, c, r, err)
	case err == nil && r.Code == quota.OK && !q.late(now):
		q.look(now, ch, r)
	case r.Code == quota.Frozen && !q.late(now):
		freezeExact(now, q.call, q.i, q.plan, q.ends)
	default:
		q.fail(ch, limiter.Unavailable)
	}
	h.heard(q, err == nil)
	h.parked.Add(-1)
	if h.from(now, q.call, next) {
		q.call.Finish()
	}
}

// takes reports whether the charge takes units. Of a cost that is beyond every amount
// the ledger is only asked what is left. A call that has passed before is charged what it
// was: the same again.
func (q *question) takes() bool {
	ch := &q.call.Charges()[q.i]
	again := ch.Op == limiter.OpCharge && ch.Cost > 0 && sure(q.call)
	return (again || charges(q.call, q.i)) && ch.Cost <= limiter.CostMax
}

// late reports whether the caller has been told something else by now.
func (q *question) late(now limiter.Instant) bool {
	return q.call.Deadline != 0 && now > q.call.Deadline
}

func (q *question) fail(ch *limiter.Charge, why limiter.Degraded) {
	q.h.count(ch.Key, func(t *tally) { t.failed++ })
	unavailable(ch, why)
}

// charged decides a charge.
func (q *question) charged(now limiter.Instant, ch *limiter.Charge, c *quota.Command, r quota.Result, err error) {
	known := named(q.call)
	switch {
	case err != nil || q.late(now):
		q.fail(ch, limiter.Unavailable)
		if !known && !errors.Is(err, quota.ErrLate) && (err != nil || r.Code == quota.OK) {
			back := *c
			back.Op = quota.OpSettle
			q.h.takeBack(back, c.Cost)
		}
	case r.Code == quota.Differs, r.Code == quota.OK && r.Charged == 0 && c.Cost > 0 && c.Op != quota.OpJoin:
		q.call.Reused = true // the id stands for another charge, or for one that was given back
	case r.Code == quota.OK:
		q.pass(now, ch, r)
	case r.Code == quota.Exhausted:
		q.counter(r).deny(ch, now)
	case r.Code == quota.Frozen:
		freezeExact(now, q.call, q.i, q.plan, q.ends)
	case r.Code == quota.Busy:
		q.fail(ch, limiter.Overload)
	default:
		q.fail(ch, limiter.Unavailable)
	}
}

// pass allows a charge that the ledger has made.
func (q *question) pass(now limiter.Instant, ch *limiter.Charge, r quota.Result) {
	h, s := q.h, q.h.shard(ch.Key)
	ch.Was = wasOf(q.command.Window.Start)
	k := q.counter(r)
	k.allow(ch, now)
	if sure(q.call) {
		return // it was charged and told before
	}
	used := k.used()
	before := used - min(used, ch.Cost)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.spent += ch.Cost
	for i, mark := range q.plan.marks {
		if before < mark && mark <= used {
			h.announce(s, Crossing{Limit: q.plan.limit, Key: ch.Key, Percent: q.plan.limit.Quota.Notify[i], Used: used, At: now})
		}
	}
}

// giveBack gives back what the request was charged, in two steps: what that is, and
// then how much it shall be. It reports whether it is done.
func (q *question) giveBack(now limiter.Instant, ch *limiter.Charge, c *quota.Command, r quota.Result, err error) bool {
	units := uint64(0) // that are given back
	switch {
	case err != nil:
		q.fail(ch, limiter.Unavailable)
	case c.Op == quota.OpSettle:
		if r.Code == quota.OK {
			units = min(ch.Cost, q.command.Cost-r.Charged)
		}
		q.counter(r).allow(ch, now)
	case r.Code == quota.Differs && r.Charged > 0 && (sure(q.call) || arbiter(q.call) < 0): // it is known
		q.command.Cost = r.Charged
		settle := *c
		settle.Op, settle.Cost = quota.OpSettle, r.Charged-min(r.Charged, ch.Cost)
		if q.h.cfg.Submit(settle, q.answered) == nil {
			return false
		}
		q.fail(ch, limiter.Unavailable)
	default:
		q.counter(r).allow(ch, now)
	}
	q.h.count(ch.Key, func(t *tally) {
		t.refunded += units
		t.dropped += ch.Cost - units
	})
	return true
}

// counter returns the counter as the ledger's answer leaves it.
func (q *question) counter(r quota.Result) *counter {
	k := &counter{end: q.ends, plan: q.plan}
	k.holding.Grow(r.Free)
	return k
}

// look decides a charge that changes nothing.
func (q *question) look(now limiter.Instant, ch *limiter.Charge, r quota.Result) {
	if k := q.counter(r); max(1, ch.Cost) <= k.left() {
		k.allow(ch, now)
	} else {
		k.deny(ch, now)
	}
}

// undoExact has the ledger forget what c, which is denied, was charged. Under an id of
// the caller's it stays charged: the call is not decided then, or was never charged.
func (h *Holdings) undoExact(now limiter.Instant, c *limiter.Call, i int) {
	if named(c) {
		return
	}
	if back, ok := h.charged(now, c, i); ok {
		back.Op = quota.OpSettle
		h.takeBack(back, c.Charges()[i].Cost)
	}
}

// charged returns a command about what c was charged by its exact quota i, which is taken
// back. If that has no Was, its answer did not come, and it may be charged. ok is false if the
// policy has no such quota any more.
func (h *Holdings) charged(now limiter.Instant, c *limiter.Call, i int) (about quota.Command, ok bool) {
	ch := &c.Charges()[i]
	p, was := h.plans.Load().find(ch.Limit), ch.Was
	ch.Was = 0
	switch {
	case p == nil:
		h.stuck.Add(ch.Cost)
		return quota.Command{}, false
	case was == 0:
		was = wasOf(p.at(now).Start)
	default:
		h.count(ch.Key, func(t *tally) { t.refunded += ch.Cost })
		uncharge(ch, p)
	}
	return h.command(Held{Key: ch.Key, Was: was, Request: request(c, i)}, p), true
}

// uncharge has the decision of ch say what is left without it.
func uncharge(ch *limiter.Charge, p *plan) {
	ch.Decision.Remaining = min(ch.Decision.Remaining+ch.Cost, p.terms.Limit)
	if ch.Decision.Remaining == p.terms.Limit {
		ch.Decision.ResetAfter = 0
	}
}

// wasOf returns the Was of what was charged in the window that begins at start.
func wasOf(start int64) limiter.Instant { return -limiter.Instant(start + 1) }

// takeBack tells the ledger that what may be charged these units, whose call was denied, cost
// nothing.
func (h *Holdings) takeBack(c quota.Command, units uint64) {
	c.Cost, c.Deadline = 0, 0
	h.ask(c, 1, func(_ quota.Result, ok bool) {
		if !ok {
			h.stuck.Add(units)
		}
	})
}
