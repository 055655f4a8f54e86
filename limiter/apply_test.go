package limiter

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// noon is a moment on a whole day since the epoch, plus twelve hours.
const noon = Instant(20_000*24+12) * Instant(time.Hour)

func mustLimit(tb testing.TB, s Spec) *Limit {
	tb.Helper()
	l, err := NewLimit(s)
	if err != nil {
		tb.Fatalf("NewLimit: %v", err)
	}
	return l
}

// An act is one operation, the moment being relative to noon.
type act struct {
	at   time.Duration
	op   Op
	cost uint64
	want Decision
}

func allowed(remaining uint64, reset time.Duration) Decision {
	return Decision{Verdict: Allowed, Remaining: remaining, ResetAfter: reset}
}

func denied(remaining uint64, retry, reset time.Duration) Decision {
	return Decision{Verdict: Denied, Remaining: remaining, RetryAfter: retry, ResetAfter: reset}
}

func TestApply(t *testing.T) {
	const ms = time.Millisecond
	tenASecond := Spec{Kind: KindRate, Amount: 10, Period: time.Second, Burst: 3}
	fixed := Spec{Kind: KindFixed, Amount: 5, Period: time.Minute}
	sliding := Spec{Kind: KindSliding, Amount: 4, Period: time.Minute}
	countDenied := func(s Spec) Spec { s.CountDenied = true; return s }
	peekUsed := func(s Spec) Spec { s.PeekUsed = true; return s }
	ban := Spec{Kind: KindFixed, Period: time.Minute}
	first := Spec{Kind: KindFixed, Amount: 5, Period: time.Minute, FromFirst: true}

	tests := []struct {
		name string
		spec Spec
		acts []act
	}{
		{"a full bucket admits its burst at once and then one unit per interval", tenASecond, []act{
			{0, OpCharge, 3, allowed(0, 300*ms)},
			{0, OpCharge, 1, denied(0, 100*ms, 300*ms)},
			{100*ms - 1, OpCharge, 1, denied(0, 1, 200*ms+1)},
			{100 * ms, OpCharge, 1, allowed(0, 300*ms)},
		}},
		{"a rate without a burst admits its amount at once", Spec{Kind: KindRate, Amount: 3, Period: time.Second}, []act{
			{0, OpCharge, 3, allowed(0, time.Second)},
			{0, OpCharge, 1, denied(0, 333_333_334, time.Second)},
		}},
		{"a cost above the burst never passes and charges nothing", tenASecond, []act{
			{0, OpCharge, 4, denied(3, Never, 0)},
			{0, OpCharge, math.MaxUint64, denied(3, Never, 0)},
			{0, OpCharge, 3, allowed(0, 300*ms)},
		}},
		{"a denied cost takes nothing from a bucket", tenASecond, []act{
			{0, OpCharge, 2, allowed(1, 200*ms)},
			{0, OpCharge, 2, denied(1, 100*ms, 200*ms)},
			{0, OpCharge, 1, allowed(0, 300*ms)},
		}},
		{"a window may begin with its first charge and is whole again when it ends", first, []act{
			{0, OpPeek, 0, allowed(5, 0)},
			{10 * time.Second, OpCharge, 3, allowed(2, time.Minute)},
			{40 * time.Second, OpCharge, 3, denied(2, 30*time.Second, 30*time.Second)},
			{70*time.Second - 1, OpCharge, 2, allowed(0, 1)},
			{70 * time.Second, OpCharge, 5, allowed(0, time.Minute)},
		}},
		{"a window that began with its first charge and is filled by a denial counts no more", countDenied(first), []act{
			{0, OpCharge, 3, allowed(2, time.Minute)},
			{0, OpCharge, 100, denied(0, Never, time.Minute)},
			{0, OpGiveBack, 1, allowed(1, time.Minute)},
		}},
		{"with count_denied a denied cost drains the bucket to empty and no further", countDenied(tenASecond), []act{
			{0, OpCharge, 2, allowed(1, 200*ms)},
			{0, OpCharge, 2, denied(0, 200*ms, 300*ms)},
			{0, OpCharge, 2, denied(0, 200*ms, 300*ms)},
			{0, OpCharge, 9, denied(0, Never, 300*ms)},
		}},
		{"a peek of nothing asks for one unit", tenASecond, []act{
			{0, OpPeek, 0, allowed(3, 0)},
			{0, OpCharge, 3, allowed(0, 300*ms)},
			{0, OpPeek, 0, denied(0, 100*ms, 300*ms)},
			{0, OpCharge, 0, denied(0, 100*ms, 300*ms)},
		}},
		{"a peek with a cost asks for that cost and takes nothing", tenASecond, []act{
			{0, OpCharge, 1, allowed(2, 100*ms)},
			{0, OpPeek, 2, allowed(2, 100*ms)},
			{0, OpPeek, 3, denied(2, 100*ms, 100*ms)},
			{0, OpPeek, 4, denied(2, Never, 100*ms)},
		}},
		{"with peek_used a peek of nothing passes on an empty bucket", peekUsed(tenASecond), []act{
			{0, OpCharge, 3, allowed(0, 300*ms)},
			{0, OpPeek, 0, allowed(0, 300*ms)},
			{0, OpPeek, 1, denied(0, 100*ms, 300*ms)},
			{-100 * ms, OpPeek, 0, denied(0, 100*ms, 400*ms)}, // in debt only because the clock went back
		}},
		{"give-back undoes units and never more than were used", tenASecond, []act{
			{0, OpCharge, 3, allowed(0, 300*ms)},
			{0, OpGiveBack, 1, allowed(1, 200*ms)},
			{50 * ms, OpGiveBack, 1, allowed(2, 50*ms)},
			{50 * ms, OpGiveBack, math.MaxUint64, allowed(3, 0)},
			{50 * ms, OpCharge, 4, denied(3, Never, 0)},
		}},
		{"a clock that steps back refills nothing", tenASecond, []act{
			{0, OpCharge, 3, allowed(0, 300*ms)},
			{-time.Hour, OpCharge, 1, denied(0, time.Hour+100*ms, time.Hour+300*ms)},
			{0, OpCharge, 1, denied(0, 100*ms, 300*ms)},
		}},
		{"a fixed window starts at a multiple of its period", fixed, []act{
			{20 * time.Second, OpCharge, 4, allowed(1, 40*time.Second)},
			{59 * time.Second, OpCharge, 2, denied(1, time.Second, time.Second)},
			{60 * time.Second, OpCharge, 5, allowed(0, time.Minute)},
			{119*time.Second + 999*ms, OpCharge, 1, denied(0, ms, ms)},
		}},
		{"a fixed window admits no cost above its amount, ever", fixed, []act{
			{0, OpCharge, 6, denied(5, Never, 0)},
			{0, OpCharge, math.MaxUint64, denied(5, Never, 0)},
		}},
		{"with count_denied a fixed window counts on and does not wrap", countDenied(fixed), []act{
			{0, OpCharge, 6, denied(0, Never, time.Minute)},
			{0, OpCharge, math.MaxUint64, denied(0, Never, time.Minute)},
			{0, OpCharge, 1, denied(0, time.Minute, time.Minute)},
			{0, OpGiveBack, math.MaxUint64 - 4, allowed(1, time.Minute)},
		}},
		{"an amount of 0 bans", ban, []act{
			{0, OpCharge, 1, denied(0, Never, 0)},
			{0, OpPeek, 0, denied(0, Never, 0)},
		}},
		{"with peek_used a peek of nothing passes up to and at the amount", peekUsed(countDenied(fixed)), []act{
			{0, OpCharge, 5, allowed(0, time.Minute)},
			{0, OpPeek, 0, allowed(0, time.Minute)},
			{0, OpCharge, 1, denied(0, time.Minute, time.Minute)},
			{0, OpPeek, 0, denied(0, time.Minute, time.Minute)},
		}},
		{"give-back empties a window early and reaches no earlier one", fixed, []act{
			{0, OpCharge, 5, allowed(0, time.Minute)},
			{0, OpGiveBack, 2, allowed(2, time.Minute)},
			{0, OpGiveBack, 3, allowed(5, 0)},
			{0, OpCharge, 1, allowed(4, time.Minute)},
			{61 * time.Second, OpGiveBack, 1, allowed(5, 0)},
		}},
		{"a clock that steps back into the last window opens it no second time", fixed, []act{
			{0, OpCharge, 5, allowed(0, time.Minute)},
			{-1, OpCharge, 1, denied(0, time.Minute+1, time.Minute+1)},
		}},
		{"a sliding window fades the previous one", sliding, []act{
			{59 * time.Second, OpCharge, 4, allowed(0, 61*time.Second)},
			{60 * time.Second, OpCharge, 1, denied(0, 15*time.Second, 60*time.Second)},
			{75*time.Second - 1, OpCharge, 1, denied(0, 1, 45*time.Second+1)},
			{75 * time.Second, OpCharge, 1, allowed(0, 105*time.Second)},
			{76 * time.Second, OpCharge, 2, denied(0, 29*time.Second, 104*time.Second)},
		}},
		{"a sliding window says when a cost fits if that is in the next window", sliding, []act{
			{0, OpCharge, 3, allowed(1, 120*time.Second)},
			{0, OpCharge, 3, denied(1, 100*time.Second, 120*time.Second)},
			{0, OpCharge, 4, denied(1, 120*time.Second, 120*time.Second)},
			{0, OpCharge, 5, denied(1, Never, 120*time.Second)},
		}},
		{"with count_denied a sliding window's count saturates", countDenied(sliding), []act{
			{0, OpCharge, math.MaxUint64, denied(0, Never, 120*time.Second)},
			{0, OpCharge, 4, denied(0, 120*time.Second, 120*time.Second)},
			{0, OpGiveBack, math.MaxUint32 - 1, allowed(3, 120*time.Second)},
		}},
		{"give-back takes from the present window first, then from the previous one", sliding, []act{
			{0, OpCharge, 4, allowed(0, 120*time.Second)},
			{75 * time.Second, OpCharge, 1, allowed(0, 105*time.Second)},
			{75 * time.Second, OpGiveBack, 3, allowed(2, 45*time.Second)},
			{75 * time.Second, OpGiveBack, 2, allowed(4, 0)},
		}},
		{"an unlimited limit admits everything", Spec{Kind: KindUnlimited}, []act{
			{0, OpCharge, math.MaxUint64, allowed(math.MaxUint64, 0)},
			{0, OpPeek, 0, allowed(math.MaxUint64, 0)},
			{0, OpGiveBack, 1, allowed(math.MaxUint64, 0)},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, c := mustLimit(t, tt.spec), Counter{}
			for i, a := range tt.acts {
				if got := l.Apply(&c, noon.Add(a.at), a.op, a.cost); got != a.want {
					t.Fatalf("act %d:\n got %+v\nwant %+v", i, got, a.want)
				}
			}
		})
	}
}

// A request may say a shorter or a longer period than the one before, and a clock
// may be a little behind.
func TestAWindowFromItsFirstChargeTakesOverAnotherPeriod(t *testing.T) {
	of := func(period time.Duration) *Limit {
		return mustLimit(t, Spec{Kind: KindFixed, Amount: 5, Period: period, FromFirst: true})
	}
	for _, tt := range []struct {
		name      string
		then      time.Duration // the second request's period
		at, reset time.Duration
	}{
		{"a shorter period ends the window as if it began now", time.Minute, 10 * time.Minute, time.Minute},
		{"a longer one leaves this window as it is", 24 * time.Hour, 10 * time.Minute, 50 * time.Minute},
		{"a clock that is a second behind does not end it early", time.Hour, -time.Second, time.Hour + time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c Counter
			of(time.Hour).Apply(&c, noon, OpCharge, 2)
			if d := of(tt.then).Apply(&c, noon.Add(tt.at), OpCharge, 1); d != allowed(2, tt.reset) {
				t.Errorf("got %+v", d)
			}
		})
	}
}

func TestZeroLimitDecidesNothing(t *testing.T) {
	var l Limit
	c := Counter{Due: 5, Word: 5}
	for _, op := range []Op{OpCharge, OpPeek, OpGiveBack} {
		if got := l.Apply(&c, 1, op, 1); got != (Decision{}) {
			t.Errorf("op %d: got %+v", op, got)
		}
	}
	if c != (Counter{Due: 5, Word: 5}) {
		t.Errorf("the counter changed to %v", c)
	}
}

func TestNowIsHeldWithinItsBounds(t *testing.T) {
	for _, kind := range []Kind{KindRate, KindFixed, KindSliding} {
		l := mustLimit(t, Spec{Kind: kind, Amount: 2, Period: PeriodMax})
		for _, now := range []Instant{math.MinInt64, math.MaxInt64} {
			var c, at Counter
			got := l.Apply(&c, now, OpCharge, 2)
			want := l.Apply(&at, min(max(now, 0), InstantMax), OpCharge, 2)
			if got != want || c != at || got.Verdict != Allowed {
				t.Errorf("%v at %d: %+v %v, want %+v %v", kind, now, got, c, want, at)
			}
		}
	}
}

// TestNoClockOverAdmits lets the clock jump about: what is admitted in all is
// bounded by the latest moment it showed.
func TestNoClockOverAdmits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]Kind{KindRate, KindFixed, KindSliding}).Draw(t, "kind")
		s := Spec{
			Kind:   kind,
			Amount: rapid.Uint64Range(1, 9).Draw(t, "amount"),
			Period: time.Duration(rapid.Int64Range(1, 5).Draw(t, "ms")) * time.Millisecond,
		}
		l, err := NewLimit(s)
		if err != nil {
			t.Fatal(err)
		}
		period := int64(s.Period)
		var c Counter
		var latest Instant
		var admitted, windows uint64
		first, last := Instant(0), Instant(-1)
		for i := range rapid.IntRange(1, 200).Draw(t, "steps") {
			now := Instant(rapid.Int64Range(0, 4*period).Draw(t, "now"))
			cost := rapid.Uint64Range(1, s.Amount).Draw(t, "cost")
			if i == 0 {
				first = now
			}
			latest = max(latest, now)
			if w := latest / Instant(period); w != last {
				last = w
				windows++
			}
			if l.Apply(&c, now, OpCharge, cost).Verdict == Allowed {
				admitted += cost
			}
			most := s.Amount * windows
			if kind == KindRate {
				most = s.Amount + s.Amount*uint64(latest-first)/uint64(period)
			}
			if admitted > most {
				t.Fatalf("admitted %d by %d, at most %d", admitted, latest, most)
			}
		}
	})
}

func TestAStepBackDeniesMoreByAtMostTheStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, err := NewLimit(Spec{
			Kind:   rapid.SampledFrom([]Kind{KindRate, KindFixed, KindSliding}).Draw(t, "kind"),
			Amount: rapid.Uint64Range(1, 9).Draw(t, "amount"),
			Period: time.Duration(rapid.Int64Range(1, 5).Draw(t, "ms")) * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		var c Counter
		now := noon
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 2*int64(l.Period)).Draw(t, "wait")))
			l.Apply(&c, now, OpCharge, rapid.Uint64Range(1, l.Amount).Draw(t, "cost"))
		}
		step := time.Duration(rapid.Int64Range(1, 4*int64(l.Period)).Draw(t, "step"))
		cost := rapid.Uint64Range(1, l.Amount).Draw(t, "asked")
		at, before := l.Apply(&c, now, OpPeek, cost), l.Apply(&c, now.Add(-step), OpPeek, cost)
		if before.Verdict == Allowed && at.Verdict == Denied || before.Remaining > at.Remaining {
			t.Fatalf("%v earlier: %+v, more than %+v", step, before, at)
		}
		if before.RetryAfter > at.RetryAfter+step || before.ResetAfter > at.ResetAfter+step {
			t.Fatalf("%v earlier: %+v, later than %+v and the step", step, before, at)
		}
	})
}

func TestApplyToLeavesNothingOfAnEarlierDecision(t *testing.T) {
	stale := Decision{Verdict: Denied, Degraded: TableFull, Remaining: 9, RetryAfter: 9, ResetAfter: 9}
	for _, s := range []Spec{
		{Kind: KindRate, Amount: 3, Period: time.Second},
		{Kind: KindFixed, Amount: 3, Period: time.Second},
		{Kind: KindSliding, Amount: 3, Period: time.Second},
		{Kind: KindUnlimited},
		{}, // decides nothing
	} {
		l := new(Limit)
		if s.Kind != 0 {
			l = mustLimit(t, s)
		}
		for _, op := range []Op{OpCharge, OpPeek, OpGiveBack} {
			var a, b Counter
			got, want := stale, l.Apply(&a, noon, op, 2)
			l.ApplyTo(&got, &b, noon, op, 2)
			if got != want || a != b || got.Degraded != NotDegraded {
				t.Errorf("%v, op %d: got %+v and %+v, want %+v and %+v", s.Kind, op, got, b, want, a)
			}
		}
	}
}
