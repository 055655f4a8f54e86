package limiter

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestConvert(t *testing.T) {
	rate := func(amount, burst uint64) Spec {
		return Spec{Kind: KindRate, Amount: amount, Period: time.Second, Burst: burst}
	}
	window := func(kind Kind, amount uint64) Spec {
		return Spec{Kind: kind, Amount: amount, Period: time.Minute}
	}
	tests := []struct {
		name     string
		from, to Spec
		used     uint64
		want     Decision // of a peek, after the change
	}{
		{"a faster rate keeps the units used", rate(10, 0), rate(20, 0), 4, allowed(16, 200*time.Millisecond)},
		{"a slower rate keeps the units used", rate(20, 0), rate(10, 0), 4, allowed(6, 400*time.Millisecond)},
		{"a larger burst adds its difference", rate(10, 5), rate(10, 50), 5, allowed(45, 500*time.Millisecond)},
		{"a smaller burst leaves an empty bucket, not a debt", rate(10, 50), rate(10, 5), 40, denied(0, 100*time.Millisecond, 500*time.Millisecond)},
		{"a full bucket stays full", rate(10, 0), rate(3, 0), 0, allowed(3, 0)},
		{"a fixed window keeps its count", window(KindFixed, 10), window(KindFixed, 7), 4, allowed(3, time.Minute)},
		{"a fixed window keeps a count above its new amount", window(KindFixed, 10), window(KindFixed, 3), 4, denied(0, time.Minute, time.Minute)},
		{"a sliding window keeps its count", window(KindSliding, 10), window(KindSliding, 7), 4, allowed(3, 2*time.Minute)},
		{"unlimited has nothing to keep", Spec{Kind: KindUnlimited}, Spec{Kind: KindUnlimited}, 4, Decision{Verdict: Allowed, Remaining: math.MaxUint64}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, to := mustLimit(t, tt.from), mustLimit(t, tt.to)
			var c Counter
			if tt.used > 0 {
				from.Apply(&c, noon, OpCharge, tt.used)
			}
			c = Convert(c, from, to, noon)
			if got := to.Apply(&c, noon, OpPeek, 0); got != tt.want {
				t.Errorf("\n got %+v\nwant %+v", got, tt.want)
			}
		})
	}

	t.Run("part of a unit above the smaller burst is cut off", func(t *testing.T) {
		from, to := mustLimit(t, rate(10, 50)), mustLimit(t, rate(10, 5))
		var c Counter
		from.Apply(&c, noon, OpCharge, 6)
		now := noon.Add(50 * time.Millisecond) // 5½ units are used
		c = Convert(c, from, to, now)
		if got, want := to.Apply(&c, now, OpPeek, 0), denied(0, 100*time.Millisecond, 500*time.Millisecond); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})

	t.Run("the smallest remainder is rounded up too", func(t *testing.T) {
		// 333,334 ns of 1,000,003 are used, and 333,334·1,000,000 mod 1,000,003 = 1.
		from := Spec{Kind: KindRate, Amount: 1, Period: 1_000_003}
		checkConvert(t, from, Spec{Kind: KindRate, Amount: 1, Period: 1_000_000}, noon, 1, 666_669)
	})

	t.Run("a counter of another kind stays as it is", func(t *testing.T) {
		c := Counter{Due: noon + 5, Word: 7}
		got := Convert(c, mustLimit(t, rate(1, 0)), mustLimit(t, window(KindFixed, 1)), noon)
		if got != c {
			t.Errorf("got %v, want %v", got, c)
		}
	})
}

func TestConvertBringsInACounterOfAnotherClock(t *testing.T) {
	ahead := noon.Add(365 * 24 * time.Hour)
	for _, kind := range []Kind{KindRate, KindFixed, KindSliding, KindPace} {
		t.Run(kind.String(), func(t *testing.T) {
			s := Spec{Kind: kind, Amount: 5, Period: time.Minute}
			if kind == KindPace {
				s.MaxWait = 48 * time.Second // four more units
			}
			l := mustLimit(t, s)
			var c Counter
			l.Apply(&c, ahead, OpCharge, 5)
			c = Convert(c, l, l, noon)
			d := l.Apply(&c, noon, OpPeek, 0)
			if d.Verdict != Denied || d.ResetAfter > 2*time.Minute {
				t.Errorf("got %+v, want a full counter of this clock", d)
			}
			if again := Convert(c, l, l, noon); again != c {
				t.Errorf("converting to itself changes %v to %v", c, again)
			}
		})
	}
}

// TestConvertKeepsUse checks that a rate's conversion keeps the used units
// exactly, rounded up to the finest that the new terms can express.
func TestConvertKeepsUse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSpec(t, KindRate), drawSpec(t, KindRate)
		now := Instant(rapid.Int64Range(0, int64(InstantMax)).Draw(t, "now"))
		cost := rapid.OneOf(
			rapid.Uint64Range(1, max(a.Burst, a.Amount)), rapid.Uint64Range(1, max(b.Burst, b.Amount)),
		).Draw(t, "cost")
		later := time.Duration(rapid.Int64Range(0, int64(a.Period)).Draw(t, "later"))
		checkConvert(t, a, b, now, cost, later)
	})
}

// TestConvertKeepsUseOfLargeTerms is TestConvertKeepsUse with terms of more
// than 50 bits, where carries are common.
func TestConvertKeepsUseOfLargeTerms(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	spec := func() Spec {
		period := time.Duration(r.Int64N(int64(PeriodMax)/8) + int64(PeriodMax)*7/8)
		return Spec{Kind: KindRate, Amount: 1 + uint64(r.Int64N(int64(period))), Period: period}
	}
	for range 5_000 {
		a, b := spec(), spec()
		checkConvert(t, a, b, noon, 1+r.Uint64N(a.Amount), time.Duration(r.Int64N(int64(a.Period)/4)))
	}
}

// checkConvert charges cost to a's counter at now and converts it later to b.
func checkConvert(t errorer, a, b Spec, now Instant, cost uint64, later time.Duration) {
	t.Helper()
	from, errA := NewLimit(a)
	to, errB := NewLimit(b)
	if errA != nil || errB != nil {
		t.Fatalf("%v, %v", errA, errB)
	}
	var c Counter
	from.Apply(&c, now, OpCharge, cost)
	now = min(now.Add(later), InstantMax)

	// A bucket's used units, in quanta of 1/p: what one 1/q ns refills.
	want := modelOf(from, a, c).used(now)
	want.Mul(want, units(to.rate.p))
	up := new(big.Int).Add(want.Num(), want.Denom())
	up.Sub(up, big.NewInt(1)).Quo(up, want.Denom())
	want.SetInt(up)
	if full := new(big.Rat).Mul(units(to.rate.p), newModel(b).capacity()); want.Cmp(full) > 0 {
		want = full
	}
	got := modelOf(to, b, Convert(c, from, to, now)).used(now)
	if got.Mul(got, units(to.rate.p)); got.Cmp(want) != 0 {
		t.Fatalf("%+v to %+v: used %v, want %v", a, b, got, want)
	}
}

// modelOf returns the model of the bucket c.
func modelOf(l *Limit, s Spec, c Counter) model {
	full := newModel(s)
	m, ok := full.(*bucketModel)
	if p, paces := full.(*paceModel); !ok && paces {
		m = p.bucketModel
	}
	short := new(big.Rat).Quo(units(c.Word), units(l.rate.q))
	m.tat = short.Sub(nanos(c.Due), short)
	return m
}
