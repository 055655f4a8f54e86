package table

import (
	"time"

	"github.com/headgate/headgate/limiter"
)

// fullRetryAfter is the RetryAfter of a charge that was denied for want of
// room: when there will be some is not known.
const fullRetryAfter = time.Second

// A keep says what a charge leaves behind.
type keep uint8

const (
	keepAll     keep = iota // what the limit makes of it
	keepAllowed             // nothing if it is denied, count_denied or not
)

// An act is what the table does with a charge.
type act struct {
	op       limiter.Op
	keep     keep
	patience time.Duration // the call's
}

// Decide decides every charge of c and returns true. Charges of quotas are not the
// table's: they are decided already, and left as they are. It never waits for
// anything but a shard's mutex, and holds one at a time: charges in a row that
// are of one partition share it. It does not call [Table.Prefetch]: whoever makes
// the charges did, as soon as each key was known.
//
// In mode AllOrNothing the charges are made in order. On the first denial by an
// enforced limit, or at the end if all AnyOf limits deny, what was charged is
// given back, and the other charges are only looked at, so that every charge
// has a decision. In this mode a denied charge leaves nothing behind, whatever
// count_denied says. Between a charge and its undoing, a call of someone else
// may be denied units that are about to be free again, unless all the charges
// are of one partition. Give-backs and peeks are done as they come and are
// not undone.
func (t *Table) Decide(now limiter.Instant, c *limiter.Call) bool {
	if c.Mode == limiter.AllOrNothing {
		t.decideAtomic(now, c)
		return true
	}
	var held *shard
	charges := c.Charges()
	for i := range charges {
		ch := &charges[i]
		if elsewhere(ch) {
			continue
		}
		held = t.hold(held, ch.Partition)
		if ch.Limit.Kind == limiter.KindConcurrency {
			t.chargeSlots(held, now, c, ch, ch.Op)
			continue
		}
		t.charge(held, now, ch, act{ch.Op, keepAll, c.Patience})
	}
	if held != nil {
		held.mu.Unlock()
	}
	return true
}

// elsewhere reports whether ch has no counter in the table: a quota's is in the
// ledger, and it was decided before; an unlimited one has none, and is decided now.
func elsewhere(ch *limiter.Charge) bool {
	if ch.Limit.Kind == limiter.KindUnlimited {
		var none limiter.Counter
		ch.Limit.ApplyTo(&ch.Decision, &none, 0, ch.Op, ch.Cost)
		return true
	}
	return ch.Limit.Kind == limiter.KindQuota
}

// hold returns the shard of p, locked; held, if another, is unlocked first.
func (t *Table) hold(held *shard, p limiter.Partition) *shard {
	s := t.shard(p)
	if s != held {
		if held != nil {
			held.mu.Unlock()
		}
		s.mu.Lock()
	}
	return s
}

// decideAtomic is Decide for calls in mode AllOrNothing.
func (t *Table) decideAtomic(now limiter.Instant, c *limiter.Call) {
	var held *shard
	charges := c.Charges()
	denied := len(charges) // the first charge that is only looked at
	for i := range charges {
		ch := &charges[i]
		if elsewhere(ch) {
			if ch.Ends() && i < denied {
				denied = i + 1
			}
			continue
		}
		held = t.hold(held, ch.Partition)
		op := ch.Op
		if i >= denied && op == limiter.OpCharge {
			op = limiter.OpPeek // as if it were made; a give-back has nothing to do with the denial
		}
		if ch.Limit.Kind == limiter.KindConcurrency {
			t.chargeSlots(held, now, c, ch, op)
		} else {
			t.charge(held, now, ch, act{op, keepAllowed, c.Patience})
		}
		if i >= denied {
			continue
		}
		if ch.Ends() {
			denied = i + 1
		}
	}
	if v, _ := c.Verdict(); v == limiter.Denied {
		for i := range charges[:denied] {
			if ch := &charges[i]; charged(ch) {
				held = t.hold(held, ch.Partition)
				if ch.Limit.Kind == limiter.KindConcurrency {
					t.undo(held, now, c, ch)
				} else {
					t.charge(held, now, ch, act{op: limiter.OpGiveBack})
				}
			}
		}
	}
	if held != nil {
		held.mu.Unlock()
	}
}

// charged reports whether ch, which was decided, took units of a counter.
func charged(ch *limiter.Charge) bool {
	return ch.Op == limiter.OpCharge && ch.Limit.Kind != limiter.KindUnlimited && ch.Limit.Kind != limiter.KindQuota &&
		ch.Decision.Verdict == limiter.Allowed && ch.Decision.Degraded == limiter.NotDegraded
}

// charge does do with ch to its counter in s, which is locked, and sets
// ch.Decision.
func (t *Table) charge(s *shard, now limiter.Instant, ch *limiter.Charge, do act) {
	l := ch.Limit
	a, i, ok := s.find(ch.Key)
	if s.converting || l.Shared {
		if ok {
			l = t.adopt(s, a, i, l, now)
		} else {
			_, l = t.reg.in(l)
		}
	}
	if ok {
		kept := &a.slots[i].c
		before := *kept
		apply(l, ch, kept, now, do)
		if do.keep == keepAllowed && ch.Decision.Verdict == limiter.Denied {
			*kept = before
		}
		return
	}
	var c limiter.Counter
	apply(l, ch, &c, now, do)
	if c.Due > now && do.op == limiter.OpCharge && (do.keep == keepAll || ch.Decision.Verdict == limiter.Allowed) {
		t.insert(s, now, ch, c)
	}
}

// apply does do with ch to c under l.
func apply(l *limiter.Limit, ch *limiter.Charge, c *limiter.Counter, now limiter.Instant, do act) {
	if l.Kind == limiter.KindPace {
		patience := do.patience
		if l.Shadow {
			patience = limiter.Never // nobody waits for it
		}
		l.PaceTo(&ch.Decision, c, now, limiter.Ask{Op: do.op, Cost: ch.Cost, Patience: patience})
		return
	}
	l.ApplyTo(&ch.Decision, c, now, do.op, ch.Cost)
}

// insert stores c as the counter of ch's key, which s does not have, or
// changes ch.Decision to what is decided if there is no room.
func (t *Table) insert(s *shard, now limiter.Instant, ch *limiter.Charge, c limiter.Counter) {
	ref := t.reg.ref(ch.Limit)
	if s.converting {
		ref, _ = t.reg.in(ch.Limit)
	}
	if why := t.store(s, now, slot{ch.Key.Lo, ch.Key.Hi, c}, ref); why != limiter.NotDegraded {
		t.full(why, &ch.Decision)
	}
}

// store adds an entry, which s does not have, or says why there is no room.
func (t *Table) store(s *shard, now limiter.Instant, sl slot, ref uint32) limiter.Degraded {
	if len(s.slots) == 0 {
		t.grow(s, now)
	}
	if len(s.slots) == 0 {
		return limiter.TableFull
	}
	tag, why := t.admit(s, ref)
	if why != limiter.NotDegraded && t.sweep(s, now, sweepStep) > 0 {
		tag, why = t.admit(s, ref)
	}
	if why != limiter.NotDegraded {
		return why
	}
	i, due := s.place(sl.lo, now-staleMax)
	if due {
		t.forgetSlots(s, &s.slots[i], s.tags[i])
		gone := tally{t: t}
		gone.add(s, s.tags[i])
		gone.flush()
	}
	s.slots[i], s.tags[i] = sl, tag
	s.n++
	t.tend(s, now)
	return limiter.NotDegraded
}

// admit counts one more entry under ref and returns its tag, or says why there
// is no room for it.
func (t *Table) admit(s *shard, ref uint32) (tag uint32, why limiter.Degraded) {
	if s.n >= loadHard(len(s.slots)) {
		return 0, limiter.TableFull
	}
	return t.count(ref)
}

// count is admit for what takes no place in an array.
func (t *Table) count(ref uint32) (tag uint32, why limiter.Degraded) {
	if t.entries.Add(1) > t.cfg.EntriesMax {
		t.entries.Add(-1)
		return 0, limiter.TableFull
	}
	tag, def := t.reg.enter(ref)
	if def.domain != nil && t.reg.several.Load() && def.domain.live.Load() > t.share {
		def.add(-1)
		t.entries.Add(-1)
		return 0, limiter.ShareFull
	}
	return tag, limiter.NotDegraded
}
