package reservations_test

import (
	"context"
	"testing"
	"time"

	"github.com/headgate/headgate/cluster"
	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/cluster/reservations"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/limiter/quota/calendar"
	"github.com/headgate/headgate/limiter/table"
)

// noon is the middle of a day and the begin of a minute.
const noon = limiter.Instant(1_800_000_000-1_800_000_000%86_400+43_200) * limiter.Instant(time.Second)

// A node has a real table, real holdings and a ledger that answers when it is told to.
type node struct {
	*reservations.Reservations
	router cluster.Router
	now    limiter.Instant
	pools  map[int64]*quota.Pool // by the start of the window
	asked  map[limiter.Key]*quota.Request
	exact  bool // the quota is
	queue  []func()
	silent bool // the ledger does not answer by itself
	// refuses says which settlements make no sense; nil: none.
	refuses func(legs []hold.Leg, units []string) bool

	rate, window, slots, quota *limiter.Limit
}

const (
	rateAmount, windowAmount, slotsAmount, quotaAmount = 60, 50, 2, 40
	lifetime                                           = time.Minute
)

func newNode(tb testing.TB, change ...func(*reservations.Config)) *node {
	tb.Helper()
	return newNodeOf(tb, false, change...)
}

// newNodeOf is newNode, with an exact quota or not.
func newNodeOf(tb testing.TB, exact bool, change ...func(*reservations.Config)) *node {
	tb.Helper()
	n := &node{now: noon, pools: map[int64]*quota.Pool{}, asked: map[limiter.Key]*quota.Request{}, exact: exact}
	n.quota = &limiter.Limit{Spec: limiter.Spec{
		Name: "quota", Kind: limiter.KindQuota, ID: limiter.LimitID{4}, Def: 4, Amount: quotaAmount, Quota: &limiter.QuotaTerms{MaxDebt: 5, Exact: exact},
	}}
	made := func(s limiter.Spec) *limiter.Limit {
		l, err := limiter.NewLimit(s)
		if err != nil {
			tb.Fatal(err)
		}
		return l
	}
	n.rate = made(limiter.Spec{Name: "rate", Kind: limiter.KindRate, ID: limiter.LimitID{1}, Def: 1, Amount: rateAmount, Period: time.Minute})
	n.window = made(limiter.Spec{Name: "window", Kind: limiter.KindFixed, ID: limiter.LimitID{2}, Def: 2, Amount: windowAmount, Period: time.Minute})
	n.slots = made(limiter.Spec{Name: "slots", Kind: limiter.KindConcurrency, ID: limiter.LimitID{3}, Def: 3, Amount: slotsAmount, Period: time.Hour})
	var err error
	if n.router.Table, err = table.New(table.Config{}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(n.router.Table.Clear)
	n.router.Table.Install([]*limiter.Limit{n.rate, n.window, n.slots, n.quota})
	n.serve(tb)
	cfg := reservations.Config{Decider: &n.router, Now: func() limiter.Instant { return n.now }, Max: 100}
	for _, f := range change {
		f(&cfg)
	}
	if n.Reservations, err = reservations.New(cfg); err != nil {
		tb.Fatal(err)
	}
	return n
}

// serve gives the node holdings of its quota.
func (n *node) serve(tb testing.TB) {
	tb.Helper()
	quotas, err := holdings.New(holdings.Config{
		Submit: func(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
			n.queue = append(n.queue, func() { done(&c, n.apply(&c), nil) })
			return nil
		},
		Rest:   func(now limiter.Instant, c *limiter.Call) { n.router.Table.Decide(now, c) },
		Now:    func() limiter.Instant { return n.now },
		Tenure: 1,
	})
	if err != nil {
		tb.Fatal(err)
	}
	daily, err := calendar.New(limiter.Schedule{Unit: limiter.PerDay}, time.UTC)
	if err != nil {
		tb.Fatal(err)
	}
	n.router.Serve(quotas)
	quotas.Install(1, []holdings.Quota{{Limit: n.quota, When: daily}})
}

// apply is what the ledger does with a command.
func (n *node) apply(c *quota.Command) quota.Result {
	at := int64(n.now) / int64(time.Millisecond)
	switch c.Op {
	case quota.OpSpend, quota.OpHold, quota.OpSettle, quota.OpExtend:
		q := n.asked[c.Request]
		if q == nil {
			q = new(quota.Request)
		}
		r := n.pool(c.Window.Start).Decide(at, c, q)
		if q.Op != 0 {
			n.asked[c.Request] = q
		}
		return r
	default:
		return n.pool(c.Window.Start).Apply(at, c)
	}
}

func (n *node) pool(start int64) *quota.Pool {
	if n.pools[start] == nil {
		n.pools[start] = &quota.Pool{}
	}
	return n.pools[start]
}

// today is the pool of the day.
func (n *node) today() *quota.Pool {
	return n.pool(int64(n.now) / int64(time.Second) / 86_400 * 86_400)
}

// run has the ledger answer until nothing waits.
func (n *node) run() {
	for len(n.queue) > 0 {
		answer := n.queue[0]
		n.queue = n.queue[1:]
		answer()
	}
}

// wait returns a context that ends when nothing more can come: the ledger, if it is
// not silent, has answered all that it was asked by then.
func (n *node) wait() context.Context {
	if !n.silent {
		return ledgerContext{context.Background(), n}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// A ledgerContext has the ledger answer when somebody begins to wait.
type ledgerContext struct {
	context.Context //nolint:containedctx // it is one
	n               *node
}

// Done implements context.Context.
func (c ledgerContext) Done() <-chan struct{} {
	c.n.run()
	return c.Context.Done()
}

func id(n uint64) limiter.Key { return limiter.Key{Lo: n} }

// call returns a call of charges.
func (n *node) call(charges ...limiter.Charge) *limiter.Call {
	c := &limiter.Call{Patience: limiter.Never}
	for _, ch := range charges {
		ch.Key = limiter.Key{Lo: uint64(ch.Limit.Kind)}
		c.Add(ch)
	}
	return c
}

// reserve reserves units of all four limits, one slot among them, under an id.
func (n *node) reserve(name, units uint64) (*limiter.Call, hold.Outcome) {
	c := n.call(
		limiter.Charge{Limit: n.rate, Cost: units}, limiter.Charge{Limit: n.window, Cost: units},
		limiter.Charge{Limit: n.slots, Cost: 1}, limiter.Charge{Limit: n.quota, Cost: units},
	)
	_, o := n.Reserve(n.wait(), n.now, c, hold.Ask{ID: id(name), Content: id(units), Lifetime: lifetime}, func() []byte { return []byte("made") })
	return c, o
}

// settle settles with cost of every limit, and returns what became of each by name.
func (n *node) settle(name, cost uint64) (rows map[string]hold.Settled, late bool, o hold.Outcome) {
	end := hold.End{ID: id(name), Content: id(cost), Costs: func(*limiter.Limit, uint64) uint64 { return cost }}
	if n.refuses != nil {
		end.Check = func(legs []hold.Leg, units []string) bool { return !n.refuses(legs, units) }
	}
	rows = map[string]hold.Settled{}
	_, o = n.Settle(n.wait(), n.now, end, func(s hold.Settlement) []byte {
		late = s.Late
		for _, row := range s.Legs {
			name := row.Limit.Name
			row.Limit = nil
			rows[name] = row
		}
		return []byte("settled")
	})
	return rows, late, o
}

// left returns what remains of the four limits.
func (n *node) left() [4]uint64 {
	c := n.call(
		limiter.Charge{Limit: n.rate, Op: limiter.OpPeek}, limiter.Charge{Limit: n.window, Op: limiter.OpPeek},
		limiter.Charge{Limit: n.slots, Op: limiter.OpPeek}, limiter.Charge{Limit: n.quota, Op: limiter.OpPeek},
	)
	c.Done = func(*limiter.Call) {}
	n.router.Decide(n.now, c)
	n.run()
	var left [4]uint64
	for i := range left {
		left[i] = c.Charges()[i].Decision.Remaining
	}
	return left
}

// after lets time pass.
func (n *node) after(d time.Duration) { n.now = n.now.Add(d) }
