package limiter

import (
	"math"
	"math/bits"
	"time"
)

// A fixed window counts what was charged in [start, start+period), start being
// a multiple of the period since the Unix epoch or, with FromFirst, the moment of
// its first charge. Its Counter keeps the end in Due and the count in Word.

// stepMax is how far behind the latest one a clock reading may be without ending
// a window early that began with its first charge.
const stepMax = time.Second

// windowEnd returns the end of the window that begins, or is open already, at now.
func (l *Limit) windowEnd(now Instant) Instant {
	if l.FromFirst {
		return now.Add(l.Period)
	}
	return windowEnd(now, l.Period)
}

// windowEnd returns the end of the epoch-aligned window that now is in.
func windowEnd(now Instant, period time.Duration) Instant {
	return now - now%Instant(period) + Instant(period)
}

// fixedWindow returns the end and the count of the window that a charge at now
// belongs to: the stored one unless it is over. A now before the stored window
// counts in the stored one, so that a clock that steps back opens no window a
// second time. With FromFirst, a window that is open for longer than the limit
// says, by more than stepMax, was opened when the limit said more: it ends as if it
// began now.
func (l *Limit) fixedWindow(c *Counter, now Instant) (end Instant, count uint64) {
	if now >= c.Due {
		return l.windowEnd(now), 0
	}
	if l.FromFirst && c.Due.Sub(now)-l.Period > stepMax {
		return now.Add(l.Period), c.Word
	}
	return c.Due, c.Word
}

// applyFixed charges cost to the window, or only looks if !charge.
func (l *Limit) applyFixed(c *Counter, now Instant, cost uint64, charge bool) outcome {
	end, count := l.fixedWindow(c, now)
	o := outcome{verdict: Allowed}
	fits := cost <= l.Amount && count <= l.Amount-cost
	if charge && (fits || l.CountDenied) {
		most := uint64(math.MaxUint64)
		if l.FromFirst {
			most = max(count, l.Amount)
		}
		if count = addSaturating(count, cost, most); count > 0 {
			c.Due, c.Word = end, count
		}
	}
	if !fits {
		o.verdict = Denied
		o.retryAfter = Never
		if cost <= l.Amount {
			o.retryAfter = end.Sub(now)
		}
	}
	o.remaining = subSaturating(l.Amount, count)
	if count > 0 {
		o.resetAfter = end.Sub(now)
	}
	return o
}

// giveBackFixed undoes units that were charged in the present window; those of
// an earlier one are forgotten anyway.
func (l *Limit) giveBackFixed(c *Counter, now Instant, units uint64) outcome {
	end, count := l.fixedWindow(c, now)
	count = subSaturating(count, units)
	o := outcome{verdict: Allowed, remaining: subSaturating(l.Amount, count)}
	if count == 0 {
		*c = Counter{}
		return o
	}
	c.Due, c.Word = end, count
	o.resetAfter = end.Sub(now)
	return o
}

// addSaturating returns a + b, or limit if that is less.
func addSaturating(a, b, limit uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return limit
	}
	return min(sum, limit)
}

// subSaturating returns a − b, or 0 if that would be negative.
func subSaturating(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}
