package holdings

import (
	"encoding/binary"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// A call with an id in mode AllOrNothing, of several limits, is decided by all of them,
// and may be asked again at any time: after it was denied, when nobody heard the answer,
// while it is being decided. So what becomes of it is written down once, at its arbiter,
// the first of its exact quotas that can deny it:
//
//  1. The arbiter is charged, under the id. If the ledger says that it is sure, the call has
//     passed before, and everything else is only looked at.
//  2. The other limits are charged, exact quotas under names that follow from the id, in the
//     round that the arbiter is in.
//  3. The arbiter is concluded: kept if all let the call pass, else let go. The first
//     conclusion counts, whoever comes to it: it is the answer of all who ask meanwhile.
//  4. Where it was let go, what the others charged is taken back.
//
// Until 3 the id stands for nothing that anybody was told, so after a crash the units stay
// charged until it is asked again. What was let go is charged again in a later round, and
// that takes the place of what a crash left of an earlier one, at each counter; whatever
// comes late from an earlier one is refused.
//
// The round, whether it is sure, and the arbiter's window are in the call's Ticket.

// arbiter returns the charge that says what becomes of c, or -1 if c is no such call. It
// depends on what the call asks alone.
func arbiter(c *limiter.Call) int {
	if c.Request == (limiter.Key{}) || c.Mode != limiter.AllOrNothing || len(c.Charges()) == 1 || c.Until != 0 {
		return -1
	}
	list := c.Charges()
	for i := range list {
		if l := list[i].Limit; !l.Exact() || !l.DeniesAlone() {
			continue
		}
		if list[i].Op == limiter.OpGiveBack || list[i].Op == limiter.OpCharge && list[i].Cost > 0 {
			return i
		}
	}
	return -1
}

// sure reports whether c is a call that has passed before.
func sure(c *limiter.Call) bool { return c.Ticket.Lo&1 == 1 && arbiter(c) >= 0 }

// learn notes what the ledger says of the arbiter's charge.
func learn(c *limiter.Call, r quota.Result) {
	c.Ticket.Lo = r.Round << 1
	if r.Sure {
		c.Ticket.Lo |= 1
	}
}

// round is the one that c is in, as its arbiter told.
func round(c *limiter.Call) uint64 { return c.Ticket.Lo >> 1 }

// nameOf returns the name of charge i of a call whose arbiter is a. Those of the others change
// when the arbiter has forgotten the call, and it is another: what they remember is not its.
func nameOf(c *limiter.Call, a, i int) limiter.Key {
	b := make([]byte, 0, 64)
	for _, v := range [...]uint64{c.Request.Hi, c.Request.Lo, uint64(i)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	if i != a {
		key := c.Charges()[a].Key
		for _, v := range [...]uint64{key.Hi, key.Lo, c.Ticket.Hi, quota.LifeOf(round(c))} {
			b = binary.BigEndian.AppendUint64(b, v)
		}
	}
	return quota.Named(limiter.NewKeyHasher([16]byte{}).Key(b)) // the id is a keyed hash already
}

// rest has the limits of other kinds decide c; of a call that has passed before they are
// only looked at.
func (h *Holdings) rest(now limiter.Instant, c *limiter.Call) {
	if !sure(c) {
		h.cfg.Rest(now, c)
		return
	}
	list := c.Charges()
	charged := [limiter.ChargesMax]bool{}
	for i := range list {
		if charged[i] = list[i].Op == limiter.OpCharge; charged[i] {
			list[i].Op = limiter.OpPeek
		}
	}
	h.cfg.Rest(now, c)
	for i := range list {
		if charged[i] {
			list[i].Op = limiter.OpCharge
		}
	}
}

// conclude says what becomes of c, which is decided but for that, and whose arbiter is a. It
// returns false if c is parked until the ledger has answered.
func (h *Holdings) conclude(now limiter.Instant, c *limiter.Call, a int) (done bool) {
	ch := &c.Charges()[a]
	v, _ := c.Verdict()
	switch {
	case sure(c):
		passes(c)
		return true
	case ch.Was >= 0: // it denied, or did not answer: nothing else was charged
		if ch.Decision.Degraded != limiter.NotDegraded {
			inDoubt(c, a)
		} else if round(c) > 0 { // which was let go
			h.leave(now, c, a)
		}
		return true
	case v == limiter.Denied:
		h.undo(now, c)
	}
	p, wish := h.plans.Load().find(ch.Limit), uint64(0)
	if v == limiter.Allowed {
		wish = ch.Cost
	}
	h.parked.Add(1)
	if p != nil && h.submitConclusion(c, a, p, wish) == nil {
		return false // c may be decided by now, and another call
	}
	h.parked.Add(-1)
	if wish > 0 {
		h.giveBackOthers(now, c)
	}
	h.fail(c, a)
	return true
}

// submitConclusion has the arbiter's charge kept if cost is not 0, and else let go.
func (h *Holdings) submitConclusion(c *limiter.Call, a int, p *plan, cost uint64) error {
	command := h.command(Held{Key: c.Charges()[a].Key, Was: c.Charges()[a].Was, Request: request(c, a)}, p)
	command.Op, command.Cost, command.Round = quota.OpConclude, cost, round(c)
	e := &ending{h: h, call: c, arbiter: a, plan: p}
	return h.cfg.Submit(command, e.answered)
}

// passes has c pass, which has passed before or with another who asked: what denies it now
// was charged then.
func passes(c *limiter.Call) {
	list := c.Charges()
	for i := range list {
		if d := &list[i].Decision; d.Verdict == limiter.Denied && !list[i].Limit.Shadow {
			d.Verdict, d.RetryAfter = limiter.Allowed, 0
		}
	}
}

// inDoubt has c be denied by its arbiter alone, since it is not known what became of it:
// whoever asks again with the id hears it.
func inDoubt(c *limiter.Call, a int) {
	ch := &c.Charges()[a]
	why := ch.Decision
	passes(c)
	if ch.Decision = why; why.Degraded == limiter.NotDegraded {
		unavailable(ch, limiter.Unavailable)
	}
}

// fail is inDoubt of a call whose conclusion is not known.
func (h *Holdings) fail(c *limiter.Call, a int) {
	h.count(c.Charges()[a].Key, func(t *tally) { t.failed++ })
	inDoubt(c, a)
}

// giveBackOthers gives back what c was charged by its limits that are not exact. A slot of a
// concurrency limit ends by itself.
func (h *Holdings) giveBackOthers(now limiter.Instant, c *limiter.Call) {
	h.undo(now, c)
	back := limiter.Call{}
	list := c.Charges()
	for i := range list {
		ch := list[i]
		kept := ch.Limit.Kind == limiter.KindQuota || ch.Limit.Kind == limiter.KindConcurrency
		if !kept && ch.Op == limiter.OpCharge && ch.Decision.Verdict == limiter.Allowed && ch.Decision.Degraded == limiter.NotDegraded {
			ch.Op = limiter.OpGiveBack
			back.Add(ch)
		}
	}
	h.cfg.Rest(now, &back)
}

// An ending is a call whose conclusion is under way.
type ending struct {
	h       *Holdings
	call    *limiter.Call
	arbiter int
	plan    *plan
	tries   int
}

// answered is told what the ledger made of the conclusion, and finishes the call.
func (e *ending) answered(c *quota.Command, r quota.Result, err error) {
	h, call := e.h, e.call
	if e.tries++; err != nil && e.tries < settleTries && h.cfg.Submit(*c, e.answered) == nil {
		return
	}
	ch := &call.Charges()[e.arbiter]
	switch {
	case err != nil || r.Code != quota.OK && r.Code != quota.Differs:
		h.fail(call, e.arbiter)
	case r.Sure && r.Round == c.Round:
		passes(call)
	default:
		e.letGo(c)
	}
	h.count(ch.Key, func(t *tally) { t.waited++ })
	h.parked.Add(-1)
	call.Finish()
}

// letGo takes back what the call was charged.
func (e *ending) letGo(c *quota.Command) {
	h, call, now := e.h, e.call, e.h.cfg.Now()
	list := call.Charges()
	ch := &list[e.arbiter]
	h.count(ch.Key, func(t *tally) { t.refunded += ch.Cost })
	if c.Cost > 0 { // all let it pass, but another who asked was denied meanwhile
		h.giveBackOthers(now, call)
		h.fail(call, e.arbiter)
	} else {
		uncharge(ch, e.plan)
	}
	h.leave(now, call, e.arbiter)
}

// leave has the ledger take back what the other exact quotas charged c, in its round or in an
// earlier one: all of them were let go.
func (h *Holdings) leave(now limiter.Instant, c *limiter.Call, a int) {
	list := c.Charges()
	for i := range list {
		exact := list[i].Was < 0 || list[i].Limit.Exact()
		if i == a || !exact || list[i].Op != limiter.OpCharge || list[i].Cost == 0 {
			continue
		}
		if back, ok := h.charged(now, c, i); ok {
			back.Op, back.Round = quota.OpConclude, round(c)
			h.takeBack(back, list[i].Cost)
		}
	}
}
