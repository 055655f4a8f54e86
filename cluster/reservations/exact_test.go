package reservations_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
)

func TestAnExactQuotaIsHeldAndSettledByTheLedger(t *testing.T) {
	for _, tt := range []struct {
		name string
		cost uint64
		left uint64
		want hold.Settled
	}{
		{"below the estimate", 12, 28, hold.Settled{Reserved: 30, Cost: 12, Returned: 18}},
		{"as estimated", 30, 10, hold.Settled{Reserved: 30, Cost: 30}},
		{"nothing", 0, 40, hold.Settled{Reserved: 30, Returned: 30}},
		{"above it, and it fits", 37, 3, hold.Settled{Reserved: 30, Cost: 37}},
		{"beyond the amount", 43, 0, hold.Settled{Reserved: 30, Cost: 43, Owed: 3}},
		{"beyond the largest debt", 50, 0, hold.Settled{Reserved: 30, Cost: 50, Owed: 5, Lost: 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNodeOf(t, true)
			n.must(t, 1, 30)
			if held := len(n.asked); held != 1 {
				t.Fatalf("the ledger knows %d requests, want 1", held)
			}
			rows, late, o := n.settle(1, tt.cost)
			if o != hold.Done || late || rows["quota"] != tt.want {
				t.Errorf("outcome %d, late %v, %+v, want %+v", o, late, rows["quota"], tt.want)
			}
			if left := n.left()[3]; left != tt.left {
				t.Errorf("%d are left, want %d", left, tt.left)
			}
			if _, _, o := n.settle(1, tt.cost); o != hold.Again {
				t.Errorf("again: outcome %d", o)
			}
		})
	}
}

func TestAnExactQuotaThatIsDeniedOrLateLeavesNothing(t *testing.T) {
	n := newNodeOf(t, true)
	for range 2 { // the same id may ask again
		if c, o := n.reserve(1, 41); o != hold.Done || c.Charges()[3].Decision.Verdict != limiter.Denied {
			t.Errorf("beyond the quota: outcome %d, %+v", o, c.Charges()[3].Decision)
		}
	}
	n.must(t, 8, 1)
	n.must(t, 9, 1)
	for range 2 {
		if c, _ := n.reserve(2, 5); verdict(c) != limiter.Denied || c.Charges()[3].Decision.Verdict != limiter.Allowed {
			t.Errorf("beyond the slots: %+v", c.Charges()[3].Decision)
		}
		n.is(t, "denied by the slots", 58, 48, 0, 38)
	}
	n.settle(8, 1)
	n.must(t, 2, 5)
	n.settle(9, 1)
	n.silent = true
	if c, o := n.reserve(3, 7); o != hold.Done || verdict(c) != limiter.Denied {
		t.Errorf("no answer: outcome %d, %v", o, verdict(c))
	}
	n.run()
	n.silent = false
	n.is(t, "undone", 53, 43, 1, 33)
}

func TestAnExactQuotaIsCreditedLongAfter(t *testing.T) {
	n := newNodeOf(t, true)
	n.must(t, 1, 30)
	for range 30 {
		n.after(50 * time.Second)
		if _, o := n.Extend(n.now, id(1), lifetime); o != hold.Done {
			t.Fatalf("extended: outcome %d", o)
		}
		n.run()
	}
	n.after(lifetime + 5*time.Minute)
	if rows, late, _ := n.settle(1, 12); !late || rows["quota"].Returned != 18 {
		t.Errorf("late %v, %+v", late, rows["quota"])
	}
	n.is(t, "settled", 60, 50, 2, 28)
}

// TestALedgerThatForgotAHoldLeavesItCharged: of what it does not know nothing comes back.
func TestALedgerThatForgotAHoldLeavesItCharged(t *testing.T) {
	n := newNodeOf(t, true)
	n.must(t, 1, 10)
	n.must(t, 2, 10)
	clear(n.asked)
	if rows, _, _ := n.settle(1, 4); rows["quota"] != (hold.Settled{Reserved: 10, Cost: 4}) {
		t.Errorf("%+v", rows["quota"])
	}
	if rows, _, _ := n.settle(2, 12); rows["quota"] != (hold.Settled{Reserved: 10, Cost: 12, Lost: 2}) {
		t.Errorf("%+v", rows["quota"])
	}
	if left := n.left()[3]; left != 20 {
		t.Errorf("%d are left, want 20", left)
	}
}
