package table_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// The model is what a table should be: a map without bounds that forgets
// nothing, under the same algorithms.
type modelKey struct {
	p limiter.Partition
	k limiter.Key
}

type model struct {
	counters map[modelKey]limiter.Counter
	limits   map[limiter.LimitID]*limiter.Limit // in force
	of       map[modelKey]limiter.LimitID
	patience time.Duration // of the call being decided
}

func (m *model) apply(now limiter.Instant, ch *limiter.Charge, op limiter.Op) limiter.Decision {
	k := modelKey{ch.Partition, ch.Key}
	c := m.counters[k]
	d := m.charge(&c, now, ch, op)
	m.counters[k] = c
	m.of[k] = ch.Limit.ID
	return d
}

// charge is what the call's patience makes of a charge.
func (m *model) charge(c *limiter.Counter, now limiter.Instant, ch *limiter.Charge, op limiter.Op) (d limiter.Decision) {
	if ch.Limit.Kind != limiter.KindPace {
		return ch.Limit.Apply(c, now, op, ch.Cost)
	}
	ch.Limit.PaceTo(&d, c, now, limiter.Ask{Op: op, Cost: ch.Cost, Patience: m.patience})
	return d
}

// decide is Table.Decide by its documentation: all charges, or for a denied
// call in mode AllOrNothing none of them.
func (m *model) decide(now limiter.Instant, c *limiter.Call) (verdicts []limiter.Verdict) {
	m.patience = c.Patience
	atomic := c.Mode == limiter.AllOrNothing
	before := map[modelKey]limiter.Counter{}
	dead := false
	for i := range c.Charges() {
		ch := &c.Charges()[i]
		k := modelKey{ch.Partition, ch.Key}
		saved := m.counters[k]
		if _, ok := before[k]; !ok {
			before[k] = saved
		}
		op := ch.Op
		if dead && op == limiter.OpCharge {
			op = limiter.OpPeek
		}
		ch.Decision = m.apply(now, ch, op)
		denied := ch.Decision.Verdict == limiter.Denied
		if atomic && denied {
			m.counters[k] = saved
		}
		dead = dead || (atomic && denied && !ch.Limit.Shadow && !ch.Limit.AnyOf)
		verdicts = append(verdicts, ch.Decision.Verdict)
	}
	if v, _ := c.Verdict(); atomic && v == limiter.Denied {
		for k, c := range before {
			m.counters[k] = c
		}
	}
	return verdicts
}

func (m *model) install(now limiter.Instant, limits []*limiter.Limit) {
	for _, l := range limits {
		if l.Carried {
			continue // its counters' terms come with the requests
		}
		if old := m.limits[l.ID]; old != nil && old.Def != l.Def {
			for k, c := range m.counters {
				if m.of[k] == l.ID {
					m.counters[k] = limiter.Convert(c, old, l, now)
				}
			}
		}
		m.limits[l.ID] = l
	}
}

// ownLimits is how many of drawLimits' limits decide with terms of their own.
const ownLimits = 6

// drawLimits returns limits of fixed identity and drawn terms: ownLimits of
// them, then for each domain the one that stands for what requests carry.
func drawLimits(tb testing.TB, t *rapid.T) []*limiter.Limit {
	tb.Helper()
	amount := func(label string) uint64 { return rapid.Uint64Range(1, 12).Draw(t, label) }
	second, minute := time.Second, time.Minute
	specs := []limiter.Spec{
		{Domain: "a", Name: "rate", Kind: limiter.KindRate, Amount: amount("rate"), Period: second, Burst: amount("burst")},
		{Domain: "a", Name: "fixed", Kind: limiter.KindFixed, Amount: amount("fixed"), Period: minute, CountDenied: true},
		{Domain: "b", Name: "sliding", Kind: limiter.KindSliding, Amount: amount("sliding"), Period: second},
		{Domain: "b", Name: "shadow", Kind: limiter.KindRate, Amount: amount("shadow"), Period: 3 * second, Shadow: true, CountDenied: true},
		{Domain: "b", Name: "either", Kind: limiter.KindFixed, Amount: amount("either"), Period: minute, AnyOf: true},
		{Domain: "a", Name: "pace", Kind: limiter.KindPace, Amount: amount("pace"), Period: second, MaxWait: time.Duration(amount("max wait")) * second},
		{Domain: "a", Name: "carried", Kind: limiter.KindFixed, Period: second, Carried: true, CountDenied: rapid.Bool().Draw(t, "count denied")},
		{Domain: "b", Name: "carried", Kind: limiter.KindFixed, Period: second, Carried: true, PeekUsed: rapid.Bool().Draw(t, "peek used")},
	}
	limits := make([]*limiter.Limit, len(specs))
	for i, s := range specs {
		limits[i] = limit(tb, s)
	}
	return limits
}

// modelRun is one run of the state machine.
type modelRun struct {
	tb     testing.TB
	table  *table.Table
	model  model
	limits []*limiter.Limit
	before []*limiter.Limit // the policy before, which late requests were matched against
	now    limiter.Instant
	next   int // keys below were used
}

// limit returns the limit of key i: one of the policy in force, or one that a
// request carries, whose amount is another each time.
func (r *modelRun) limit(i int) *limiter.Limit {
	n := i % len(r.limits)
	if n < ownLimits {
		return r.limits[n]
	}
	stands := r.limits[n]
	if r.next%2 == 1 {
		stands = r.before[n]
	}
	return carried(r.tb, stands, uint64(1+(i+r.next)%12), time.Duration(1+i%3)*time.Minute)
}

// charge returns a charge of key i, which belongs to one of three partitions
// and to one limit.
func (r *modelRun) charge(i int, op limiter.Op, cost uint64) limiter.Charge {
	key := limiter.NewKeyHasher([16]byte{7}).Key(fmt.Append(nil, i))
	if i%11 == 0 && i < 2000 {
		key.Lo = -uint64(1 + i) // at the end of every array, and over to its beginning
	}
	return limiter.Charge{
		Key:       key,
		Limit:     r.limit(i),
		Partition: limiter.Partition(i / 5 % 3 * 1000),
		Op:        op,
		Cost:      cost,
	}
}

func (r *modelRun) decide(t *rapid.T, mode limiter.Mode, charges []limiter.Charge) {
	var got, want limiter.Call
	got.Mode, want.Mode = mode, mode
	got.Patience = time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "patience"))
	want.Patience = got.Patience
	for _, ch := range charges {
		got.Add(ch)
		want.Add(ch)
	}
	r.table.Decide(r.now, &got)
	verdicts := r.model.decide(r.now, &want)
	gotVerdict, _ := got.Verdict()
	for i, ch := range got.Charges() {
		if ch.Decision.Verdict != verdicts[i] {
			t.Fatalf("mode %d charge %d of %s: %v, want %v", mode, i, ch.Limit.Name, ch.Decision.Verdict, verdicts[i])
		}
		if d := want.Charges()[i].Decision; (mode == limiter.ChargeAll || gotVerdict == limiter.Allowed) && ch.Decision != d {
			t.Fatalf("mode %d charge %d of %s: %+v, want %+v", mode, i, ch.Limit.Name, ch.Decision, d)
		}
	}
}

// same fails unless the table's counters are the model's.
func (r *modelRun) same(t *rapid.T) {
	if err := r.table.Check(); err != nil {
		t.Fatal(err)
	}
	for k, want := range r.model.counters {
		e, ok := r.table.Lookup(k.p, k.k)
		if (!ok || e.Counter.Due <= r.now) && want.Due <= r.now {
			continue
		}
		if e.Counter != want {
			t.Fatalf("key %s: %+v, want %+v (found %v, now %d)", k.k.Fingerprint(), e.Counter, want, ok, r.now)
		}
	}
}

func (r *modelRun) actions() map[string]func(*rapid.T) {
	anyKey := func(t *rapid.T) int { return rapid.IntRange(0, r.next).Draw(t, "key") }
	return map[string]func(*rapid.T){
		"": r.same,
		"decide": func(t *rapid.T) {
			var charges []limiter.Charge
			for range rapid.IntRange(1, 6).Draw(t, "charges") {
				op := rapid.SampledFrom([]limiter.Op{limiter.OpCharge, limiter.OpCharge, limiter.OpPeek, limiter.OpGiveBack}).Draw(t, "op")
				charges = append(charges, r.charge(anyKey(t), op, rapid.Uint64Range(1, 14).Draw(t, "cost")))
			}
			mode := rapid.SampledFrom([]limiter.Mode{limiter.ChargeAll, limiter.AllOrNothing}).Draw(t, "mode")
			if mode == limiter.AllOrNothing { // what is undone after a give-back of the same key is not the model's business
				charges = distinct(charges)
			}
			r.decide(t, mode, charges)
		},
		"flood": func(t *rapid.T) {
			for range rapid.IntRange(1, 1500).Draw(t, "keys") {
				r.next++
				r.decide(t, limiter.ChargeAll, []limiter.Charge{r.charge(r.next, limiter.OpCharge, 1)})
			}
		},
		"wait": func(t *rapid.T) {
			r.now = r.now.Add(time.Duration(rapid.Int64Range(0, int64(70*time.Second)).Draw(t, "wait")))
		},
		"blink": func(t *rapid.T) {
			r.now = r.now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "blink")))
		},
		"sweep": func(t *rapid.T) {
			r.table.Sweep(r.now, rapid.Int64Range(1, 50_000).Draw(t, "slots"))
		},
		"reset": func(t *rapid.T) {
			ch := r.charge(anyKey(t), limiter.OpCharge, 1)
			k := modelKey{ch.Partition, ch.Key}
			if got, want := r.table.Reset(r.now, ch.Partition, ch.Key), r.model.counters[k].Due > r.now; got != want {
				t.Fatalf("Reset = %v, want %v", got, want)
			}
			delete(r.model.counters, k)
		},
		"install": func(t *rapid.T) {
			r.before, r.limits = r.limits, drawLimits(r.tb, t)
			r.table.Install(r.limits)
			r.model.install(r.now, r.limits)
			for range rapid.IntRange(0, 20).Draw(t, "hits") {
				r.decide(t, limiter.ChargeAll, []limiter.Charge{r.charge(anyKey(t), limiter.OpCharge, 1)})
			}
			for !r.table.ConvertStep(r.now, 3000) {
				for range rapid.IntRange(0, 200).Draw(t, "keys") {
					r.next++
					r.decide(t, limiter.ChargeAll, []limiter.Charge{r.charge(r.next, limiter.OpCharge, 1)})
				}
			}
		},
		"restart": func(t *rapid.T) {
			var file bytes.Buffer
			if err := r.table.Save(&file, r.now); err != nil {
				t.Fatal(err)
			}
			next := newTable(r.tb, table.Config{})
			first := rapid.Bool().Draw(t, "install first")
			if first {
				next.Install(r.limits)
			}
			if _, err := next.Load(&file, r.now); err != nil {
				t.Fatal(err)
			}
			if !first {
				next.Install(r.limits)
			}
			r.table.Clear()
			r.table, r.before = next, r.limits
		},
	}
}

func distinct(charges []limiter.Charge) (out []limiter.Charge) {
	seen := map[limiter.Key]bool{}
	for _, ch := range charges {
		if !seen[ch.Key] && ch.Op == limiter.OpCharge {
			out = append(out, ch)
		}
		seen[ch.Key] = true
	}
	return out
}

func newTable(tb testing.TB, cfg table.Config) *table.Table {
	tb.Helper()
	t, err := table.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func TestTableDecidesAsAMapThatForgetsNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &modelRun{
			tb:    t,
			table: newTable(t, table.Config{}),
			now:   start,
			model: model{
				counters: map[modelKey]limiter.Counter{},
				limits:   map[limiter.LimitID]*limiter.Limit{},
				of:       map[modelKey]limiter.LimitID{},
			},
			limits: drawLimits(t, rt),
		}
		defer func() { r.table.Clear() }()
		r.before = r.limits
		r.table.Install(r.limits)
		r.model.install(r.now, r.limits)
		rt.Repeat(r.actions())
	})
}
