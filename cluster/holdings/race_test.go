package holdings_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// TestNoUnitsAreFetchedAfterLeave: a counter that held nothing was not closed, and a node
// that has given everything back ends without asking whether it has something again.
func TestNoUnitsAreFetchedAfterLeave(t *testing.T) {
	n := newNode(t, limit(1000), nil)
	for range 3 {
		n.ask(limiter.OpCharge, 1, 5)
	}
	n.now = n.now.Add(2 * time.Minute)
	n.tendAll(n.ledger.run) // it has a counter, and no units
	out := n.today(1).Outstanding()
	n.leave(t)
	if got := n.today(1).Outstanding(); got != out || out != 15 {
		t.Fatalf("%d units are out, %d before", got, out)
	}
	c := n.call(limiter.OpCharge, 1, 1)
	if done := n.Decide(n.now, c); !done || c.Charges()[0].Decision.Degraded != limiter.Unavailable {
		t.Errorf("done %v: %+v", done, c.Charges()[0].Decision)
	}
	n.ledger.run()
	if got := n.today(1).Outstanding(); got != out {
		t.Errorf("%d units are out, %d before", got, out)
	}
}

// TestACallWaitsForACounterThatIsBeingClosed: an idle counter is closed before it is
// forgotten, and somebody may ask for it in that moment.
func TestACallWaitsForACounterThatIsBeingClosed(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(n *node) // of the closing
		want limiter.Degraded
	}{
		{"the ledger knows", func(n *node) { n.ledger.run() }, limiter.NotDegraded},
		{"the ledger does not hear of it", func(n *node) { n.ledger.lose() }, limiter.Unavailable},
		{"the answer is late", func(n *node) {
			n.now = n.now.Add(time.Second)
			n.ledger.run()
		}, limiter.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, limit(100), nil)
			n.ask(limiter.OpCharge, 1, 1) // all that it was granted
			n.now = n.now.Add(11 * time.Minute)
			n.tendAll(func() {})
			if n.ledger.waiting() != 1 {
				t.Fatalf("%d commands wait", n.ledger.waiting())
			}
			calls := []*limiter.Call{n.call(limiter.OpCharge, 1, 2), n.call(limiter.OpCharge, 1, 3)}
			for _, c := range calls {
				c.Deadline = n.now.Add(15 * time.Millisecond)
				if n.Decide(n.now, c) {
					t.Fatalf("decided at once: %+v", c.Charges()[0].Decision)
				}
			}
			tt.end(n)
			charged := uint64(1)
			for i, c := range calls {
				if d := c.Charges()[0].Decision; d.Degraded != tt.want || (d.Verdict == limiter.Allowed) != (tt.want == limiter.NotDegraded) {
					t.Errorf("call %d: %+v", i, d)
				}
				if c.Charges()[0].Decision.Verdict == limiter.Allowed {
					charged += c.Charges()[0].Cost
				}
			}
			if st := n.Stats(); st.Parked != 0 || st.Spent != charged || n.done != 3 {
				t.Errorf("%+v, %d calls are finished", st, n.done)
			}
			n.now = n.now.Add(time.Minute)
			n.tendAll(n.ledger.run)
			if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Allowed {
				t.Errorf("later: %+v", d)
			}
			n.leave(t)
			if got := n.today(1).Outstanding(); got != charged+1 {
				t.Errorf("%d units are out for %d charged", got, charged+1)
			}
		})
	}
}

// TestACallThatComesWhileACommandIsHandedOverIsHurried: what was asked ahead of need is handed
// over without a lock, so a call may come to wait for it just before, and others may take the
// hurry that it asks for.
func TestACallThatComesWhileACommandIsHandedOverIsHurried(t *testing.T) {
	n := newNode(t, limit(10_000), nil)
	var handed, hurried int
	var came *limiter.Call
	n.restart(t, limit(10_000), func(c *holdings.Config) {
		c.Gather = func(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
			if came == nil {
				defer func() { handed = hurried }()
				came = n.call(limiter.OpCharge, 1, 500)
				if n.Decide(n.now, came) {
					t.Error("decided without units")
				}
			}
			return n.ledger.submit(c, done)
		}
		c.Hurry = func(limiter.Key) { hurried++ }
	})
	for came == nil { // until it asks ahead
		n.ask(limiter.OpCharge, 1, 1)
		n.now = n.now.Add(time.Millisecond)
	}
	if hurried == handed {
		t.Errorf("hurried %d times, all before the command was handed over", hurried)
	}
}

// TestWhatAnIdleCounterGaveBackIsNotFetchedAgain: its last use was of twice in a moment.
func TestWhatAnIdleCounterGaveBackIsNotFetchedAgain(t *testing.T) {
	n := newNode(t, limit(1000), nil)
	for range 3 {
		n.ask(limiter.OpCharge, 1, 5)
	}
	for minute := range 8 {
		n.now = n.now.Add(time.Minute)
		before := n.ledger.count
		n.tendAll(n.ledger.run)
		if got := n.ledger.count - before; minute > 0 && got > 0 {
			t.Errorf("%d commands after %d minutes", got, minute+1)
		}
	}
	if got := n.today(1).Outstanding(); got != 15 {
		t.Errorf("%d units are out for 15 charged", got)
	}
}
