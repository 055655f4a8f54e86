package reservations_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/reservations"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
)

func verdict(c *limiter.Call) limiter.Verdict { v, _ := c.Verdict(); return v }

// must reserves and has the test end if that is denied.
func (n *node) must(t *testing.T, name, units uint64) {
	t.Helper()
	if c, o := n.reserve(name, units); o != hold.Done || verdict(c) != limiter.Allowed {
		t.Fatalf("reservation %d of %d units: outcome %d, %v", name, units, o, verdict(c))
	}
}

func (n *node) is(t *testing.T, when string, rate, window, slots, quota uint64) {
	t.Helper()
	if got, want := n.left(), [4]uint64{rate, window, slots, quota}; got != want {
		t.Errorf("%s: of rate, window, slots and quota %v are left, want %v", when, got, want)
	}
}

func TestAReservationChargesAllLimitsAndIsCorrected(t *testing.T) {
	n := newNode(t)
	n.is(t, "before", 60, 50, 2, 40)
	n.must(t, 1, 30)
	n.is(t, "reserved", 30, 20, 1, 10)
	rows, late, o := n.settle(1, 12)
	if o != hold.Done || late {
		t.Fatalf("outcome %d, late %v", o, late)
	}
	n.is(t, "settled", 48, 38, 2, 28)
	for _, name := range []string{"rate", "window", "quota"} {
		if want := (hold.Settled{Reserved: 30, Cost: 12, Returned: 18}); rows[name] != want {
			t.Errorf("%s: %+v, want %+v", name, rows[name], want)
		}
	}
	if want := (hold.Settled{Reserved: 1, Cost: 1}); rows["slots"] != want {
		t.Errorf("slots: %+v, want %+v", rows["slots"], want)
	}
}

func TestADeniedReservationLeavesNothing(t *testing.T) {
	n := newNode(t)
	for _, tt := range []struct {
		name  string
		units uint64
		which int // of rate, window, slots, quota
	}{
		{"by the quota", 41, 3}, {"by the window", 51, 1}, {"by the rate", 61, 0},
	} {
		c, o := n.reserve(1, tt.units)
		if o != hold.Done || verdict(c) != limiter.Denied || c.Charges()[tt.which].Decision.Verdict != limiter.Denied {
			t.Errorf("%s: outcome %d, %v", tt.name, o, verdict(c))
		}
		n.is(t, tt.name, 60, 50, 2, 40)
		if _, _, o := n.settle(1, 1); o != hold.Unknown {
			t.Errorf("%s: settled with outcome %d", tt.name, o)
		}
	}
	n.must(t, 2, 1)
	n.must(t, 3, 1)
	if c, _ := n.reserve(4, 1); verdict(c) != limiter.Denied {
		t.Error("a third call passed where two may run")
	}
	n.is(t, "denied by the slots", 58, 48, 0, 38)
	n.settle(2, 1)
	n.must(t, 4, 1) // a denial is not remembered
}

func TestTheSameReservationIsMadeOnce(t *testing.T) {
	n := newNode(t)
	n.must(t, 1, 10)
	for range 3 {
		if _, o := n.reserve(1, 10); o != hold.Again {
			t.Errorf("again: outcome %d", o)
		}
	}
	if _, o := n.reserve(1, 11); o != hold.Differs {
		t.Errorf("with other units: outcome %d", o)
	}
	n.is(t, "reserved once", 50, 40, 1, 30)
	n.settle(1, 4)
	for range 3 {
		if _, _, o := n.settle(1, 4); o != hold.Again {
			t.Errorf("settled again: outcome %d", o)
		}
	}
	if _, _, o := n.settle(1, 5); o != hold.Differs {
		t.Errorf("settled with another cost: outcome %d", o)
	}
	if _, o := n.reserve(1, 10); o != hold.Again {
		t.Errorf("reserved after it was settled: outcome %d", o)
	}
	n.is(t, "settled once", 56, 46, 2, 36)
}

func TestWhatCostsMoreIsChargedAndThenOwed(t *testing.T) {
	n := newNode(t)
	n.must(t, 1, 30)
	rows, _, _ := n.settle(1, 35)
	n.is(t, "it fits", 25, 15, 2, 5)
	for _, name := range []string{"rate", "window", "quota"} {
		if want := (hold.Settled{Reserved: 30, Cost: 35}); rows[name] != want {
			t.Errorf("%s: %+v, want %+v", name, rows[name], want)
		}
	}
	n.must(t, 2, 5)
	rows, _, _ = n.settle(2, 45)
	n.is(t, "it does not", 0, 0, 2, 0)
	for name, want := range map[string]hold.Settled{
		"rate":   {Reserved: 5, Cost: 45, Lost: 20},
		"window": {Reserved: 5, Cost: 45, Lost: 30},
		"quota":  {Reserved: 5, Cost: 45, Owed: 5, Lost: 35},
	} {
		if rows[name] != want {
			t.Errorf("%s: %+v, want %+v", name, rows[name], want)
		}
	}
	n.run()
	if p := n.today(); p.Debt() != 5 || p.Outstanding() != quotaAmount {
		t.Errorf("the pool has a debt of %d and %d units out", p.Debt(), p.Outstanding())
	}
	if s := n.Stats(); s.Short != 1 || s.Settled != 2 {
		t.Errorf("%+v", s)
	}
}

func TestASettlementThatIsRefusedChangesNothing(t *testing.T) {
	n := newNode(t)
	n.must(t, 1, 30)
	n.refuses = func(legs []hold.Leg, units []string) bool { return len(legs) == 4 && len(units) == 0 }
	for range 2 {
		if _, _, o := n.settle(1, 12); o != hold.Refused {
			t.Errorf("outcome %d", o)
		}
	}
	if n.is(t, "refused", 30, 20, 1, 10); n.Stats().Open != 1 {
		t.Errorf("%+v", n.Stats())
	}
	n.refuses = nil
	if rows, late, o := n.settle(1, 12); o != hold.Done || late || rows["quota"].Returned != 18 {
		t.Errorf("outcome %d, late %v, %+v", o, late, rows)
	}
	n.refuses = func([]hold.Leg, []string) bool { return true }
	if _, _, o := n.settle(1, 12); o != hold.Again {
		t.Errorf("again: outcome %d", o)
	}
	if _, _, o := n.settle(1, 13); o != hold.Differs {
		t.Errorf("with another cost: outcome %d", o)
	}
	n.is(t, "settled", 48, 38, 2, 28)
}

func TestAReservationThatIsNotSettledStaysCharged(t *testing.T) {
	n := newNode(t)
	n.must(t, 1, 30)
	n.after(lifetime)
	n.is(t, "expired, and a minute has passed", 60, 50, 2, 10)
	if n.Sweep(n.now); n.Stats().Expired != 1 || n.Stats().Open != 0 {
		t.Errorf("%+v", n.Stats())
	}
	if _, o := n.Extend(n.now, id(1), lifetime); o != hold.Over {
		t.Errorf("extended: outcome %d", o)
	}
	n.after(hold.RememberFor)
	if _, _, o := n.settle(1, 12); o != hold.Unknown {
		t.Errorf("ten minutes later: outcome %d", o)
	}
	if n.Stats().Records != 0 {
		t.Errorf("%+v", n.Stats())
	}
}

func TestALateSettlement(t *testing.T) {
	for _, tt := range []struct {
		ignore    bool
		cost      uint64
		quotaLeft uint64
		want      hold.Settled
	}{
		{false, 12, 28, hold.Settled{Reserved: 30, Cost: 12, Returned: 18}},
		{false, 33, 7, hold.Settled{Reserved: 30, Cost: 33}},
		{true, 12, 10, hold.Settled{Reserved: 30, Cost: 12}},
		{true, 33, 10, hold.Settled{Reserved: 30, Cost: 33, Lost: 3}},
	} {
		n := newNode(t, func(c *reservations.Config) { c.IgnoreLate = tt.ignore })
		n.must(t, 1, 30)
		n.after(lifetime + 5*time.Minute)
		rows, late, o := n.settle(1, tt.cost)
		if o != hold.Done || !late || rows["quota"] != tt.want {
			t.Errorf("ignore %v, cost %d: outcome %d, late %v, %+v", tt.ignore, tt.cost, o, late, rows["quota"])
		}
		if left := n.left()[3]; left != tt.quotaLeft {
			t.Errorf("ignore %v, cost %d: %d of the quota are left, want %d", tt.ignore, tt.cost, left, tt.quotaLeft)
		}
		if n.Stats().Late != 1 {
			t.Errorf("%+v", n.Stats())
		}
	}
}

func TestAnExtendedReservationKeepsItsSlotAndItsCredit(t *testing.T) {
	n := newNode(t)
	n.must(t, 1, 30)
	for range 20 {
		n.after(lifetime - time.Second)
		e, o := n.Extend(n.now, id(1), lifetime)
		if o != hold.Done || e.Lifetime != lifetime || len(e.Lost) > 0 {
			t.Fatalf("outcome %d, %+v", o, e)
		}
		for range 256 { // counters that nobody asks for are forgotten
			n.router.Quotas().Tend(n.now)
			n.run()
		}
	}
	if left := n.left(); left[2] != 1 {
		t.Errorf("%d slots are left while the call runs", left[2])
	}
	if e, o := n.Extend(n.now, id(1), 2*time.Hour); o != hold.TooLong || e.Bound != time.Hour {
		t.Errorf("longer than its slots live: outcome %d, %+v", o, e)
	}
	if rows, _, _ := n.settle(1, 12); rows["quota"].Returned != 18 || rows["window"].Returned != 0 {
		t.Errorf("%+v", rows)
	}
	n.is(t, "settled", 60, 50, 2, 28)
}

func TestUnitsOfAnotherWindowDoNotComeBack(t *testing.T) {
	n := newNode(t)
	n.now = noon.Add(12*time.Hour - 30*time.Second)
	n.must(t, 1, 30)
	n.after(31 * time.Second)
	rows, _, _ := n.settle(1, 0)
	for name, returned := range map[string]uint64{"rate": 0, "window": 0, "quota": 30} {
		if rows[name].Returned != returned {
			t.Errorf("%s: %d came back, want %d", name, rows[name].Returned, returned)
		}
	}
	n.is(t, "the next day", 60, 50, 2, 40)
}

func TestAnAnswerThatComesTooLateIsUndone(t *testing.T) {
	n := newNode(t)
	n.silent = true
	c, o := n.reserve(1, 30)
	if o != hold.Done || verdict(c) != limiter.Denied || c.Charges()[3].Decision.Degraded != limiter.Unavailable {
		t.Fatalf("outcome %d, %v", o, c.Charges()[3].Decision)
	}
	if _, o := n.reserve(1, 30); o != hold.Busy {
		t.Errorf("while it is being decided: outcome %d", o)
	}
	n.run()
	n.silent = false
	n.is(t, "undone", 60, 50, 2, 40)
	if s := n.Stats(); s.Undone != 1 || s.Records != 0 {
		t.Errorf("%+v", s)
	}
	n.must(t, 1, 30)
}

func TestASettlementGoesOnWhenNobodyWaits(t *testing.T) {
	n := newNode(t)
	n.must(t, 1, 30)
	n.silent = true
	if _, _, o := n.settle(1, 36); o != hold.Late {
		t.Fatalf("outcome %d", o)
	}
	if _, _, o := n.settle(1, 36); o != hold.Busy {
		t.Errorf("while it goes on: outcome %d", o)
	}
	n.silent = false
	n.run()
	if _, _, o := n.settle(1, 36); o != hold.Again {
		t.Errorf("when it is done: outcome %d", o)
	}
	n.is(t, "settled", 24, 14, 2, 4)
}

func TestNoRoomIsADenial(t *testing.T) {
	n := newNode(t, func(c *reservations.Config) { c.Max = 1 })
	n.must(t, 1, 1)
	c, o := n.reserve(2, 1)
	if o != hold.Done || verdict(c) != limiter.Denied || c.Charges()[0].Decision.Degraded != limiter.ReservationsFull {
		t.Errorf("outcome %d, %+v", o, c.Charges()[0].Decision)
	}
	n.is(t, "one reserved", 59, 49, 1, 39)
}

func TestAConfigSaysWhatIsWrong(t *testing.T) {
	_, err := reservations.New(reservations.Config{Max: -1})
	want := "reservations: Decider: must be given\nreservations: Now: must be given\nreservations: Max=-1: must be in [1, 16777216]"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
