package limiter

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ms = time.Millisecond

func paceOf(tb testing.TB, amount uint64, maxWait time.Duration) *Limit {
	tb.Helper()
	return mustLimit(tb, Spec{Kind: KindPace, Amount: amount, Period: time.Second, MaxWait: maxWait})
}

// ask decides a charge or a peek of a caller that can wait patience.
func ask(l *Limit, c *Counter, now Instant, a Ask) (d Decision) {
	l.PaceTo(&d, c, now, a)
	return d
}

func TestAPaceTellsCallersWhenToStart(t *testing.T) {
	waits := func(wait time.Duration, remaining uint64, reset time.Duration) Decision {
		return Decision{Verdict: Allowed, Wait: wait, Remaining: remaining, ResetAfter: reset}
	}
	type move struct {
		at   time.Duration
		ask  Ask
		want Decision
	}
	patient := func(op Op, cost uint64) Ask { return Ask{Op: op, Cost: cost, Patience: Never} }
	within := func(cost uint64, patience time.Duration) Ask { return Ask{Cost: cost, Patience: patience} }
	tests := []struct {
		name  string
		moves []move
	}{
		{"who comes together leaves one by one, and then nobody until there is room", []move{
			{0, patient(OpCharge, 1), waits(0, 3, 100*ms)},
			{0, patient(OpCharge, 1), waits(100*ms, 2, 200*ms)},
			{0, patient(OpCharge, 1), waits(200*ms, 1, 300*ms)},
			{0, patient(OpCharge, 1), waits(300*ms, 0, 400*ms)},
			{0, patient(OpCharge, 1), denied(0, 100*ms, 400*ms)},
			{100 * ms, patient(OpCharge, 1), waits(300*ms, 0, 400*ms)},
		}},
		{"who comes at the pace or slower never waits", []move{
			{0, patient(OpCharge, 1), waits(0, 3, 100*ms)},
			{100 * ms, patient(OpCharge, 1), waits(0, 3, 100*ms)},
			{350 * ms, patient(OpCharge, 1), waits(0, 3, 100*ms)},
		}},
		{"who comes a little early waits a little", []move{
			{0, patient(OpCharge, 1), waits(0, 3, 100*ms)},
			{60 * ms, patient(OpCharge, 1), waits(40*ms, 2, 140*ms)},
		}},
		{"several units leave with the last of them", []move{
			{0, patient(OpCharge, 3), waits(200*ms, 1, 300*ms)},
			{0, patient(OpCharge, 2), denied(1, 100*ms, 300*ms)},
		}},
		{"more units than are ever queued never pass", []move{
			{0, patient(OpCharge, 5), denied(4, Never, 0)},
		}},
		{"a peek says the wait and takes nothing", []move{
			{0, patient(OpCharge, 2), waits(100*ms, 2, 200*ms)},
			{0, patient(OpPeek, 0), waits(200*ms, 2, 200*ms)},
			{0, patient(OpPeek, 2), waits(300*ms, 2, 200*ms)},
			{0, patient(OpPeek, 3), denied(2, 100*ms, 200*ms)},
			{0, patient(OpCharge, 0), waits(200*ms, 2, 200*ms)},
		}},
		{"a give-back frees the last moments, never more than all", []move{
			{0, patient(OpCharge, 3), waits(200*ms, 1, 300*ms)},
			{0, patient(OpGiveBack, 1), waits(0, 2, 200*ms)},
			{0, patient(OpCharge, 1), waits(200*ms, 1, 300*ms)},
			{0, patient(OpGiveBack, 100), waits(0, 4, 0)},
		}},
		{"who can't wait as long is refused, and takes nothing", []move{
			{0, within(1, 0), waits(0, 3, 100*ms)},
			{0, within(1, 15*ms), denied(3, 85*ms, 100*ms)},
			{85 * ms, within(1, 15*ms), waits(15*ms, 2, 115*ms)},
			{85 * ms, within(1, -time.Second), denied(2, 115*ms, 115*ms)},
		}},
		{"what takes longer than the caller can ever wait never passes", []move{
			{0, within(2, 15*ms), denied(4, Never, 0)},
			{0, within(2, 100*ms), waits(100*ms, 2, 200*ms)},
		}},
		{"nobody waits longer than max_wait, however patient", []move{
			{0, patient(OpCharge, 4), waits(300*ms, 0, 400*ms)},
			{0, within(1, 301*ms), denied(0, 100*ms, 400*ms)},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, c := paceOf(t, 10, 300*ms), Counter{}
			for i, m := range tt.moves {
				if got := ask(l, &c, noon.Add(m.at), m.ask); got != m.want {
					t.Fatalf("move %d:\n got %+v\nwant %+v", i, got, m.want)
				}
			}
		})
	}
}

// TestCallersLeaveAtExactlyThePace lets a crowd come and looks only at when its
// members leave: in the order in which they came, and never ahead of the rate.
func TestCallersLeaveAtExactlyThePace(t *testing.T) {
	const callers = 3_000
	l, c := paceOf(t, 3, WaitMax), Counter{}
	for i := range callers {
		// All within the first second, far too early.
		now := noon.Add(time.Duration(i) * time.Second / callers)
		d := l.Apply(&c, now, OpCharge, 1)
		if d.Verdict != Allowed {
			t.Fatalf("caller %d: %+v", i, d)
		}
		// Exactly i thirds of a second after the first, in whole nanoseconds up.
		want := noon + Instant((int64(i)*int64(time.Second)+2)/3)
		if got := now.Add(d.Wait); got != want {
			t.Fatalf("caller %d leaves at %d, want %d", i, got-noon, want-noon)
		}
	}
}

// TestPatienceIsAskedForAsPromised checks patience against a limit whose
// MaxWait is that patience: to a caller they are the same.
func TestPatienceIsAskedForAsPromised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSpec(t, KindPace)
		short := s
		short.MaxWait = time.Duration(rapid.Int64Range(int64(WaitMin), int64(s.MaxWait)).Draw(t, "patience"))
		l, errL := NewLimit(s)
		k, errK := NewLimit(short)
		if errL != nil || errK != nil {
			t.Fatal(errL, errK)
		}
		var c Counter
		now := noon
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(short.MaxWait)).Draw(t, "later")))
			a := Ask{
				Op:       rapid.SampledFrom([]Op{OpCharge, OpCharge, OpPeek, OpGiveBack}).Draw(t, "op"),
				Cost:     drawCost(t, k.Capacity()),
				Patience: short.MaxWait,
			}
			if rapid.Bool().Draw(t, "patient") {
				a.Patience = Never
			}
			other := c
			got := ask(l, &c, now, a)
			if a.Patience == Never {
				continue
			}
			want := ask(k, &other, now, Ask{a.Op, a.Cost, Never})
			if c != other {
				t.Fatalf("%v, want %v", c, other)
			}
			if got.Verdict != want.Verdict || got.Wait != want.Wait || got.RetryAfter != want.RetryAfter || got.ResetAfter != want.ResetAfter {
				t.Fatalf("\n got %+v\nwant %+v", got, want)
			}
		}
	})
}

func TestConvertKeepsAPacesQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSpec(t, KindPace), drawSpec(t, KindPace)
		l, err := NewLimit(a)
		if err != nil {
			t.Fatal(err)
		}
		cost := rapid.Uint64Range(1, l.Capacity()).Draw(t, "cost")
		checkConvert(t, a, b, noon, cost, time.Duration(rapid.Int64Range(0, int64(a.Period)).Draw(t, "later")))
	})
}
