package limiter

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSlidingWorstCases shows that the documented errors are reached: they
// can't be stated any smaller.
func TestSlidingWorstCases(t *testing.T) {
	const amount = 1000
	l := mustLimit(t, Spec{Kind: KindSliding, Amount: amount, Period: time.Minute})

	t.Run("2A−1 units pass within one period after a burst at a window's end", func(t *testing.T) {
		var c Counter
		first := noon.Add(time.Minute - 1)
		if d := l.Apply(&c, first, OpCharge, amount); d.Verdict != Allowed {
			t.Fatalf("the burst: %+v", d)
		}
		admitted := amount
		for now := first + 1; now < first.Add(time.Minute); {
			d := l.Apply(&c, now, OpCharge, 1)
			if d.Verdict == Denied {
				now = now.Add(d.RetryAfter)
				continue
			}
			admitted++
		}
		if admitted != 2*amount-1 {
			t.Errorf("admitted %d in less than a period, want %d", admitted, 2*amount-1)
		}
	})

	t.Run("a unit is denied though nothing passed in the last period", func(t *testing.T) {
		var c Counter
		l.Apply(&c, noon, OpCharge, amount)
		late := noon.Add(time.Minute + time.Minute/amount - 1)
		if d := l.Apply(&c, late, OpCharge, 1); d.Verdict != Denied || d.RetryAfter != 1 {
			t.Errorf("got %+v", d)
		}
	})
}

// TestSlidingBounds compares the kind with the timestamps of every unit it
// admitted: the errors stay within what sliding.go documents.
func TestSlidingBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Uint64Range(1, 12).Draw(t, "amount")
		period := int64(time.Millisecond)
		l, err := NewLimit(Spec{Kind: KindSliding, Amount: amount, Period: time.Duration(period)})
		if err != nil {
			t.Fatal(err)
		}
		var c Counter
		log := map[int64]uint64{} // moment → units admitted
		now := int64(0)
		// in returns the units admitted in (from, to].
		in := func(from, to int64) (n uint64) {
			for at, units := range log {
				if at > from && at <= to {
					n += units
				}
			}
			return n
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += rapid.OneOf(
				rapid.Just(int64(0)), rapid.Int64Range(0, period/10), rapid.Int64Range(0, 2*period),
				rapid.Just(period-1-now%period), rapid.Just(period-now%period),
			).Draw(t, "wait")
			cost := rapid.Uint64Range(1, amount).Draw(t, "cost")
			d := l.Apply(&c, Instant(now), OpCharge, cost)
			elapsed := now % period
			if d.Verdict == Denied {
				// Units of the last period, and what is left of a full
				// previous window's share, explain the denial.
				wrongly := new(big.Rat).SetFrac64(int64(amount)*(period-elapsed), period)
				sum := wrongly.Add(wrongly, units(in(now-period, now)+cost))
				if sum.Cmp(units(amount)) <= 0 {
					t.Fatalf("denied %d at %d beyond the bound", cost, now)
				}
				continue
			}
			log[now] += cost
			// Every span of t ≤ P that ends now: at most A·(1 + min(t, e)/P).
			for from := range log {
				span := now - from + 1
				if span > period {
					continue
				}
				most := new(big.Rat).SetFrac64(int64(amount)*(period+min(span, elapsed)), period)
				if got := in(from-1, now); units(got).Cmp(most) > 0 {
					t.Fatalf("%d units in the %d ns up to %d, at most %v", got, span, now, most)
				}
			}
			if got := in(now-elapsed-1, now); got > amount {
				t.Fatalf("%d units in one aligned window of %d", got, amount)
			}
		}
	})
}
