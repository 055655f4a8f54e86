package limiter

import (
	"math"
	"math/bits"
	"time"
)

// A sliding window estimates what was charged in the last period from two
// epoch-aligned windows: all of the present one and, as if it had been spread
// evenly, the part of the previous one that the last period still covers:
//
//	used = previous·(period − elapsed)/period + present
//
// A Counter keeps the end of the window after the present one in Due (then
// nothing of it counts any more) and previous<<32 | present in Word.
//
// The estimate is wrong where the previous window was not even. With amount A
// and period P, any span of length t ≤ P that ends e into its window admits at
// most A·(1 + min(t, e)/P) units: what a token bucket of burst A would, and up
// to 2A − 1 for t = P, yet never more than A in an aligned window. The other
// way round, units charged early in the previous window count for up to one
// period longer than they should: a call can be denied though nothing passed
// in the last period. docs/reference/algorithms.md derives both;
// TestSlidingBounds checks them.

// slidingCountMax is the largest count of one window: two share a word.
const slidingCountMax = math.MaxUint32

// A slide is a sliding window's state, brought forward to a moment.
type slide struct {
	start    Instant // of the present window
	previous uint64  // units charged in the window before
	present  uint64  // units charged in the present window
}

// slideAt returns c's state at now. As with a fixed window, a now before the
// stored window counts in the stored one.
func (l *Limit) slideAt(c *Counter, now Instant) slide {
	period := Instant(l.Period)
	previous, present := c.Word>>32, c.Word&slidingCountMax
	switch {
	case now >= c.Due:
		return slide{start: now - now%period}
	case now >= c.Due-period:
		return slide{start: c.Due - period, previous: present}
	default:
		return slide{start: c.Due - 2*period, previous: previous, present: present}
	}
}

// counter returns s as a Counter. An empty present window is stored as the
// previous one's, so that Due is never later than it must be.
func (s slide) counter(period time.Duration) Counter {
	switch {
	case s.present > 0:
		return Counter{Due: s.start.Add(2 * period), Word: s.previous<<32 | s.present}
	case s.previous > 0:
		return Counter{Due: s.start.Add(period), Word: s.previous}
	default:
		return Counter{}
	}
}

// used returns the estimate at now, rounded up to whole units. A cost is a
// whole number too, so rounding changes no verdict.
func (s slide) used(now Instant, period time.Duration) uint64 {
	if s.previous == 0 {
		return s.present
	}
	left := uint64(period)
	if now > s.start {
		left -= uint64(now - s.start)
	}
	hi, lo := bits.Mul64(s.previous, left) // < 2³²·period, so the quotient fits
	weighted, rest := bits.Div64(hi, lo, uint64(period))
	if rest > 0 {
		weighted++
	}
	return weighted + s.present
}

// fitsAt returns the first moment after now at which cost fits if nobody acts.
// It must not fit now, and cost ≤ amount.
func (s slide) fitsAt(amount, cost uint64, period time.Duration) Instant {
	// The previous window's share must shrink to room. If the present window
	// alone is too much, then it must first become the previous one.
	room, fading, start := amount-cost, s.previous, s.start
	if s.present > room {
		fading, start = s.present, start.Add(period)
	} else {
		room -= s.present
	}
	// fading·(period − e) ≤ room·period. It does not fit at the start, so
	// room < fading and the quotient is below period.
	hi, lo := bits.Mul64(room, uint64(period))
	left, _ := bits.Div64(hi, lo, fading)
	return start.Add(period - time.Duration(left))
}

// applySliding charges cost to the window, or only looks if !charge.
func (l *Limit) applySliding(c *Counter, now Instant, cost uint64, charge bool) outcome {
	s := l.slideAt(c, now)
	used := s.used(now, l.Period)
	fits := cost <= l.Amount && used <= l.Amount-cost
	if charge && (fits || l.CountDenied) {
		counted := addSaturating(s.present, cost, slidingCountMax)
		used += counted - s.present
		s.present = counted
		*c = s.counter(l.Period)
	}
	o := l.slidingOutcome(s, used, now)
	if !fits {
		o.verdict = Denied
		o.retryAfter = Never
		if cost <= l.Amount {
			o.retryAfter = s.fitsAt(l.Amount, cost, l.Period).Sub(now)
		}
	}
	return o
}

// giveBackSliding undoes units of the present window, then of the previous one.
func (l *Limit) giveBackSliding(c *Counter, now Instant, units uint64) outcome {
	s := l.slideAt(c, now)
	fromPresent := min(units, s.present)
	s.present -= fromPresent
	s.previous = subSaturating(s.previous, units-fromPresent)
	*c = s.counter(l.Period)
	return l.slidingOutcome(s, s.used(now, l.Period), now)
}

// slidingOutcome returns an allowed outcome for the state s.
func (l *Limit) slidingOutcome(s slide, used uint64, now Instant) outcome {
	o := outcome{verdict: Allowed, remaining: subSaturating(l.Amount, used)}
	if c := s.counter(l.Period); c.Due > now {
		o.resetAfter = c.Due.Sub(now)
	}
	return o
}
