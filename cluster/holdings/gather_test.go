package holdings_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

func TestWhatNobodyWaitsForGathersUntilSomebodyDoes(t *testing.T) {
	var gathered []sent
	hurried := 0
	n := newNode(t, limit(1_000_000), nil)
	n.restart(t, limit(1_000_000), func(c *holdings.Config) {
		c.Gather = func(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
			gathered = append(gathered, sent{c, done})
			return nil
		}
		c.Hurry = func(k limiter.Key) {
			if k.Lo != 1 {
				t.Errorf("hurries for %+v", k)
			}
			hurried++
		}
	})
	if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Allowed || n.ledger.count != 1 {
		t.Fatalf("the first units are not asked for at once: %+v", d)
	}
	for len(gathered) == 0 { // until a grant runs low
		n.now = n.now.Add(time.Millisecond)
		n.ask(limiter.OpCharge, 1, 1)
	}
	if hurried > 0 {
		t.Error("hurries though nobody waits")
	}
	before := n.done
	waiting := n.call(limiter.OpCharge, 1, 1)
	for n.Decide(n.now, waiting) { // until it is spent
		waiting = n.call(limiter.OpCharge, 1, 1)
	}
	n.Decide(n.now, n.call(limiter.OpCharge, 1, 1)) // another waits
	if hurried != 1 || len(gathered) != 1 || n.ledger.waiting() != 0 {
		t.Errorf("%d times hurried, %d commands gather and %d others wait, want 1, 1 and 0", hurried, len(gathered), n.ledger.waiting())
	}
	s := gathered[0]
	s.done(&s.c, n.ledger.apply(s.c), nil)
	n.ledger.run()
	if d := waiting.Charges()[0].Decision; d.Verdict != limiter.Allowed || n.done != before+2 {
		t.Errorf("%+v, %d calls were finished, want 2", d, n.done-before)
	}
}

func TestExhaustedKeysAskTheLedgerForNothingAndAllocateNothing(t *testing.T) {
	const keys = 10_000
	n := newNode(t, limit(3), nil)
	for key := range uint64(keys) {
		n.ask(limiter.OpCharge, key, 3)
		n.ask(limiter.OpCharge, key, 1)
	}
	before := n.ledger.count
	c, key := n.call(limiter.OpCharge, 0, 1), uint64(0)
	if allocs := testing.AllocsPerRun(10*keys, func() {
		n.now = n.now.Add(100 * time.Microsecond)
		key++
		c.Charges()[0].Key.Lo = key % keys
		n.Prefetch(c.Charges()[0].Key)
		if !n.Decide(n.now, c) || c.Charges()[0].Decision.Verdict != limiter.Denied {
			t.Fatalf("%+v", c.Charges()[0].Decision)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	for range 256 {
		n.Tend(n.now)
	}
	if n.ledger.waiting() > 0 || n.ledger.count != before {
		t.Errorf("%d commands", n.ledger.waiting()+n.ledger.count-before)
	}
}
