package table_test

import (
	"bytes"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

func concurrency(tb testing.TB, domain, name string, amount uint64, lifetime time.Duration) *limiter.Limit {
	tb.Helper()
	return limit(tb, limiter.Spec{Domain: domain, Name: name, Kind: limiter.KindConcurrency, Amount: amount, Period: lifetime})
}

// holder returns the hash of an id; 0 is nobody.
func holder(id int) limiter.Key {
	if id == 0 {
		return limiter.Key{}
	}
	return hasher.Key(fmt.Appendf(nil, "holder %d", id))
}

// slotCall is one charge of a concurrency limit.
type slotCall struct {
	op       limiter.Op
	key, id  int
	cost     uint64
	lifetime time.Duration
}

func (c slotCall) charge(l *limiter.Limit) limiter.Charge {
	k := hasher.Key(fmt.Appendf(nil, "slots of %s %d", l.Name, c.key))
	return limiter.Charge{Key: k, Limit: l, Partition: limiter.Partition(c.key % 2), Op: c.op, Cost: c.cost}
}

// do decides c alone.
func (c slotCall) do(t *table.Table, now limiter.Instant, l *limiter.Limit) limiter.Decision {
	var call limiter.Call
	call.Holder, call.Lifetime = holder(c.id), c.lifetime
	call.Add(c.charge(l))
	t.Decide(now, &call)
	return call.Charges()[0].Decision
}

// A slotModel is what a concurrency limit promises for one key: a list of who
// holds what until when.
type slotModel struct{ slots []modelSlot }

type modelSlot struct {
	id     int
	expiry limiter.Instant
	weight uint64
}

func (m *slotModel) held(now limiter.Instant) (units uint64, last limiter.Instant) {
	kept := m.slots[:0]
	for _, s := range m.slots {
		if s.expiry > now {
			kept = append(kept, s)
			units += s.weight
			last = max(last, s.expiry)
		}
	}
	m.slots = kept
	return units, last
}

func (m *slotModel) find(id int) int {
	for i, s := range m.slots {
		if id != 0 && s.id == id {
			return i
		}
	}
	return -1
}

// fits returns the earliest moment at which cost fits.
func (m *slotModel) fits(now limiter.Instant, amount, cost uint64) limiter.Instant {
	best := limiter.Instant(math.MaxInt64)
	for _, at := range append([]modelSlot{{expiry: now}}, m.slots...) {
		left := uint64(0)
		for _, s := range m.slots {
			if s.expiry > at.expiry {
				left += s.weight
			}
		}
		if left+cost <= amount {
			best = min(best, at.expiry)
		}
	}
	return best
}

func (m *slotModel) giveBack(units uint64) {
	for units > 0 {
		first := -1
		for i, s := range m.slots {
			if s.id == 0 && (first < 0 || s.expiry < m.slots[first].expiry) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		n := min(units, m.slots[first].weight)
		units -= n
		if m.slots[first].weight -= n; m.slots[first].weight == 0 {
			m.slots = append(m.slots[:first], m.slots[first+1:]...)
		}
	}
}

func (m *slotModel) apply(now limiter.Instant, l *limiter.Limit, c slotCall) limiter.Decision {
	units, _ := m.held(now)
	d := limiter.Decision{Verdict: limiter.Allowed}
	i := m.find(c.id)
	lifetime := l.Period
	if c.id != 0 && c.lifetime != 0 {
		lifetime = min(lifetime, c.lifetime)
	}
	switch {
	case c.op == limiter.OpGiveBack:
		m.giveBack(c.cost)
	case c.op == limiter.OpRelease:
		if i >= 0 {
			m.slots = append(m.slots[:i], m.slots[i+1:]...)
		}
	case c.op == limiter.OpRenew && i < 0:
		d.Verdict = limiter.Denied
	case i >= 0:
		if c.op != limiter.OpPeek && (c.cost > 0 || c.op == limiter.OpRenew) {
			m.slots[i].expiry = now.Add(lifetime)
		}
	default:
		cost := max(c.cost, 1)
		switch {
		case cost > l.Amount:
			d.Verdict, d.RetryAfter = limiter.Denied, limiter.Never
		case units+cost > l.Amount:
			d.Verdict, d.RetryAfter = limiter.Denied, m.fits(now, l.Amount, cost).Sub(now)
		case c.op == limiter.OpCharge && c.cost > 0:
			m.slots = append(m.slots, modelSlot{c.id, now.Add(lifetime), c.cost})
		}
	}
	units, last := m.held(now)
	d.Remaining = l.Amount - min(units, l.Amount)
	if units > 0 {
		d.ResetAfter = last.Sub(now)
	}
	return d
}

// slotRun is one run of the state machine: two limits, one of which has other
// limits beside it, and a few keys and ids of each.
type slotRun struct {
	tb     testing.TB
	table  *table.Table
	models map[string]*slotModel
	limits []*limiter.Limit
	now    limiter.Instant
}

func (r *slotRun) model(l *limiter.Limit, key int) *slotModel {
	k := fmt.Sprint(l.Name, key)
	if r.models[k] == nil {
		r.models[k] = new(slotModel)
	}
	return r.models[k]
}

func drawSlotLimits(tb testing.TB, t *rapid.T) []*limiter.Limit {
	tb.Helper()
	amount := rapid.Uint64Range(0, 9)
	return []*limiter.Limit{
		concurrency(tb, "a", "exports", amount.Draw(t, "exports"), 10*time.Second),
		concurrency(tb, "b", "jobs", amount.Draw(t, "jobs"), time.Duration(rapid.Int64Range(1, 30).Draw(t, "lifetime"))*time.Second),
	}
}

func drawSlotCall(t *rapid.T) slotCall {
	ops := []limiter.Op{limiter.OpCharge, limiter.OpCharge, limiter.OpCharge, limiter.OpPeek, limiter.OpGiveBack, limiter.OpRenew, limiter.OpRelease}
	return slotCall{
		op: rapid.SampledFrom(ops).Draw(t, "op"), key: rapid.IntRange(0, 3).Draw(t, "key"),
		id: rapid.IntRange(0, 6).Draw(t, "id"), cost: rapid.Uint64Range(0, 4).Draw(t, "cost"),
		lifetime: time.Duration(rapid.Int64Range(0, 9).Draw(t, "lifetime")) * time.Second,
	}
}

func (r *slotRun) actions() map[string]func(*rapid.T) {
	which := func(t *rapid.T) *limiter.Limit { return r.limits[rapid.IntRange(0, 1).Draw(t, "limit")] }
	return map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			if err := r.table.Check(); err != nil {
				t.Fatal(err)
			}
		},
		"call": func(t *rapid.T) {
			l, c := which(t), drawSlotCall(t)
			if got, want := c.do(r.table, r.now, l), r.model(l, c.key).apply(r.now, l, c); got != want {
				t.Fatalf("%+v of %s: %+v, want %+v", c, l.Name, got, want)
			}
		},
		"denied together": func(t *rapid.T) {
			c := drawSlotCall(t)
			c.op = limiter.OpCharge
			var call limiter.Call
			call.Mode, call.Holder, call.Lifetime = limiter.AllOrNothing, holder(c.id), c.lifetime
			for _, l := range r.limits {
				call.Add(c.charge(l))
			}
			ban := window(r.tb, "a", "ban", 0, time.Second)
			call.Add(limiter.Charge{Key: hasher.Key([]byte("ban")), Limit: ban, Cost: 1, Partition: 5})
			r.table.Decide(r.now, &call)
		},
		"allowed together": func(t *rapid.T) {
			c := drawSlotCall(t)
			c.op, c.cost = limiter.OpCharge, max(c.cost, 1)
			var call limiter.Call
			call.Mode, call.Holder, call.Lifetime = limiter.AllOrNothing, holder(c.id), c.lifetime
			for _, l := range r.limits {
				call.Add(c.charge(l))
			}
			r.table.Decide(r.now, &call)
			var before [2][]modelSlot
			want := limiter.Allowed
			for i, l := range r.limits {
				m := r.model(l, c.key)
				before[i] = append(before[i], m.slots...)
				if m.apply(r.now, l, c).Verdict == limiter.Denied {
					want = limiter.Denied
				}
			}
			if got, _ := call.Verdict(); got != want {
				t.Fatalf("%+v together: %v, want %v", c, got, want)
			}
			for i, l := range r.limits {
				if want == limiter.Denied {
					r.model(l, c.key).slots = before[i]
				}
			}
		},
		"wait": func(t *rapid.T) {
			r.now = r.now.Add(time.Duration(rapid.Int64Range(0, int64(12*time.Second)).Draw(t, "wait")))
		},
		"sweep": func(*rapid.T) { r.table.Sweep(r.now, 20_000) },
		"crowd": func(t *rapid.T) { // grow the arrays around the slots
			l := rate(r.tb, "a", "crowd", 5, time.Second)
			l.Ref = 0
			for i := range rapid.IntRange(1, 300).Draw(t, "keys") {
				var call limiter.Call
				call.Add(limiter.Charge{Key: hasher.Key(fmt.Append(nil, r.now, i)), Limit: l, Cost: 1, Partition: limiter.Partition(i % 2)})
				r.table.Decide(r.now, &call)
			}
		},
		"reset": func(t *rapid.T) {
			l, key := which(t), rapid.IntRange(0, 3).Draw(t, "key")
			ch := slotCall{key: key}.charge(l)
			r.table.Reset(r.now, ch.Partition, ch.Key)
			r.model(l, key).slots = nil
		},
		"install": func(t *rapid.T) {
			r.limits = drawSlotLimits(r.tb, t)
			r.table.Install(r.limits)
			for range rapid.IntRange(0, 5).Draw(t, "calls") {
				l, c := which(t), drawSlotCall(t)
				if got, want := c.do(r.table, r.now, l), r.model(l, c.key).apply(r.now, l, c); got != want {
					t.Fatalf("while converting, %+v of %s: %+v, want %+v", c, l.Name, got, want)
				}
			}
			for !r.table.ConvertStep(r.now, 3000) {
			}
		},
		"restart": func(t *rapid.T) {
			var file bytes.Buffer
			if err := r.table.Save(&file, r.now); err != nil {
				t.Fatal(err)
			}
			next := newTable(r.tb, table.Config{})
			if _, err := next.Load(&file, r.now); err != nil {
				t.Fatal(err)
			}
			next.Install(r.limits)
			for !next.ConvertStep(r.now, 1<<20) {
			}
			r.table.Clear()
			r.table = next
			for _, m := range r.models { // no slot outlives the lifetime that its limit has now
				for i := range m.slots {
					m.slots[i].expiry = min(m.slots[i].expiry, r.now.Add(r.saved(m)))
				}
			}
		},
	}
}

// saved returns the lifetime of the limit that m is of.
func (r *slotRun) saved(m *slotModel) time.Duration {
	for k, v := range r.models {
		if v == m && k[0] == 'e' {
			return r.limits[0].Period
		}
	}
	return r.limits[1].Period
}

func TestSlotsAgreeWithAListOfHolders(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &slotRun{tb: t, table: newTable(t, table.Config{}), models: map[string]*slotModel{}, limits: drawSlotLimits(t, rt), now: start}
		defer func() { r.table.Clear() }()
		r.table.Install(r.limits)
		rt.Repeat(r.actions())
	})
}

func TestSlotsAreEntriesWithinTheBoundsOfTheTable(t *testing.T) {
	const amount = 1000
	for _, tt := range []struct {
		name string
		cfg  table.Config
		id   func(i int) int
		want int64 // slots that found room
	}{
		{"holders, by entries", table.Config{EntriesMax: 100, OnFull: table.FullDeny}, func(i int) int { return i + 1 }, 99},
		{"anonymous, by entries", table.Config{EntriesMax: 100, OnFull: table.FullDeny}, func(int) int { return 0 }, 99},
		{"anonymous, by bytes", table.Config{BytesMax: 8192, OnFull: table.FullDeny}, func(int) int { return 0 }, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab := newTable(t, tt.cfg)
			defer tab.Clear()
			l := concurrency(t, "a", "exports", amount, time.Minute)
			tab.Install([]*limiter.Limit{l})
			admitted, full := int64(0), 0
			for i := range amount {
				d := slotCall{key: 1, id: tt.id(i), cost: 1}.do(tab, start, l)
				if d.Verdict == limiter.Allowed {
					admitted++
				} else if d.Degraded == limiter.TableFull {
					full++
				}
			}
			if err := tab.Check(); err != nil {
				t.Fatal(err)
			}
			st := tab.Stats()
			if tt.want >= 0 && admitted != tt.want || full == 0 || st.Entries != admitted+1 || st.Bytes > st.BytesMax || st.Domains[0].Entries != st.Entries {
				t.Errorf("%d admitted, %d found no room, %+v", admitted, full, st)
			}
			// An hour later nothing is left, of the memory neither.
			for range 5 {
				tab.Sweep(start.Add(time.Hour), 1<<20)
			}
			if st := tab.Stats(); st.Entries != 0 || st.Bytes != 0 {
				t.Errorf("after an hour: %+v", st)
			}
		})
	}
}

func TestSlotsFillAtMostTheShareOfTheirDomain(t *testing.T) {
	tab := newTable(t, table.Config{EntriesMax: 100, OnFull: table.FullDeny})
	defer tab.Clear()
	l := concurrency(t, "a", "exports", 1000, time.Minute)
	tab.Install([]*limiter.Limit{l, rate(t, "b", "other", 1, time.Second)})
	for i := range 200 {
		d := slotCall{key: 1, id: i % 2 * (i + 1), cost: 1}.do(tab, start, l)
		if (d.Degraded == limiter.ShareFull) != (i >= 49) {
			t.Fatalf("slot %d: %+v", i, d)
		}
	}
	if err := tab.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestSlotsAllocateNothingInSteadyState(t *testing.T) {
	tab := newTable(t, table.Config{})
	defer tab.Clear()
	l := concurrency(t, "a", "exports", 100, time.Minute)
	tab.Install([]*limiter.Limit{l})
	var call limiter.Call
	key := hasher.Key([]byte("one"))
	now, i := start, uint64(0)
	step := func(op limiter.Op, h limiter.Key) {
		call.Reset()
		call.Holder = h
		call.Add(limiter.Charge{Key: key, Limit: l, Partition: 7, Op: op, Cost: 1})
		tab.Decide(now, &call)
		if call.Charges()[0].Decision.Verdict != limiter.Allowed {
			t.Fatal("denied")
		}
	}
	round := func() {
		i++
		now = now.Add(time.Second)
		h := limiter.Key{Hi: i, Lo: i}
		step(limiter.OpCharge, h)
		step(limiter.OpRenew, h)
		step(limiter.OpCharge, limiter.Key{})
		step(limiter.OpPeek, limiter.Key{})
		step(limiter.OpRelease, h)
		step(limiter.OpGiveBack, limiter.Key{})
		step(limiter.OpCharge, limiter.Key{Hi: i, Lo: i + 1<<40}) // and is lost
	}
	for range 1000 {
		round()
	}
	if n := testing.AllocsPerRun(1000, round); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConcurrentHoldersNeverHoldMoreThanTheAmount(t *testing.T) {
	const amount, clients, rounds = 7, 16, 400
	tab := newTable(t, table.Config{})
	defer tab.Clear()
	l := concurrency(t, "a", "exports", amount, time.Hour)
	tab.Install([]*limiter.Limit{l})
	var running, most, over atomic.Int64
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for i := range rounds {
				id := client*rounds + i + 1
				if client%2 == 0 {
					id = 0
				}
				c := slotCall{key: 1, id: id, cost: 1}
				if c.do(tab, start, l).Verdict == limiter.Denied {
					continue
				}
				n := running.Add(1)
				if n > amount {
					over.Add(1)
				}
				if old := most.Load(); n > old {
					most.CompareAndSwap(old, n)
				}
				running.Add(-1)
				if c.op = limiter.OpRelease; id == 0 {
					c.op = limiter.OpGiveBack
				}
				c.do(tab, start, l)
			}
		})
	}
	wg.Wait()
	if over.Load() > 0 || most.Load() == 0 {
		t.Errorf("%d times more than %d held slots; at most %d", over.Load(), amount, most.Load())
	}
	if d := (slotCall{key: 1, op: limiter.OpPeek, cost: amount}).do(tab, start, l); d.Remaining != amount {
		t.Errorf("after all: %+v", d)
	}
	if err := tab.Check(); err != nil {
		t.Fatal(err)
	}
}
