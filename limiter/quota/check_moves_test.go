package quota

import (
	"slices"

	"github.com/headgate/headgate/limiter"
)

// checkNow is when everything happens: no promise depends on it.
const checkNow = noon

// step visits what becomes of w when m happens once more: happen changes a copy,
// and returns false if nothing came of it.
func (k *checker) step(from *world, m move, tenure uint64, happen func(w *world) bool) {
	if from.left[m] == 0 {
		return
	}
	w := from.fork()
	w.left[m]--
	if happen(w) {
		k.visit(w.because(m.String(), tenure, Command{}))
	}
}

// expand visits every world that can follow on w.
func (k *checker) expand(w *world) {
	for _, c := range w.bag {
		k.log(w, c)
	}
	for i := range w.answers {
		next := w.fork()
		late := w.answers[i]
		next.answers = slices.Delete(slices.Clone(w.answers), i, i+1)
		k.delivered(next, late.c, late.r)
		k.visit(next.because("answered late", 0, late.c))
	}
	for i := range w.actors {
		if !w.actors[i].alive {
			continue
		}
		for j := range k.s.windows {
			k.charges(w, i, j)
			k.holds(w, i, j)
			k.proposals(w, i, j)
		}
		k.lives(w, i)
	}
	k.outside(w)
}

// log applies c, and its answer is delivered, lost, or late.
func (k *checker) log(from *world, c Command) {
	w := from.fork()
	r, pool := k.applyTo(w, &c)
	if pool {
		k.idempotent(w, &w.pools[windowIndex(c.Window)], &c, r)
	}
	k.visit(w.because("applied", 0, c))
	answered := w.fork()
	k.delivered(answered, c, r)
	k.visit(answered.because("answered", 0, c))
	k.step(w, late, c.Holder.Tenure, func(w *world) bool {
		w.answers = append(slices.Clone(w.answers), answer{c, r})
		return true
	})
}

// charges are what callers ask of one holder in one window.
func (k *checker) charges(from *world, i, j int) {
	t := k.s.terms(from.actors[i].policy)
	for _, cost := range k.s.costs {
		k.step(from, charge, from.actors[i].tenure, func(w *world) bool {
			a := &w.actors[i]
			if a.holdings[j].Spend(checkNow, cost, t) != Admitted {
				return false
			}
			a.truth[j].spent += cost
			return true
		})
		k.step(from, ask, from.actors[i].tenure, func(w *world) bool {
			c, ok := w.actors[i].holdings[j].Need(checkNow, cost, cost+k.s.queued, t)
			if ok {
				truth := &w.actors[i].truth[j]
				truth.wanted = max(truth.wanted, cost+k.s.queued)
				w.propose(c, j, w.actors[i].tenure)
			}
			return ok
		})
	}
	k.step(from, ask, from.actors[i].tenure, func(w *world) bool { // ahead of need
		c, ok := w.actors[i].holdings[j].Need(checkNow, 0, 0, t)
		if ok {
			w.propose(c, j, w.actors[i].tenure)
		}
		return ok
	})
	k.step(from, refund, from.actors[i].tenure, func(w *world) bool {
		h, truth := &w.actors[i].holdings[j], &w.actors[i].truth[j]
		dropped := k.refund(h, 1)
		switch {
		case dropped > 0:
		case truth.owed > 0:
			truth.owed--
		case truth.spent == 0:
			k.fail("I1 window %d: a unit was given back that was not spent: %+v", j, *h)
		default:
			truth.spent--
			truth.freed++
		}
		return true
	})
	k.step(from, post, from.actors[i].tenure, func(w *world) bool {
		owed, lost := w.actors[i].holdings[j].Post(checkNow, 1, t)
		truth := &w.actors[i].truth[j]
		truth.owed += owed
		truth.spent += 1 - owed - lost
		return true
	})
}

// holds are set aside and ended.
func (k *checker) holds(from *world, i, j int) {
	t := k.s.terms(from.actors[i].policy)
	k.step(from, hold, from.actors[i].tenure, func(w *world) bool {
		a := &w.actors[i]
		if a.holdings[j].Hold(checkNow, 1, t) != Admitted {
			return false
		}
		a.truth[j].holds++
		return true
	})
	if from.actors[i].truth[j].holds == 0 {
		return
	}
	for cost := range uint64(3) { // less than was held, as much, more
		w := from.fork()
		h, truth := &w.actors[i].holdings[j], &w.actors[i].truth[j]
		owed := h.Owes()
		more, lost := k.commit(h, 1, cost, t)
		if h.is(closed) {
			cost = max(1, cost) // the close has charged the hold in full
		}
		truth.ended(cost-more-lost, owed+more, h.Owes())
		k.visit(w.because("settle", from.actors[i].tenure, Command{}))
	}
	w := from.fork()
	h, truth := &w.actors[i].holdings[j], &w.actors[i].truth[j]
	owed := h.Owes()
	h.Cancel(1)
	if h.is(closed) {
		truth.ended(1, owed, h.Owes())
	} else {
		truth.ended(0, owed, h.Owes())
	}
	k.visit(w.because("cancel", from.actors[i].tenure, Command{}))
}

// ended notes the end of a hold that cost so much, and served what was owed before
// and is not after.
func (t *truth) ended(cost, before, after uint64) {
	t.holds--
	t.freed += 1 - min(1, cost+before-after)
	t.spent += cost + before - after
	t.owed = after
}

// proposals are what a holder gives back, reports, and gives up on.
func (k *checker) proposals(from *world, i, j int) {
	t := k.s.terms(from.actors[i].policy)
	k.step(from, recall, from.actors[i].tenure, func(w *world) bool {
		c, ok := k.recall(&w.actors[i].holdings[j], t)
		if ok {
			w.propose(c, j, w.actors[i].tenure)
		}
		return ok
	})
	k.step(from, closeIt, from.actors[i].tenure, func(w *world) bool {
		w.propose(k.close(&w.actors[i].holdings[j], t), j, w.actors[i].tenure)
		return true
	})
	w := from.fork()
	if c, ok := w.actors[i].holdings[j].Owed(t); ok {
		w.propose(c, j, w.actors[i].tenure)
		k.visit(w.because("report debt", from.actors[i].tenure, Command{}))
	}
	for _, op := range []Op{OpEnsure, OpReturn, OpDebt} {
		k.step(from, lose, from.actors[i].tenure, func(w *world) bool {
			h := &w.actors[i].holdings[j]
			before := *h
			h.Lost(&Command{Op: op, Holder: Holder{Life: h.life}})
			return *h != before
		})
	}
}

// lives are what happens to a holder's memory.
func (k *checker) lives(from *world, i int) {
	last := i == len(from.actors)-1
	begin := func(w *world) {
		w.actors = append(w.actors, actor{alive: true, tenure: k.tenure(w.actors[i].tenure), policy: w.actors[i].policy})
	}
	k.step(from, takeover, from.actors[i].tenure, func(w *world) bool {
		if last {
			begin(w)
		}
		return last
	})
	k.step(from, crash, from.actors[i].tenure, func(w *world) bool {
		w.actors[i].alive = false
		if last {
			begin(w)
		}
		return true
	})
	k.step(from, forget, from.actors[i].tenure, func(w *world) bool {
		a, did := &w.actors[i], false
		for j := range a.holdings {
			if h := &a.holdings[j]; h.Forgettable() {
				a.truth[j] = truth{before: a.truth[j].admitted(), largest: a.truth[j].largest, wanted: a.truth[j].wanted, freed: a.truth[j].freed}
				*h, did = NewHolding(k.life(h.life)), true
			}
		}
		return did
	})
	k.step(from, handOver, from.actors[i].tenure, func(w *world) bool {
		for j := range w.actors[i].holdings {
			h, _, err := DecodeHolding(w.actors[i].holdings[j].AppendTo(nil, checkNow), checkNow)
			if err != nil {
				k.fail("a holding that can't be moved: %v", err)
			}
			h.recent = 0
			w.actors[i].holdings[j] = h
		}
		return true
	})
	k.step(from, amend, from.actors[i].tenure, func(w *world) bool {
		a := &w.actors[i]
		if a.policy == 1 {
			return false
		}
		a.policy = 1
		for j := range a.holdings {
			a.holdings[j].Amend()
		}
		return true
	})
}

// outside is what operators and time do.
func (k *checker) outside(from *world) {
	for j := range k.s.windows {
		k.step(from, operator, 0, func(w *world) bool {
			c := Command{Op: OpAdjust, Correction: 1, Revision: w.pools[j].Revision}
			if c.Revision%2 == 1 {
				c.Correction = -1
			}
			w.propose(c, j, 0)
			return true
		})
	}
	k.step(from, tick, 0, func(w *world) bool {
		w.time = 1000 * nextTime(w.time/1000)
		for j := range k.s.windows {
			if (&Group{time: w.time}).Purged(windows(j)) && !w.gone[j] {
				w.pools[j], w.gone[j] = Pool{}, true
			}
		}
		return true
	})
	for id := range uint64(2) {
		c := Command{Op: OpSpend, Version: 1, Limit: k.s.limit, Request: limiter.Key{Lo: id}, Cost: 1 + id}
		if id == 1 {
			c.Op, c.Until = OpHold, 1
		}
		k.step(from, begin, 0, func(w *world) bool {
			w.propose(c, 0, 0)
			return true
		})
		for cost := range uint64(4) { // less, as much, more
			k.step(from, settle, 0, func(w *world) bool {
				c := c
				c.Op, c.Until, c.Cost, c.MaxDebt = OpSettle, 0, cost, k.s.debtMax
				t := &w.told[id]
				if t.asked {
					return false
				}
				t.asked, t.cost, t.charged = true, cost, min(t.charged, cost)
				w.propose(c, 0, 0)
				return true
			})
		}
	}
	k.callers(from)
	k.step(from, restore, 0, func(w *world) bool {
		w.pools[0], w.gone[0] = Pool{}, true
		k.applyTo(w, &Command{Op: OpFreeze, Window: windows(0)})
		return true
	})
}

// callers are what several attempts of one exact request do.
func (k *checker) callers(from *world) {
	c := Command{Op: OpPropose, Version: 1, Limit: k.s.limit, Request: limiter.Key{Lo: undecided}, Cost: undecidedCost}
	k.step(from, attempt, 0, func(w *world) bool {
		w.propose(c, 0, 0)
		return true
	})
	v := &from.verdict
	say := func(m move, may bool, op Op, request, cost uint64, round int) {
		k.step(from, m, 0, func(w *world) bool {
			c := c
			c.Op, c.Request.Lo, c.Cost, c.Round = op, request, cost, uint64(round)
			w.propose(c, 0, 0)
			return may
		})
	}
	for round := range v.rounds {
		say(concluded, v.rounds[round], OpConclude, undecided, 0, round)
		say(concluded, v.joined[round], OpConclude, undecided, undecidedCost, round)
		say(joined, v.rounds[round], OpJoin, beside, besideCost, round)
		say(joined, v.letGo[round], OpConclude, beside, 0, round)
	}
}

// nextTime returns the next moment, in Unix seconds, at which something changes.
func nextTime(now int64) int64 {
	for _, at := range []int64{windows(1).Opens(), windows(0).Purges(), windows(1).Purges()} {
		if at > now {
			return at
		}
	}
	return now + 1
}
