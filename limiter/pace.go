package limiter

import "time"

// A pace is the token bucket of rate.go read the other way: instead of refusing
// what is early, it says how long to wait. Units leave one by one, at the moments
// of a schedule that is never ahead of the rate; the TAT is the first moment that
// nobody has yet. A charge takes the next moments, one for each of its units, and
// leaves at the last of them:
//
//	wait = max(TAT, now) + (cost − 1)·p/q − now
//
// So a pace is a bucket that holds max_wait + one unit's time: what fits waits at
// most max_wait. A caller that can wait less asks a smaller bucket. The arithmetic
// is exact; only the wait is reported in whole nanoseconds, rounded up.

// An Ask is what a charge asks of a pace.
type Ask struct {
	Op   Op
	Cost uint64
	// Patience is how long the caller can wait; below 0 is 0. What is above the
	// limit's MaxWait means that.
	Patience time.Duration
}

// A pacing is where a charge would stand.
type pacing struct {
	tat, next ticks // the first moment that is free now, and after the charge
	end       ticks // how far next may be ahead, for this caller
	wait      time.Duration
	fits      bool
}

// PaceTo is [Limit.ApplyTo] for a KindPace whose caller can wait a.Patience. An
// allowed charge has its moment and is to start after d.Wait. A denied one has
// taken nothing, whatever CountDenied says: RetryAfter is when the same cost
// would fit into the same patience. A peek says what the wait would be.
//
// The waits that a limit hands out keep their order as long as nothing is given
// back: who gives back frees the last moments, not its own, so that a caller who
// comes later may then leave together with one who is waiting.
func (l *Limit) PaceTo(d *Decision, c *Counter, now Instant, a Ask) {
	now = min(max(now, 0), InstantMax)
	*d = Decision{Verdict: Allowed}
	t := &l.rate
	var tat ticks
	if a.Op == OpGiveBack {
		l.giveBackRate(c, now, a.Cost)
		tat = t.tat(c, now)
	} else {
		tat = l.paceCost(d, c, now, a)
	}
	d.Remaining = t.room(tat, t.empty(now))
	d.ResetAfter = Instant(tat.up).Sub(now)
}

// paceCost decides a charge or a peek and returns the TAT that there is then.
func (l *Limit) paceCost(d *Decision, c *Counter, now Instant, a Ask) ticks {
	t := &l.rate
	cost := a.Cost
	if cost == 0 && !l.PeekUsed {
		cost = 1
	}
	p := l.pacing(c, now, cost, a.Patience)
	if !p.fits {
		d.Verdict, d.RetryAfter = Denied, p.wait
		return p.tat
	}
	d.Wait = p.wait
	if a.Op != OpCharge || a.Cost == 0 {
		return p.tat
	}
	c.Due, c.Word = Instant(p.next.up), p.next.short
	return t.tat(c, now)
}

// pacing works out where cost would stand; a cost of 0 asks whether what is
// queued is within the limit. Its wait is the time until the charge leaves if it
// fits, and until it would fit if not.
func (l *Limit) pacing(c *Counter, now Instant, cost uint64, patience time.Duration) pacing {
	t := &l.rate
	p := pacing{tat: t.tat(c, now), end: t.empty(now)}
	if patience < l.MaxWait {
		p.end = t.add(ticks{uint64(now.Add(max(patience, 0))), 0}, t.unit)
	}
	p.wait = Never
	if cost > t.burst {
		return p // its span could be too long to add
	}
	s, _ := t.span(cost)
	if t.add(ticks{uint64(now), 0}, s).after(p.end) {
		return p // even a fresh counter would have it wait too long
	}
	p.next = t.add(p.tat, s)
	p.fits = !p.next.after(p.end)
	switch leave := t.add(ticks{uint64(now), 0}, t.unit); {
	case !p.fits:
		p.wait = time.Duration(t.sub(p.next, p.end).up)
	case cost > 0 && p.next.after(leave):
		p.wait = time.Duration(t.sub(p.next, leave).up)
	default:
		p.wait = 0
	}
	return p
}

// room returns how many whole units fit between tat and end.
func (t *rateTerms) room(tat, end ticks) uint64 {
	if !end.after(tat) {
		return 0
	}
	units, _ := t.used(t.sub(end, tat), 0)
	return units
}

// newPaceTerms works out the terms of s, a KindPace that passed its checks. Full
// is max_wait and one unit's time, so burst is what a fresh counter queues.
func newPaceTerms(s Spec) rateTerms {
	s.Burst = 1
	t := newRateTerms(s)
	t.full = t.add(t.unit, ticks{uint64(s.MaxWait), 0})
	t.burst, _ = t.used(t.full, 0)
	return t
}
