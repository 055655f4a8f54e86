package reservations_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
)

// A held reservation is what the model knows of one: its units, until when it is open,
// and what is charged or owed after it was settled.
type held struct {
	units, charged uint64
	deadline       limiter.Instant
	settled        bool
}

// TestReservationsAgreeWithASum: whatever is reserved, settled, repeated and left alone in
// any order, the quota has charged the estimates of those that are open or expired and
// the cost of the others, and never more than its amount.
func TestReservationsAgreeWithASum(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := newNodeOf(t, rapid.Bool().Draw(rt, "exact"))
		all := map[uint64]*held{}
		for range rapid.IntRange(10, 60).Draw(rt, "steps") {
			name, units := rapid.Uint64Range(1, 5).Draw(rt, "id"), rapid.SampledFrom([]uint64{20, 3, 12, 25}).Draw(rt, "units")
			r := all[name]
			switch rapid.SampledFrom([]string{"reserve", "settle", "settle", "extend", "wait"}).Draw(rt, "op") {
			case "reserve":
				c, o := n.reserve(name, units)
				switch {
				case r != nil && (o == hold.Again) != (units == r.units) || r != nil && o == hold.Done:
					rt.Fatalf("reserved again: outcome %d", o)
				case r == nil && o == hold.Done && verdict(c) == limiter.Allowed:
					all[name] = &held{units: units, deadline: n.now.Add(lifetime)}
				}
			case "settle":
				rows, late, o := n.settle(name, units)
				switch {
				case r == nil:
					if o != hold.Unknown {
						rt.Fatalf("settled what is not there: outcome %d", o)
					}
				case !r.settled:
					q := rows["quota"]
					if o != hold.Done || late != (n.now >= r.deadline) || q.Reserved != r.units || q.Cost != units {
						rt.Fatalf("settled: outcome %d, late %v, %+v", o, late, q)
					}
					r.settled, r.charged = true, r.units-q.Returned
					if units > r.units {
						r.charged = units - q.Lost
					}
				}
			case "extend":
				if _, o := n.Extend(n.now, id(name), lifetime); o == hold.Done {
					r.deadline = n.now.Add(lifetime)
				}
			case "wait":
				n.after(time.Duration(rapid.IntRange(0, 40).Draw(rt, "s")) * time.Second)
				n.Sweep(n.now)
			}
			n.check(rt, all)
		}
	})
}

// check compares what is left with the sum of all.
func (n *node) check(rt *rapid.T, all map[uint64]*held) {
	rt.Helper()
	var sum, running uint64
	for _, r := range all {
		if r.settled {
			sum += r.charged
			continue
		}
		sum += r.units
		if n.now < r.deadline {
			running++
		}
	}
	n.run()
	owed := n.today().Debt()
	if left := n.left(); sum-owed > quotaAmount || left[3] != quotaAmount-min(quotaAmount, sum) || left[2] != slotsAmount-running {
		rt.Fatalf("%d charged, %d owed, %d run: %v are left", sum, owed, running, left)
	}
}
