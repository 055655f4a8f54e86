package quota

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

const noon limiter.Instant = 1_793_534_400_000_000_000

func terms() Terms {
	return Terms{Version: 1, Limit: 1000, MaxDebt: 5, GrantMax: 100, Horizon: 5 * time.Second, Idle: 30 * time.Second}
}

// A desk is a holder with its pool, where nothing is lost.
type desk struct {
	t     *testing.T
	p     Pool
	h     Holding
	terms Terms
	now   limiter.Instant
	asked int // how many OpEnsure were proposed
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	return &desk{t: t, terms: terms(), now: noon}
}

func (d *desk) propose(c Command, ok bool) {
	d.t.Helper()
	if !ok {
		return
	}
	if c.Op == OpEnsure {
		d.asked++
	}
	c.Key, c.Window = key, month
	c.Holder.Partition, c.Holder.Tenure = 7, 1
	d.h.Learn(&c, d.p.Apply(1, &c))
}

// charge spends cost and asks for what it needs; it reports whether it had to
// wait.
func (d *desk) charge(cost uint64) (outcome Outcome, waited bool) {
	d.t.Helper()
	outcome = d.h.Spend(d.now, cost, &d.terms)
	if outcome == Short {
		waited = true
		d.propose(d.h.Need(d.now, cost, cost, &d.terms))
		outcome = d.h.Spend(d.now, cost, &d.terms)
	}
	d.propose(d.h.Need(d.now, 0, 0, &d.terms))
	return outcome, waited
}

func TestTheLastUnitIsGrantedExactly(t *testing.T) {
	for _, amount := range []uint64{1, 7, 64, 1000, 12_345} {
		d := newDesk(t)
		d.terms.Limit = amount
		for n := range amount {
			if outcome, _ := d.charge(1); outcome != Admitted {
				t.Fatalf("of %d: %v after %d", amount, outcome, n)
			}
			d.now = d.now.Add(time.Millisecond)
		}
		for range 3 {
			if outcome, _ := d.charge(1); outcome != Exceeded {
				t.Fatalf("of %d: %v beyond it", amount, outcome)
			}
		}
		before := d.asked
		for range 100 {
			d.charge(1)
		}
		if d.asked != before {
			t.Errorf("of %d: %d proposals while exhausted", amount, d.asked-before)
		}
		if d.h.Used() != amount || d.p.Outstanding() != amount {
			t.Errorf("of %d: %d used, %d outstanding", amount, d.h.Used(), d.p.Outstanding())
		}
	}
}

// TestASteadyCallerDoesNotWait measures how rarely the ledger is asked, too.
func TestASteadyCallerDoesNotWait(t *testing.T) {
	d := newDesk(t)
	d.terms.Limit, d.terms.GrantMax = 1_000_000, 10_000
	waits := 0
	for i := range 100_000 { // 1,000 a second
		outcome, waited := d.charge(1)
		if outcome != Admitted {
			t.Fatalf("%v after %d", outcome, i)
		}
		if waited {
			waits++
		}
		d.now = d.now.Add(time.Millisecond)
	}
	if waits > 2 || d.asked > 24 {
		t.Errorf("waited %d times, asked %d times", waits, d.asked)
	}
}

func TestGrantsAreBoundedByEachOfTheirBounds(t *testing.T) {
	tests := []struct {
		name              string
		limit, free, most uint64
		recent            float32
		want              uint64
	}{
		{"little was used lately", 1_000_000, 1_000_000, 10_000, 0, 8},
		{"recent use", 1_000_000, 1_000_000, 10_000, 37.5, 37},
		{"the largest grant", 1_000_000, 1_000_000, 100, 1e9, 100},
		{"a hundredth of the amount", 1000, 1_000_000, 10_000, 1e9, 10},
		{"an eighth of what is free", 1_000_000, 80, 10_000, 1e9, 10},
		{"one, of a small amount", 99, 99, 10_000, 1e9, 1},
		{"one, of what is left", 1_000_000, 15, 10_000, 1e9, 1},
		{"one, if nothing is known", 1_000_000, 0, 10_000, 1e9, 1},
	}
	for _, tt := range tests {
		h := Holding{free: tt.free, recent: tt.recent, seen: noon, began: ticks(noon.Add(-time.Second))}
		got := h.size(noon, &Terms{Limit: tt.limit, GrantMax: tt.most, Horizon: time.Second})
		if got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
	if got := (&Holding{free: 1_000_000}).size(noon, &Terms{Limit: 1_000_000, GrantMax: 100, Horizon: time.Second}); got != 1 {
		t.Errorf("before it is spent from: got %d, want 1", got)
	}
	h := Holding{free: 1000, recent: 40, seen: noon, began: ticks(noon.Add(-time.Second))}
	for after, want := range map[time.Duration]uint64{-time.Hour: 40, time.Second: 20, 3 * time.Second: 10, time.Hour: 8} {
		if got := h.size(noon.Add(after), &Terms{Limit: 100_000, GrantMax: 100, Horizon: time.Second}); got != want {
			t.Errorf("%v later: got %d, want %d", after, got, want)
		}
	}
}

func TestOneEnsureIsUnderWayAtATime(t *testing.T) {
	d := newDesk(t)
	first, ok := d.h.Need(d.now, 3, 8, &d.terms)
	if !ok || first.Op != OpEnsure || first.Floor != 3 || first.Target != 8 || first.Version != 1 || first.Limit != 1000 {
		t.Fatalf("got %+v, %v", first, ok)
	}
	if c, ok := d.h.Need(d.now, 4, 4, &d.terms); ok {
		t.Fatalf("a second one: %+v", c)
	}
	d.h.Lost(&first)
	again, ok := d.h.Need(d.now, 4, 4, &d.terms)
	if !ok || again.Floor != 4 {
		t.Fatalf("after it was lost: %+v, %v", again, ok)
	}
	d.propose(again, true)
	d.propose(first, true) // late
	if d.h.Balance() != 4 {
		t.Errorf("a late command left %d", d.h.Balance())
	}
}

func TestExhaustedGrowsAgain(t *testing.T) {
	d := newDesk(t)
	d.terms.Limit = 3
	d.charge(2)
	if got, _ := d.charge(2); got != Exceeded {
		t.Fatalf("got %v, want exceeded", got)
	}
	if got, _ := d.charge(1); got != Admitted {
		t.Fatalf("a smaller charge: got %v, want admitted", got)
	}
	if got, _ := d.charge(1); got != Exceeded {
		t.Fatalf("got %v, want exceeded", got)
	}
	d.terms.Version, d.terms.Limit = 2, 5
	d.h.Amend()
	if got, waited := d.charge(1); got != Admitted || !waited {
		t.Fatalf("after the amount was raised: %v, %v", got, waited)
	}
	d.charge(1)
	d.charge(1)
	operator := adjust(2, 0)
	operator.Version = 0
	r := d.p.Apply(2, &operator)
	if got, _ := d.charge(1); got != Exceeded {
		t.Fatalf("before it hears of it: got %v", got)
	}
	d.h.Grow(r.Free)
	if got, _ := d.charge(2); got != Admitted {
		t.Fatalf("after it heard of it: got %v", got)
	}
}

func TestAnAmendedAmountIsToldToThePool(t *testing.T) {
	d := newDesk(t)
	d.charge(1)
	d.terms.Version, d.terms.Limit = 2, 4
	d.h.Amend()
	d.propose(d.h.Need(d.now, 0, 0, &d.terms))
	if d.p.Version != 2 || d.p.Limit != 4 || d.p.Outstanding() != 1 || d.h.Free() != 3 {
		t.Errorf("pool %+v, free %d", d.p, d.h.Free())
	}
	if c, ok := d.h.Need(d.now, 0, 0, &d.terms); ok {
		t.Errorf("told twice: %+v", c)
	}
}

func TestHoldsAreSettledOnce(t *testing.T) {
	tests := []struct {
		name                       string
		end                        func(h *Holding, t *Terms) (owed, lost uint64)
		used, balance, owed, vague uint64
	}{
		{"cancelled", func(h *Holding, _ *Terms) (owed, lost uint64) { h.Cancel(4); return 0, 0 }, 0, 6, 0, 0},
		{"settled below", func(h *Holding, t *Terms) (owed, lost uint64) { return h.Commit(4, 1, t) }, 1, 5, 0, 0},
		{"settled in full, as when it expired", func(h *Holding, t *Terms) (owed, lost uint64) { return h.Commit(4, 4, t) }, 4, 2, 0, 0},
		{"settled above, from the balance", func(h *Holding, t *Terms) (owed, lost uint64) { return h.Commit(4, 6, t) }, 6, 0, 0, 0},
		{"settled above what there is", func(h *Holding, t *Terms) (owed, lost uint64) { return h.Commit(4, 9, t) }, 6, 0, 3, 0},
		{"settled above the largest debt", func(h *Holding, t *Terms) (owed, lost uint64) { return h.Commit(4, 20, t) }, 6, 0, 5, 9},
		{"settled twice", func(h *Holding, t *Terms) (owed, lost uint64) { h.Commit(4, 1, t); return h.Commit(4, 1, t) }, 1, 5, 0, 0},
		{"settled after the close", func(h *Holding, t *Terms) (owed, lost uint64) { h.Close(t); return h.Commit(4, 1, t) }, 4, 2, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, terms := Holding{known: 6}, terms()
			if got := h.Hold(noon, 4, &terms); got != Admitted || h.Held() != 4 || h.Balance() != 2 {
				t.Fatalf("%v, %+v", got, h)
			}
			owed, lost := tt.end(&h, &terms)
			if h.Used() != tt.used || h.Balance() != tt.balance || h.Held() != 0 || h.Owes() != tt.owed || owed != tt.owed || lost != tt.vague {
				t.Errorf("owed %d, lost %d, %+v", owed, lost, h)
			}
		})
	}
}

func TestDebtIsServedFirst(t *testing.T) {
	d := newDesk(t)
	d.terms.Limit = 4
	d.charge(3)
	d.h.Cancel(0)
	if owed, lost := d.h.Post(d.now, 7, &d.terms); owed != 5 || lost+d.h.Used() != 2+3 {
		t.Fatalf("owed %d, lost %d, used %d", owed, lost, d.h.Used())
	}
	d.propose(d.h.Owed(&d.terms))
	if d.p.Debt() != 5 || d.p.Free() != 0 {
		t.Fatalf("pool owes %d, free %d", d.p.Debt(), d.p.Free())
	}
	if dropped := d.h.Refund(2); dropped != 0 || d.h.Owes() != 3 || d.h.Used() != 3 {
		t.Errorf("a refund clears what is owed first: %+v", d.h)
	}
	d.propose(d.h.Owed(&d.terms))
	if _, ok := d.h.Owed(&d.terms); ok || d.p.Debt() != 3 {
		t.Errorf("pool owes %d", d.p.Debt())
	}
	// When the amount is raised, the pool keeps units for it.
	d.terms.Version, d.terms.Limit = 2, 8
	d.h.Amend()
	if got, _ := d.charge(2); got != Admitted || d.p.Free() != 0 {
		t.Errorf("%v, with %d free", got, d.p.Free())
	}
	if got, _ := d.charge(1); got != Exceeded {
		t.Errorf("%v, where what is owed is served", got)
	}
}

func TestWhatAHoldSetsFreeServesDebt(t *testing.T) {
	h, terms := Holding{known: 4}, terms()
	h.Hold(noon, 4, &terms)
	h.Post(noon, 3, &terms)
	if h.Commit(4, 2, &terms); h.Owes() != 1 || h.Used() != 4 || h.Balance() != 0 {
		t.Errorf("settled below: %+v", h)
	}
	h = Holding{known: 4}
	h.Hold(noon, 4, &terms)
	h.Post(noon, 3, &terms)
	if h.Cancel(4); h.Owes() != 0 || h.Used() != 3 || h.Balance() != 1 {
		t.Errorf("cancelled: %+v", h)
	}
}

func TestARefundIsCreditedUpToWhatWasSpent(t *testing.T) {
	h := Holding{known: 10, used: 3}
	if dropped := h.Refund(5); dropped != 2 || h.Used() != 0 || h.Balance() != 10 {
		t.Errorf("dropped %d, %+v", dropped, h)
	}
	terms := terms()
	h = Holding{known: 10, used: 3}
	h.Close(&terms)
	if dropped := h.Refund(1); dropped != 1 || h.Used() != 3 {
		t.Errorf("after the close: dropped %d, %+v", dropped, h)
	}
}

func TestBalancesGoBack(t *testing.T) {
	d := newDesk(t)
	d.propose(d.h.Need(d.now, 0, 0, &d.terms))
	d.propose(d.h.Need(d.now, 50, 50, &d.terms))
	d.charge(50)
	if c, ok := d.h.Surplus(d.now, &d.terms); ok {
		t.Fatalf("at once: %+v", c)
	}
	d.h.Refund(12) // grants are of 10
	if c, ok := d.h.Surplus(d.now, &d.terms); ok {
		t.Fatalf("a quarter more than a grant: %+v", c)
	}
	d.h.Refund(1)
	c, ok := d.h.Surplus(d.now, &d.terms)
	if !ok || c.Op != OpReturn || c.Total != 3 || d.h.Balance() != 10 {
		t.Fatalf("more than that: %+v, %v, balance %d", c, ok, d.h.Balance())
	}
	if c, ok := d.h.Surplus(d.now, &d.terms); ok {
		t.Fatalf("a second one while it is under way: %+v", c)
	}
	d.h.Lost(&c)
	again, ok := d.h.Surplus(d.now, &d.terms)
	if !ok || again.Total != c.Total {
		t.Fatalf("after it was lost: %+v, %v", again, ok)
	}
	d.propose(again, true)
	d.now = d.now.Add(30 * time.Second)
	d.propose(d.h.Surplus(d.now, &d.terms))
	if d.h.Balance() != 0 || d.p.Outstanding() != d.h.Used() {
		t.Errorf("after it was idle: balance %d, outstanding %d", d.h.Balance(), d.p.Outstanding())
	}
}

func TestRecallAndCloseStrandNothing(t *testing.T) {
	for name, leave := range map[string]func(d *desk){
		"recall": func(d *desk) { d.propose(d.h.Recall(&d.terms)) },
		"close":  func(d *desk) { d.propose(d.h.Close(&d.terms), true) },
	} {
		d := newDesk(t)
		for range 20 {
			d.charge(2)
		}
		if d.h.Balance() == 0 {
			t.Fatalf("%s: nothing to give back", name)
		}
		leave(d)
		if d.p.Outstanding() != 40 || d.h.Used() != 40 {
			t.Errorf("%s: outstanding %d", name, d.p.Outstanding())
		}
		if !d.h.Forgettable() {
			t.Errorf("%s: not forgettable", name)
		}
	}
}

func TestWhatMayBeForgotten(t *testing.T) {
	terms := terms()
	asked := func(code Code) Holding { // a holding that asked, and had this answer; 0 is none
		h := Holding{}
		c, _ := h.Need(noon, 1, 1, &terms)
		switch code {
		case 0:
			h.Lost(&c)
		case OK:
			h.Learn(&c, Result{Code: OK, Granted: 1})
			h.Spend(noon, 1, &terms)
		default:
			h.Learn(&c, Result{Code: code})
		}
		return h
	}
	tests := []struct {
		name string
		h    Holding
		want bool
	}{
		{"a new one", Holding{}, true},
		{"one that spent all", asked(OK), true},
		{"one that has a balance", Holding{known: 1}, false},
		{"one with an open hold", Holding{known: 1, held: 1}, false},
		{"one whose question is under way", Holding{state: asking}, false},
		{"one whose question was lost", asked(0), false},
		{"one that was refused for want of units, which may come back", asked(Exhausted), false},
		{"one whose return is not confirmed", Holding{known: 1, returned: 1, state: returnDue}, false},
		{"one whose debt is not confirmed", Holding{debt: 1, state: done | debtDue}, false},
		{"one whose close is not confirmed", Holding{state: closed}, false},
		{"one that is closed", Holding{known: 1, state: closed | done | doubtful}, true},
	}
	for _, tt := range tests {
		if got := tt.h.Forgettable(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestARefusedHolderSpendsWhatItHas(t *testing.T) {
	for _, code := range []Code{Fenced, Closed, Purged, Frozen} {
		h, terms := Holding{known: 2}, terms()
		c, ok := h.Need(noon, 3, 3, &terms)
		if !ok {
			t.Fatal("nothing to ask for")
		}
		h.Learn(&c, Result{Code: code, Granted: 2})
		if got := h.Spend(noon, 3, &terms); got != Forbidden {
			t.Errorf("%v: more than it has: %v", code, got)
		}
		if got := h.Spend(noon, 2, &terms); got != Admitted {
			t.Errorf("%v: what it has: %v", code, got)
		}
		if c, ok := h.Need(noon, 3, 3, &terms); ok {
			t.Errorf("%v: asks on: %+v", code, c)
		}
	}
	h, terms := Holding{}, terms()
	c, _ := h.Need(noon, 1, 1, &terms)
	h.Learn(&c, Result{Code: Early})
	if got := h.Spend(noon, 1, &terms); got != Short {
		t.Errorf("early: %v, want short", got)
	}
}

func TestAnswersToAnEarlierLifeMeanNothing(t *testing.T) {
	h, terms := NewHolding(4), terms()
	c, _ := h.Need(noon, 1, 1, &terms)
	if c.Holder.Life != 4 {
		t.Fatalf("asks as %+v", c.Holder)
	}
	c.Holder.Life = 3
	h.Learn(&c, Result{Code: OK, Granted: 5})
	h.Lost(&c)
	if h.Balance() != 0 {
		t.Errorf("balance %d", h.Balance())
	}
	if _, ok := h.Need(noon, 1, 1, &terms); ok {
		t.Error("asks again")
	}
}

// TestAMovedHoldingGoesOn moves a holding at every moment of a random history.
func TestAMovedHoldingGoesOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms := terms()
		terms.Limit = rapid.Uint64Range(1, 40).Draw(t, "limit")
		var p Pool
		h, now, used := Holding{}, noon, uint64(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			cost := rapid.Uint64Range(0, 3).Draw(t, "cost")
			if h.Spend(now, cost, &terms) == Admitted {
				used += cost
			}
			c, ok := h.Need(now, cost, cost, &terms)
			if rapid.Bool().Draw(t, "give back") {
				c, ok = h.Recall(&terms)
			}
			if ok {
				c.Holder.Tenure = 1
				r := p.Apply(1, &c)
				if rapid.Bool().Draw(t, "learned") {
					h.Learn(&c, r)
				}
			}
			now = now.Add(time.Second)
			if rapid.Bool().Draw(t, "moved") {
				moved, rest, err := DecodeHolding(h.AppendTo(nil, now), now)
				if err != nil || len(rest) > 0 || moved.Balance() != h.Balance() || moved.Used() != h.Used() {
					t.Fatalf("%+v moved as %+v, %v", h, moved, err)
				}
				h = moved
			}
		}
		c := h.Close(&terms)
		c.Holder.Tenure = 1
		p.Apply(1, &c)
		if h.Used() != used || p.Outstanding() != used || used > terms.Limit {
			t.Fatalf("spent %d, known as %d, outstanding %d of %d", used, h.Used(), p.Outstanding(), terms.Limit)
		}
	})
}

func TestGrantsGrowWithSteadyUseAndShrinkAfterAPause(t *testing.T) {
	terms := Terms{Version: 1, Limit: 1 << 40, GrantMax: 1 << 30, Horizon: time.Second, Idle: time.Minute}
	const perSecond = 100
	h, now := Holding{known: 1 << 40, free: 1 << 40}, noon
	use := func(span time.Duration) uint64 {
		for range int(perSecond * span.Seconds()) {
			h.Spend(now, 1, &terms)
			now = now.Add(time.Second / perSecond)
		}
		return h.size(now, &terms)
	}
	within := func(what string, got uint64, low, high float64) {
		t.Helper()
		if seconds := float64(got) / perSecond; seconds < low || seconds > high {
			t.Errorf("%s: a grant is for %.2f s, want %v to %v", what, seconds, low, high)
		}
	}
	within("after a second", use(time.Second), 0.4, 1.1)
	within("after four", use(3*time.Second), 1.5, 4.1)
	within("after a minute", use(56*time.Second), 7.5, 8.1)
	now = now.Add(3 * time.Second)
	within("after a short gap", use(30*time.Second), 7.5, 8.1)
	now = now.Add(2 * time.Minute)
	within("after a pause", use(2*time.Second), 0.5, 2.5)
	within("and after a minute again", use(time.Minute), 7.5, 8.1)
}

func TestAContentHoldingNeedsNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := newDesk(t)
		d.terms.Limit = rapid.Uint64Range(1, 100_000).Draw(rt, "limit")
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0:
				d.h.Amend()
			case 1:
				d.h.Grow(d.p.Free())
			default:
				cost := rapid.Uint64Range(0, 20).Draw(rt, "cost")
				if d.h.Spend(d.now, cost, &d.terms) == Short {
					d.propose(d.h.Need(d.now, cost, cost, &d.terms))
				}
			}
			before := d.h
			was := d.h.Content(&d.terms)
			c, asks := d.h.Need(d.now, 0, 0, &d.terms)
			if was && asks {
				rt.Fatalf("%+v is content, and asks %+v", before, c)
			}
			if rapid.Bool().Draw(rt, "answered") {
				d.propose(c, asks)
			} else if asks {
				d.h.Lost(&c)
			}
			d.now = d.now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(rt, "wait")))
		}
	})
}
