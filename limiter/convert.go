package limiter

import "math/bits"

// Convert returns c, a counter of the limit from, as a counter of the limit
// to, a later definition with the same LimitID. It keeps the units used: a
// bucket keeps them exactly, rounded up to what to's terms can express, but
// becomes at most empty, and so does a pace; a window keeps its count, also one above the new
// amount.
//
// The result never reaches further ahead of now than to itself could have put
// it. So Convert(c, l, l, now) is the way to take over a counter that another
// clock made: one in a saved table, for example.
//
// A concurrency limit's slots stay as they are: what is held is held, also above
// the new amount.
//
// Limits of different kinds have different identities; c is then returned
// unchanged.
func Convert(c Counter, from, to *Limit, now Instant) Counter {
	if from.Kind != to.Kind {
		return c
	}
	now = min(max(now, 0), InstantMax)
	switch to.Kind {
	case KindRate, KindPace:
		return convertRate(c, &from.rate, &to.rate, now)
	case KindFixed:
		if end := to.windowEnd(now); c.Due > end {
			c.Due = end
		}
	case KindSliding:
		if end := windowEnd(now, to.Period).Add(to.Period); c.Due > end {
			c.Due = end
		}
	case KindUnlimited:
		return Counter{}
	case KindConcurrency, KindQuota: // the counter only names what is held, or there is none
	}
	return c
}

func convertRate(c Counter, from, to *rateTerms, now Instant) Counter {
	tat := from.tat(&c, now)
	units, rest := from.used(tat, now)
	empty := to.empty(now)
	if units > to.burst {
		return Counter{Instant(empty.up), empty.short}
	}
	// used = units + rest/from.p; in q-ths of a nanosecond of to it is
	// units·p + ⌈rest·p/from.p⌉, at most (burst + 1)·p, so dividing by q gives at
	// most a unit's time above to.full.
	hi, lo := bits.Mul64(rest, to.p)
	part, left := bits.Div64(hi, lo, from.p)
	if left > 0 {
		part++
	}
	hi, lo = bits.Mul64(units, to.p)
	lo, carry := bits.Add64(lo, part, 0)
	used, _ := to.divide(hi+carry, lo)
	if used.after(to.full) {
		return Counter{Instant(empty.up), empty.short}
	}
	return Counter{now + Instant(used.up), used.short}
}
