package holdings_test

import (
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// A ledgerRush is a node of an exact quota whose ledger answers late, twice, out of
// order or not at all, and that crashes.
type ledgerRush struct {
	*node
	tb      testing.TB
	limit   *limiter.Limit
	version uint64
	calls   []asked
	epoch   uint64 // ids of one are not used in another: it is shorter than they last
	began   limiter.Instant
	// admitted are the units of calls that were told that they pass, by key, day and
	// id, less what they were given back since; calls without an id add up.
	admitted map[exactPlace]uint64
	back     map[exactPlace]uint64 // given back, by id
	peak     map[[2]int64]uint64
}

type exactPlace struct {
	key, day int64
	id       uint64
}

type asked struct {
	call *limiter.Call
	at   exactPlace
}

func (r *ledgerRush) day() int64 { return int64(r.now) / int64(24*time.Hour) }

func (r *ledgerRush) count(t *rapid.T) {
	waiting := r.calls[:0]
	for _, a := range r.calls {
		ch := &a.call.Charges()[0]
		switch {
		case a.call.Reused:
			if a.at.id == 0 {
				t.Fatalf("a call without an id has one that was used: %+v", a.at)
			}
		case ch.Decision.Verdict == limiter.Undecided:
			waiting = append(waiting, a)
		case ch.Decision.Verdict == limiter.Allowed && a.at.id == 0:
			r.admitted[a.at] += ch.Cost
		case ch.Decision.Verdict == limiter.Allowed:
			r.admitted[a.at] = ch.Cost
		}
	}
	r.calls = waiting
}

// check holds what callers know to the amount, and to what the ledger has.
func (r *ledgerRush) check(t *rapid.T) {
	r.count(t)
	sums := map[[2]int64]uint64{}
	for at, units := range r.admitted {
		sums[[2]int64{at.key, at.day}] += units - min(units, r.back[at])
	}
	for at, units := range sums {
		if units > r.peak[at] {
			t.Fatalf("key %d, day %d: %d units admitted, the amount was %d at most", at[0], at[1], units, r.peak[at])
		}
		p := r.ledger.pool(limiter.Key{Lo: uint64(at[0])}, quota.Window{Start: at[1] * 86_400})
		if p.Exact.Charged < units {
			t.Fatalf("key %d, day %d: %d units admitted, and %d charged", at[0], at[1], units, p.Exact.Charged)
		}
	}
}

func (r *ledgerRush) note() {
	for key := range int64(modelKeys) {
		for _, day := range []int64{r.day(), r.day() + 1} {
			at := [2]int64{key, day}
			r.peak[at] = max(r.peak[at], r.limit.Amount)
		}
	}
}

func (r *ledgerRush) install(amount uint64) {
	r.version++
	r.limit = exactLimit(amount)
	r.quotas = []holdings.Quota{{Limit: r.limit, When: daily(r.tb)}}
	r.Install(r.version, r.quotas)
	r.note()
}

// ask makes a call. Calls of one id have one cost.
func (r *ledgerRush) ask(t *rapid.T, op limiter.Op, ids uint64) {
	r.check(t)
	key, id := rapid.Uint64Range(0, modelKeys-1).Draw(t, "key"), rapid.Uint64Range(0, ids).Draw(t, "id")
	cost := 1 + (key+id)%3
	if id == 0 {
		cost = rapid.Uint64Range(1, 7).Draw(t, "cost")
	}
	c := r.call(op, key, cost)
	c.Deadline = r.now.Add(10 * time.Second)
	at := exactPlace{key: int64(key), day: r.day()}
	if id != 0 {
		at.id = r.epoch<<8 | id
		under(at.id, c)
	}
	if op == limiter.OpGiveBack {
		if id != 0 {
			r.back[at] = cost
		}
		r.Decide(r.now, c)
		return
	}
	r.Decide(r.now, c)
	r.calls = append(r.calls, asked{c, at})
}

func (r *ledgerRush) pass(d time.Duration) {
	r.now = r.now.Add(d)
	r.epoch++
	r.began = r.now
	r.note()
}

func (r *ledgerRush) actions() map[string]func(*rapid.T) {
	actions := map[string]func(*rapid.T){
		"":               r.check,
		"charge":         func(t *rapid.T) { r.ask(t, limiter.OpCharge, 0) },
		"charge with id": func(t *rapid.T) { r.ask(t, limiter.OpCharge, 3) },
		"and again":      func(t *rapid.T) { r.ask(t, limiter.OpCharge, 3) },
		"give back":      func(t *rapid.T) { r.ask(t, limiter.OpGiveBack, 3) },
		"wait": func(t *rapid.T) {
			r.now = r.now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "wait")))
			r.note()
			if r.now.Sub(r.began) > 5*time.Minute {
				r.pass(0)
			}
		},
		"later":    func(*rapid.T) { r.pass(11 * time.Minute) },
		"next day": func(*rapid.T) { r.pass(24 * time.Hour) },
		"install":  func(t *rapid.T) { r.install(rapid.Uint64Range(1, 20).Draw(t, "amount")) },
		"crash": func(t *rapid.T) {
			r.count(t)
			r.calls = nil // nobody hears of them any more
			r.version++
			r.restart(r.tb, r.limit, func(c *holdings.Config) { c.Tenure = r.version })
			r.Install(r.version, r.quotas)
		},
	}
	maps.Copy(actions, r.ledger.faults())
	actions["answer some more"] = actions["answer"]
	return actions
}

// TestNoHistoryOfAnExactQuotaAdmitsTooMuchOrForgets: callers know of at most the
// amount, and what they know of is charged.
func TestNoHistoryOfAnExactQuotaAdmitsTooMuchOrForgets(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &ledgerRush{
			tb: t, node: newNode(t, exactLimit(10), nil), version: 1, limit: exactLimit(10),
			admitted: map[exactPlace]uint64{}, back: map[exactPlace]uint64{}, peak: map[[2]int64]uint64{},
		}
		r.pass(0)
		rt.Repeat(r.actions())
	})
}
