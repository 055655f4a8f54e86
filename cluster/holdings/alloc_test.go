package holdings_test

import (
	"testing"

	"github.com/headgate/headgate/limiter"
)

func TestASpendFromWhatIsHeldAllocatesNothing(t *testing.T) {
	n := newNode(t, limit(1_000_000_000), nil)
	n.ask(limiter.OpCharge, 1, 1)
	for range 1000 { // grants grow
		n.now += 1_000_000
		n.ask(limiter.OpCharge, 1, 1000)
	}
	c := n.call(limiter.OpCharge, 1, 1)
	if allocs := testing.AllocsPerRun(100, func() {
		if !n.Decide(n.now, c) {
			t.Fatal("it had to wait")
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// BenchmarkSpend charges one of 100,000 counters that hold enough.
func BenchmarkSpend(b *testing.B) {
	n := newNode(b, limit(1_000_000_000), nil)
	const keys = 100_000
	for k := range uint64(keys) {
		n.ask(limiter.OpCharge, k, 1)
	}
	c := n.call(limiter.OpCharge, 0, 1)
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i = i*6364136223846793005 + 1442695040888963407
		c.Charges()[0].Key.Lo = i >> 33 % keys
		c.Charges()[0].Op = limiter.OpCharge
		n.Decide(n.now, c)
		if n.ledger.waiting() > 0 {
			b.StopTimer()
			n.ledger.run()
			b.StartTimer()
		}
	}
}
