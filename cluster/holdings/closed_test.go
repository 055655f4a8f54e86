package holdings_test

import (
	"sync"
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// tendAll has every shard looked at once, and the ledger do as answer says.
func (n *node) tendAll(answer func()) {
	for range 256 {
		n.Tend(n.now)
		answer()
	}
}

func TestACounterThatWasClosedWhileIdleIsServedAgain(t *testing.T) {
	for _, tt := range []struct {
		name  string
		close func(*ledger)
	}{
		{"the ledger knows", (*ledger).run},
		{"the ledger did not hear of it", (*ledger).lose},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, limit(1000), nil)
			lost := n.call(limiter.OpCharge, 1, 1)
			n.Decide(n.now, lost)
			n.ledger.lose() // may be granted yet: the counter is closed before it is forgotten
			n.ask(limiter.OpCharge, 1, 5)
			n.now = n.now.Add(11 * time.Minute)
			n.tendAll(func() { tt.close(n.ledger) })
			n.ask(limiter.OpPeek, 1, 0) // somebody asks before it is forgotten
			n.tendAll(n.ledger.run)
			if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Allowed || d.Remaining != 994 {
				t.Errorf("afterwards: %+v", d)
			}
			n.leave(t)
			if got := n.today(1).Outstanding(); got != 6 {
				t.Errorf("%d units are out for 6 charged", got)
			}
		})
	}
}

func TestUseThatNoRecordHasIsNotCredited(t *testing.T) {
	for _, tt := range []struct {
		name string
		undo func(*node)
	}{
		{"by the caller", func(n *node) {
			n.ask(limiter.OpCharge, 1, 20)
			n.ask(limiter.OpGiveBack, 1, 20)
		}},
		{"by a denial of another limit", func(n *node) {
			n.rest = limiter.Denied
			c := n.call(limiter.OpCharge, 1, 20)
			c.Mode = limiter.AllOrNothing
			c.Add(limiter.Charge{Key: limiter.Key{Lo: 2}, Limit: &limiter.Limit{}, Cost: 1})
			n.Decide(n.now, c)
			n.ledger.run()
			n.rest = limiter.Allowed
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := limit(10)
			l.Quota = &limiter.QuotaTerms{PostPaid: true, MaxDebt: 5}
			n := newNode(t, l, nil)
			n.ask(limiter.OpCharge, 1, 10)
			tt.undo(n)
			if d := n.ask(limiter.OpPeek, 1, 0); d.Remaining != 0 {
				t.Errorf("10 of 10 units are used, and %d remain", d.Remaining)
			}
		})
	}
}

func TestNoMarkIsReachedByUseThatIsNotKnown(t *testing.T) {
	l := limit(1000)
	l.Quota = &limiter.QuotaTerms{PostPaid: true, MaxDebt: 1000, Notify: [limiter.NotifyMax]uint8{50, 80, 100}}
	n := newNode(t, l, nil)
	c := n.call(limiter.OpCharge, 1, 1)
	n.Decide(n.now, c)
	n.ledger.lose()
	if got := n.Stats().Crossed; got != 0 {
		t.Errorf("%d marks are told of 1 unit of 1000", got)
	}
	n.ask(limiter.OpCharge, 1, 600)
	if got := n.Stats().Crossed; got != 1 {
		t.Errorf("%d marks are told of 601 units of 1000, want 1", got)
	}
}

func TestNoMarkIsPassedOverWhileTheLedgersTimeIsBehind(t *testing.T) {
	l := limit(1000)
	l.Quota = &limiter.QuotaTerms{Notify: [limiter.NotifyMax]uint8{50}}
	n := newNode(t, l, nil)
	now := n.ledger.now
	n.ledger.now = func() limiter.Instant { return n.now.Add(-24 * time.Hour) }
	if d := n.ask(limiter.OpCharge, 1, 1); d.Degraded != limiter.Unavailable {
		t.Fatalf("before the window opens: %+v", d)
	}
	n.ledger.now = now
	n.ask(limiter.OpCharge, 1, 500)
	if got := n.Stats().Crossed; got != 1 {
		t.Errorf("%d marks are told, want 1", got)
	}
}

func TestLeaveGoesOnAsLongAsTheLedgerTakesSomeOfIt(t *testing.T) {
	const room, keys = 8, 40
	leaving, asked := false, 0
	n := newNode(t, limit(1000), nil)
	n.restart(t, limit(1000), func(c *holdings.Config) {
		c.Submit = func(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
			if asked++; leaving && asked%(2*room) >= room {
				return errLost // its queue is full at times
			}
			return n.ledger.submit(c, done)
		}
	})
	for key := range uint64(keys) {
		n.ask(limiter.OpCharge, key, 20)
		n.ask(limiter.OpGiveBack, key, 5)
	}
	leaving, asked = true, -1
	n.leave(t)
	for key := range uint64(keys) {
		if got := n.today(key).Outstanding(); got != 15 {
			t.Fatalf("key %d: %d units are out for 15 charged", key, got)
		}
	}
}

// Doors hold a lock of their connection while they decide, and take it when a call is
// finished.
func TestACallIsNotFinishedByWhoDecides(t *testing.T) {
	n := newNode(t, limit(1000), nil)
	n.restart(t, limit(1000), func(c *holdings.Config) {
		c.Submit = func(quota.Command, func(*quota.Command, quota.Result, error)) error { return errLost }
	})
	var connection sync.Mutex
	finished := make(chan *limiter.Call)
	for range 3 {
		c := n.call(limiter.OpCharge, 1, 1)
		c.Done = func(c *limiter.Call) {
			connection.Lock()
			defer connection.Unlock()
			go func() { finished <- c }()
		}
		connection.Lock()
		done := n.Decide(n.now, c)
		connection.Unlock()
		if !done {
			c = <-finished
		}
		if d := c.Charges()[0].Decision; d.Degraded != limiter.Unavailable {
			t.Errorf("the ledger takes nothing in: %+v", d)
		}
	}
}
