package hold

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

func limit(tb testing.TB, s limiter.Spec) *limiter.Limit {
	tb.Helper()
	s.Name = "x"
	l, err := limiter.NewLimit(s)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// charge charges cost to c at now and returns the leg.
func charge(l *limiter.Limit, c *limiter.Counter, now limiter.Instant, cost uint64) (Leg, bool) {
	ch := limiter.Charge{Key: key(1), Limit: l, Cost: cost, Decision: l.Apply(c, now, limiter.OpCharge, cost)}
	return LegOf(now, &ch)
}

func TestWhatMayComeBack(t *testing.T) {
	minute := limiter.Spec{Kind: limiter.KindRate, Amount: 60, Period: time.Minute, Burst: 100}
	with := func(s limiter.Spec, kind limiter.Kind) limiter.Spec { s.Kind, s.Burst = kind, 0; return s }
	pace := limiter.Spec{Kind: limiter.KindPace, Amount: 1, Period: time.Second, MaxWait: time.Hour}
	for _, tt := range []struct {
		name  string
		spec  limiter.Spec
		used  uint64 // before
		after time.Duration
		want  uint64 // of 10 that were charged
	}{
		{"a rate, at once", minute, 0, 0, 10},
		{"a rate, when four have come back by themselves", minute, 0, 4 * time.Second, 6},
		{"a rate, when all have", minute, 0, 10 * time.Second, 0},
		{"a rate that was used before, when those that were have", minute, 50, 50 * time.Second, 10},
		{"and when six more have", minute, 50, 56 * time.Second, 4},
		{"a pace, at once", pace, 0, 0, 10},
		{"a pace, when four have left", pace, 0, 4 * time.Second, 6},
		{"a window while it lasts", with(minute, limiter.KindFixed), 0, time.Minute - 1, 10},
		{"a window when it is over", with(minute, limiter.KindFixed), 0, time.Minute, 0},
		{"a sliding window while it lasts", with(minute, limiter.KindSliding), 3, time.Minute - 1, 10},
		{"a sliding window in the one after it", with(minute, limiter.KindSliding), 3, time.Minute, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, c := limit(t, tt.spec), limiter.Counter{}
			start := noon - noon%limiter.Instant(time.Minute)
			if tt.used > 0 {
				l.Apply(&c, start, limiter.OpCharge, tt.used)
			}
			leg, ok := charge(l, &c, start, 10)
			if !ok {
				t.Fatal("nothing was charged")
			}
			if got := leg.Back(start.Add(tt.after), 10); got != tt.want {
				t.Errorf("%d come back, want %d", got, tt.want)
			}
			if got := leg.Back(start.Add(tt.after), 3); got != min(3, tt.want) {
				t.Errorf("of 3, %d come back, want %d", got, min(3, tt.want))
			}
		})
	}
}

func TestNoLegOfWhatWasNotCharged(t *testing.T) {
	l := limit(t, limiter.Spec{Kind: limiter.KindFixed, Amount: 5, Period: time.Minute})
	allowed := limiter.Decision{Verdict: limiter.Allowed}
	for name, ch := range map[string]limiter.Charge{
		"denied":    {Limit: l, Cost: 1, Decision: limiter.Decision{Verdict: limiter.Denied}},
		"degraded":  {Limit: l, Cost: 1, Decision: limiter.Decision{Verdict: limiter.Allowed, Degraded: limiter.TableFull}},
		"free":      {Limit: l, Decision: allowed},
		"peeked":    {Limit: l, Cost: 1, Op: limiter.OpPeek, Decision: allowed},
		"unlimited": {Limit: &limiter.Limit{Spec: limiter.Spec{Kind: limiter.KindUnlimited}}, Cost: 1, Decision: allowed},
	} {
		if leg, ok := LegOf(noon, &ch); ok {
			t.Errorf("%s: %+v", name, leg)
		}
	}
}

// TestASettledRateIsAsIfLessHadBeenCharged: a bucket where one charge was lowered later
// never admits what one that had been charged less at once would not.
func TestASettledRateIsAsIfLessHadBeenCharged(t *testing.T) {
	l := limit(t, limiter.Spec{Kind: limiter.KindRate, Amount: 10, Period: time.Second, Burst: 20})
	rapid.Check(t, func(t *rapid.T) {
		cost := rapid.Uint64Range(0, 10).Draw(t, "cost")
		estimate := rapid.Uint64Range(max(1, cost), 12).Draw(t, "estimate")
		var actual, ideal limiter.Counter
		now, at := noon, rapid.IntRange(1, 20).Draw(t, "settled at")
		var leg Leg
		for step := range 25 {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond)
			switch step {
			case 0:
				leg, _ = charge(l, &actual, now, estimate)
				l.Apply(&ideal, now, limiter.OpCharge, cost)
			case at:
				l.Apply(&actual, now, limiter.OpGiveBack, leg.Back(now, estimate-cost))
			default:
				units := rapid.Uint64Range(1, 8).Draw(t, "units")
				if l.Apply(&actual, now, limiter.OpCharge, units).Verdict == limiter.Allowed {
					if l.Apply(&ideal, now, limiter.OpCharge, units).Verdict != limiter.Allowed {
						t.Fatalf("at step %d, %d units passed that would not have", step, units)
					}
				}
			}
			if actual.Due.Sub(now) < ideal.Due.Sub(now)-1 && ideal.Due > now {
				t.Fatalf("at step %d it is fuller than it would be", step)
			}
		}
	})
}
