package limiter

import (
	"math/bits"
	"time"
)

// A token bucket is kept as its theoretical arrival time (TAT): the instant at
// which it will be full again. Charging moves the TAT ahead by the time the
// units take to refill, and a bucket whose TAT is a full burst ahead of now is
// empty. This is the generic cell rate algorithm (ITU-T I.371) in its virtual
// scheduling form, generalised to costs other than one.
//
// Whole nanoseconds are not enough: at 3/s a unit takes 333,333,333⅓ ns. So
// period and amount are reduced to lowest terms p/q, the exact nanoseconds of
// one unit, and a TAT carries its remainder in 1/q ns. Nothing is ever rounded
// except in what a Decision reports.

// rateTerms are what Init works out for KindRate. p and q are below 2⁵⁵ and
// q ≤ p, since a unit takes at least 1 ns.
type rateTerms struct {
	p, q  uint64 // one unit takes p/q ns, in lowest terms
	burst uint64 // capacity in units
	unit  ticks  // p/q
	full  ticks  // burst·p/q ≤ HorizonMax: how far ahead the TAT of an empty bucket is
}

// newRateTerms works out the terms of s, which passed its checks.
func newRateTerms(s Spec) rateTerms {
	p, q := uint64(s.Period), s.Amount
	g := gcd(p, q)
	t := rateTerms{p: p / g, q: q / g, burst: s.Burst}
	if t.burst == 0 {
		t.burst = s.Amount
	}
	t.unit, _ = t.divide(0, t.p)
	t.full, _ = t.span(t.burst)
	return t
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// ticks are the exact time up − short/q in nanoseconds, short in [0, q): a
// time, rounded up, and what the rounding added. It is the form in which a
// Counter keeps its TAT, as Due and Word.
type ticks struct{ up, short uint64 }

// after reports whether a > b.
func (a ticks) after(b ticks) bool {
	return a.up > b.up || (a.up == b.up && a.short < b.short)
}

// add returns a + b.
func (t *rateTerms) add(a, b ticks) ticks {
	sum := ticks{a.up + b.up, a.short + b.short}
	if sum.short >= t.q {
		sum.up--
		sum.short -= t.q
	}
	return sum
}

// sub returns a − b, which must not be negative.
func (t *rateTerms) sub(a, b ticks) ticks {
	if a.short >= b.short {
		return ticks{a.up - b.up, a.short - b.short}
	}
	return ticks{a.up - b.up + 1, a.short + t.q - b.short}
}

// span returns how long units take to refill, and false if that is 2⁶⁴ ns or
// more.
func (t *rateTerms) span(units uint64) (s ticks, ok bool) {
	if units == 1 {
		return t.unit, true
	}
	return t.divide(bits.Mul64(units, t.p))
}

// divide returns (hi·2⁶⁴ + lo)/q, and false if that is 2⁶⁴ or more.
func (t *rateTerms) divide(hi, lo uint64) (s ticks, ok bool) {
	if hi >= t.q {
		return ticks{}, false
	}
	up, rest := bits.Div64(hi, lo, t.q)
	if rest == 0 {
		return ticks{up, 0}, true
	}
	return ticks{up + 1, t.q - rest}, up+1 != 0
}

// tat returns c's theoretical arrival time, or now if that is past. A Word
// that another definition wrote can be too large: it counts as 0, less than a
// nanosecond stricter.
func (t *rateTerms) tat(c *Counter, now Instant) ticks {
	if c.Due <= now {
		return ticks{uint64(now), 0}
	}
	if c.Word >= t.q {
		return ticks{uint64(c.Due), 0}
	}
	return ticks{uint64(c.Due), c.Word}
}

// empty returns the TAT of an empty bucket.
func (t *rateTerms) empty(now Instant) ticks {
	return ticks{uint64(now) + t.full.up, t.full.short}
}

// used returns how many units lie between now and tat, as a whole number of
// units and the rest in p-ths of a unit. A unit takes at least 1 ns, so there
// are fewer than 2⁶³.
func (t *rateTerms) used(tat ticks, now Instant) (units, rest uint64) {
	ns := tat.up - uint64(now)
	if t.q == 1 {
		return ns / t.p, ns % t.p
	}
	hi, lo := bits.Mul64(ns, t.q)
	lo, borrow := bits.Sub64(lo, tat.short, 0)
	return bits.Div64(hi-borrow, lo, t.p)
}

// remaining returns the whole units that could still pass.
func (t *rateTerms) remaining(tat ticks, now Instant) uint64 {
	if !t.empty(now).after(tat) {
		return 0
	}
	units, rest := t.used(tat, now)
	if rest > 0 {
		units++
	}
	return t.burst - units
}

// applyRate charges cost to the bucket, or only looks if !charge.
func (l *Limit) applyRate(c *Counter, now Instant, cost uint64, charge bool) outcome {
	t := &l.rate
	tat := t.tat(c, now)
	empty := t.empty(now)
	o := outcome{verdict: Allowed}

	var next ticks
	fits := cost <= t.burst // else its span could be too long to add
	if fits {
		s, _ := t.span(cost)
		next = t.add(tat, s)
		fits = !next.after(empty)
	}
	if !fits {
		o.verdict = Denied
		next = empty
	}
	if charge && (fits || (l.CountDenied && empty.after(tat))) {
		tat = next
		c.Due, c.Word = Instant(tat.up), tat.short
	}
	if !fits {
		o.retryAfter = t.retryAfter(tat, empty, cost)
	}
	o.remaining = t.remaining(tat, now)
	o.resetAfter = Instant(tat.up).Sub(now)
	return o
}

// retryAfter returns how long it takes until cost, which does not fit now,
// does. A cost within the burst fits no later than at tat, so all that moves
// meanwhile is empty, one nanosecond a nanosecond.
func (t *rateTerms) retryAfter(tat, empty ticks, cost uint64) time.Duration {
	if cost > t.burst {
		return Never
	}
	s, _ := t.span(cost)
	return time.Duration(t.sub(t.add(tat, s), empty).up)
}

// giveBackRate undoes units, at most until the bucket is full.
func (l *Limit) giveBackRate(c *Counter, now Instant, units uint64) outcome {
	t := &l.rate
	tat, full := t.tat(c, now), ticks{uint64(now), 0}
	s, ok := t.span(units)
	if ok && s.up <= tat.up-full.up && tat.after(t.add(full, s)) {
		tat = t.sub(tat, s)
	} else {
		tat = full
	}
	c.Due, c.Word = Instant(tat.up), tat.short
	return outcome{
		verdict:    Allowed,
		remaining:  t.remaining(tat, now),
		resetAfter: Instant(tat.up).Sub(now),
	}
}
