package holdings_test

import (
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
)

const modelKeys = 3

// A rush is a node whose ledger answers late, twice, out of order or not at all,
// and that crashes.
type rush struct {
	*node
	tb     testing.TB
	limit  *limiter.Limit
	tenure uint64
	calls  []*limiter.Call
	// admitted are the units of allowed charges less those given back, by key and
	// day. peak is the highest amount that was in force at any time of it.
	admitted map[[2]int64]uint64
	peak     map[[2]int64]uint64
	version  uint64
}

func (r *rush) day() int64 { return int64(r.now) / int64(24*time.Hour) }

// count notes what the calls that are decided since came to.
func (r *rush) count() {
	waiting := r.calls[:0]
	for _, c := range r.calls {
		ch := &c.Charges()[0]
		if ch.Decision.Verdict == limiter.Undecided {
			waiting = append(waiting, c)
			continue
		}
		// Was is the day that was charged, which need not be the present one.
		if ch.Decision.Verdict == limiter.Allowed && ch.Was != 0 {
			r.admitted[[2]int64{int64(ch.Key.Lo), int64(ch.Was-1) / 86_400}] += ch.Cost
		}
	}
	r.calls = waiting
}

func (r *rush) check(t *rapid.T) {
	r.count()
	for at, units := range r.admitted {
		if units > r.peak[at] {
			t.Fatalf("key %d, day %d: %d units admitted, the amount was %d at most", at[0], at[1], units, r.peak[at])
		}
	}
}

// note has the amount in force count for today and tomorrow.
func (r *rush) note() {
	for key := range int64(modelKeys) {
		for _, day := range []int64{r.day(), r.day() + 1} {
			r.peak[[2]int64{key, day}] = max(r.peak[[2]int64{key, day}], r.limit.Amount)
		}
	}
}

func (r *rush) install(amount uint64) {
	r.version++
	r.limit = limit(amount)
	r.quotas = []holdings.Quota{{Limit: r.limit, When: daily(r.tb)}}
	r.Install(r.version, r.quotas)
	r.note()
}

func (r *rush) ask(t *rapid.T, op limiter.Op) {
	c := r.call(op, rapid.Uint64Range(0, modelKeys-1).Draw(t, "key"), rapid.Uint64Range(1, 7).Draw(t, "cost"))
	r.Decide(r.now, c)
	r.calls = append(r.calls, c)
}

func (r *rush) actions() map[string]func(*rapid.T) {
	actions := map[string]func(*rapid.T){
		"":       r.check,
		"charge": func(t *rapid.T) { r.ask(t, limiter.OpCharge) },
		"again":  func(t *rapid.T) { r.ask(t, limiter.OpCharge) },
		"give back": func(t *rapid.T) {
			before := r.Stats().Refunded
			key, cost := rapid.Uint64Range(0, modelKeys-1).Draw(t, "key"), rapid.Uint64Range(1, 7).Draw(t, "cost")
			r.check(t)
			r.Decide(r.now, r.call(limiter.OpGiveBack, key, cost))
			r.admitted[[2]int64{int64(key), r.day()}] -= r.Stats().Refunded - before
		},
		"wait": func(t *rapid.T) {
			r.now = r.now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "wait")))
			r.note()
		},
		"next day": func(*rapid.T) {
			r.now = r.now.Add(24 * time.Hour)
			r.note()
		},
		"tend": func(*rapid.T) {
			for range 256 {
				r.Tend(r.now)
			}
		},
		"install": func(t *rapid.T) { r.install(rapid.Uint64Range(1, 20).Draw(t, "amount")) },
		"crash": func(*rapid.T) {
			r.count()
			r.calls = nil // nobody hears of them any more
			r.tenure++
			r.version++
			r.restart(r.tb, r.limit, func(c *holdings.Config) { c.Tenure = r.tenure })
			r.Install(r.version, r.quotas)
		},
	}
	maps.Copy(actions, r.ledger.faults())
	return actions
}

func TestNoHistoryAdmitsTooMuch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &rush{
			tb: t, node: newNode(t, limit(10), nil), tenure: 1, version: 1, limit: limit(10),
			admitted: map[[2]int64]uint64{}, peak: map[[2]int64]uint64{},
		}
		r.note()
		rt.Repeat(r.actions())
	})
}
