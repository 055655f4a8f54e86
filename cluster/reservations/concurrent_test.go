package reservations_test

import (
	"context"
	"sync"
	"testing"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
)

// TestConcurrentReservationsAreMadeAndSettledOnce: many clients send each request of many
// calls several times at once, as those do that got no answer in time.
func TestConcurrentReservationsAreMadeAndSettledOnce(t *testing.T) {
	n := newNode(t)
	const calls, clients = 200, 8
	spec := n.window.Spec
	spec.Amount = 3 * calls
	if err := n.window.Init(spec); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := range uint64(calls) {
				name := i // there is room for 100 of them
				reserve := func() hold.Outcome {
					c := n.call(limiter.Charge{Limit: n.window, Cost: 3})
					_, o := n.Reserve(context.Background(), n.now, c, hold.Ask{ID: id(name), Content: id(3), Lifetime: lifetime}, func() []byte { return nil })
					if o == hold.Done && verdict(c) != limiter.Allowed {
						return hold.Full
					}
					return o
				}
				end := hold.End{ID: id(name), Content: id(1), Costs: func(*limiter.Limit, uint64) uint64 { return 1 }}
				switch o := reserve(); o {
				case hold.Done, hold.Again, hold.Busy, hold.Full:
				default:
					t.Errorf("reserved: outcome %d", o)
				}
				switch _, o := n.Settle(context.Background(), n.now, end, func(hold.Settlement) []byte { return nil }); o {
				case hold.Done, hold.Again, hold.Busy, hold.Unknown:
				default:
					t.Errorf("settled: outcome %d", o)
				}
			}
		})
	}
	wg.Wait()
	s := n.Stats()
	if s.Opened != s.Settled || s.Open != 0 || s.Opened != 100 {
		t.Errorf("%+v, want 100 made and settled", s)
	}
	if left := n.left()[1]; left != spec.Amount-s.Settled {
		t.Errorf("%d of the window are left after %d calls of 1 unit", left, s.Settled)
	}
}
