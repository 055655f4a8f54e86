package limiter

import (
	"math/big"
	"testing"
	"time"
)

// TestRateDoesNotDrift takes one unit at each moment that retry-after names,
// many times over: unit k after the burst must pass at exactly ⌈k·P/N⌉. (The
// burst is 2 because a bucket of 1 is full at that moment, and what a full
// bucket misses by whole nanoseconds is no drift.)
func TestRateDoesNotDrift(t *testing.T) {
	const month = 30 * 24 * time.Hour
	tests := []struct {
		name   string
		amount uint64
		period time.Duration
	}{
		{"1 per 30 days", 1, month},
		{"3 per second", 3, time.Second},
		{"100 per second", 100, time.Second},
		{"700,000,000 per second", 700_000_000, time.Second},
		{"999,999,937 per second, a prime", 999_999_937, time.Second},
		{"1,000,000,000 per second", 1_000_000_000, time.Second},
		{"999,983 per 30 days, a prime", 999_983, month},
		{"2,591,999,999,999,957 per 30 days", 2_591_999_999_999_957, month},
		{"one short of the maximum per 366 days", uint64(PeriodMax) - 1, PeriodMax},
		{"7 per 1,000,003 ns", 7, 1_000_003},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := mustLimit(t, Spec{Kind: KindRate, Amount: tt.amount, Period: tt.period, Burst: 2})
			var c Counter
			start := noon
			now := start
			if d := l.Apply(&c, now, OpCharge, 2); d.Verdict != Allowed {
				t.Fatalf("a fresh bucket says %+v", d)
			}
			steps := int64(20_000)
			if most := int64(HorizonMax / tt.period); tt.amount == 1 && most/2 < steps {
				steps = most / 2 // stay below InstantMax
			}
			for k := int64(1); k <= steps; k++ {
				d := l.Apply(&c, now, OpCharge, 1)
				if d.Verdict == Denied {
					now = now.Add(d.RetryAfter)
					d = l.Apply(&c, now, OpCharge, 1)
				}
				if d.Verdict != Allowed {
					t.Fatalf("unit %d at %d: %+v", k, now, d)
				}
				if want := start.Add(ceilDiv(k, tt.period, tt.amount)); now != want {
					t.Fatalf("unit %d passed at %d, want %d", k, now, want)
				}
			}
		})
	}
}

// ceilDiv returns ⌈k·period/amount⌉.
func ceilDiv(k int64, period time.Duration, amount uint64) time.Duration {
	n := new(big.Int).Mul(big.NewInt(k), big.NewInt(int64(period)))
	d := new(big.Int).SetUint64(amount)
	n.Add(n, d).Sub(n, big.NewInt(1))
	return time.Duration(n.Quo(n, d).Int64())
}

// TestRateAdmitsExactlyItsAmount saturates a bucket from a clock that ticks
// unevenly, for a whole day.
func TestRateAdmitsExactlyItsAmount(t *testing.T) {
	l := mustLimit(t, Spec{Kind: KindRate, Amount: 3, Period: time.Second, Burst: 5})
	var c Counter
	var admitted uint64
	const day = 24 * time.Hour
	for elapsed := time.Duration(0); elapsed < day; elapsed += 777_777_771 * time.Nanosecond {
		for l.Apply(&c, noon.Add(elapsed), OpCharge, 1).Verdict == Allowed {
			admitted++
		}
	}
	for l.Apply(&c, noon.Add(day), OpCharge, 1).Verdict == Allowed {
		admitted++
	}
	if want := uint64(5 + 3*24*60*60); admitted != want {
		t.Errorf("admitted %d in a day, want %d", admitted, want)
	}
}

func TestWordOfOtherTermsIsStricterByLessThanANanosecond(t *testing.T) {
	l := mustLimit(t, Spec{Kind: KindRate, Amount: 3, Period: time.Second})
	foreign := Counter{Due: noon.Add(time.Second), Word: 3}
	exact := Counter{Due: noon.Add(time.Second)}
	if got, want := l.Apply(&foreign, noon, OpCharge, 1), l.Apply(&exact, noon, OpCharge, 1); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
