package holdings_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// freeze stops grants from windows that have begun, as a restored backup does.
func (n *node) freeze() {
	begun := int64(n.now) / int64(time.Second)
	n.ledger.group.Receive(&quota.Command{Op: quota.OpFreeze, Window: quota.Window{Start: begun, End: begun + 1}})
}

// untilTheEnd fails unless d denies until ends.
func untilTheEnd(t *testing.T, what string, d limiter.Decision, ends time.Duration) {
	t.Helper()
	if want := (limiter.Decision{Verdict: limiter.Denied, RetryAfter: ends, ResetAfter: ends}); d != want {
		t.Errorf("%s: %+v, want %+v", what, d, want)
	}
}

func TestAFrozenPeriodIsDeniedUntilItEndsAndAsksTheLedgerForNothing(t *testing.T) {
	const left = 12 * time.Hour
	for mode, l := range map[string]*limiter.Limit{"escrow": limit(100), "exact": exactLimit(100)} {
		t.Run(mode, func(t *testing.T) {
			n := newNode(t, l, nil)
			n.freeze()
			for _, op := range []limiter.Op{limiter.OpPeek, limiter.OpCharge, limiter.OpPeek} {
				untilTheEnd(t, "at first", n.ask(op, 1, 1), left)
			}
			before := n.ledger.count
			for _, op := range []limiter.Op{limiter.OpCharge, limiter.OpPeek} {
				c := n.call(op, 1, 1)
				if allocs := testing.AllocsPerRun(1000, func() {
					if !n.Decide(n.now, c) {
						t.Fatal("it waits")
					}
				}); allocs != 0 {
					t.Errorf("%v allocations", allocs)
				}
				untilTheEnd(t, "from then on", c.Charges()[0].Decision, left)
			}
			n.Doubt(0, 0xff)
			n.Grow(limiter.Key{Lo: 1}, quota.Window{Start: int64(start)/int64(time.Second) - 43_200}, 50)
			n.Install(2, n.quotas)
			untilTheEnd(t, "whatever is free", n.ask(limiter.OpCharge, 1, 1), left)
			if d := n.ask(limiter.OpCharge, 1, 101); d.Verdict != limiter.Denied || d.RetryAfter != limiter.Never {
				t.Errorf("more than the amount: %+v", d)
			}
			for range 256 {
				n.Tend(n.now)
			}
			if got := n.ledger.count + n.ledger.waiting() - before; got != 0 {
				t.Errorf("%d commands", got)
			}
			if st := n.Stats(); st.Parked != 0 || st.Failed != 0 {
				t.Errorf("%+v", st)
			}
			n.now = n.now.Add(left)
			if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Allowed || d.Degraded != limiter.NotDegraded {
				t.Errorf("the next period: %+v", d)
			}
		})
	}
}

func TestThatAPeriodIsFrozenIsSaidOfItsGroupAlone(t *testing.T) {
	n := newNode(t, exactLimit(100), nil)
	n.freeze()
	n.ask(limiter.OpCharge, 1, 1)
	before := n.ledger.count
	untilTheEnd(t, "another key of the group", n.ask(limiter.OpCharge, 2, 1), 12*time.Hour)
	if n.ledger.count != before {
		t.Error("it was asked for")
	}
	c := n.call(limiter.OpCharge, 1, 1)
	c.Charges()[0].Key.Hi = 1 << 61
	if n.Decide(n.now, c) || n.ledger.waiting() != 1 {
		t.Errorf("a key of another group is not asked for: %+v", c.Charges()[0].Decision)
	}
	n.ledger.run()
}

func TestOfAFrozenQuotaThatRollsEachSubWindowAsksOnce(t *testing.T) {
	n := newNode(t, limit(100), nil)
	window := n.rolls(t, 100)
	n.freeze()
	for day := range 4 { // the amount is for three in a row, and the one before counts
		for range 3 {
			ends := time.Duration(window(n.now).End)*time.Second - time.Duration(n.now)
			untilTheEnd(t, "a sub-window", n.ask(limiter.OpCharge, 1, 1), ends)
		}
		if n.ledger.count != day+1 {
			t.Errorf("%d commands by day %d", n.ledger.count, day)
		}
		n.now = n.now.Add(24 * time.Hour)
	}
	if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Allowed {
		t.Errorf("after its length: %+v", d)
	}
}

func TestACallWithAnIDThatIsFrozenMayHavePassedBefore(t *testing.T) {
	want := limiter.Decision{Verdict: limiter.Denied, Degraded: limiter.Unavailable, RetryAfter: 12 * time.Hour, ResetAfter: 12 * time.Hour}
	for name, costs := range map[string][]uint64{"one quota": {1}, "several": {1, 2}} {
		n := newNode(t, exactLimit(100), nil)
		for range 2 { // before the freeze, and the same again
			var c *limiter.Call
			for range 2 {
				c = n.call(limiter.OpCharge, 1, costs...)
				c.Mode, c.Request = limiter.AllOrNothing, limiter.Key{Lo: 7}
				n.Decide(n.now, c)
				n.ledger.run()
			}
			if d := c.Charges()[0].Decision; n.ledger.group.Frozen(quota.Window{}) && d != want {
				t.Errorf("%s: %+v, want %+v", name, d, want)
			} else if v, _ := c.Verdict(); !n.ledger.group.Frozen(quota.Window{}) && v != limiter.Allowed {
				t.Errorf("%s before: %+v", name, d)
			}
			n.freeze()
		}
	}
}

func TestPostPaidUseOfAFrozenPeriodIsOwed(t *testing.T) {
	l := limit(100)
	l.Quota = &limiter.QuotaTerms{PostPaid: true, MaxDebt: 100}
	n := newNode(t, l, nil)
	n.freeze()
	for range 3 {
		for _, op := range []limiter.Op{limiter.OpPeek, limiter.OpCharge} {
			if d := n.ask(op, 1, 2); d.Verdict != limiter.Allowed || d.Degraded != limiter.NotDegraded {
				t.Errorf("op %d: %+v", op, d)
			}
		}
	}
	if st := n.Stats(); st.Owed != 6 || st.Parked != 0 {
		t.Errorf("%+v", st)
	}
}
