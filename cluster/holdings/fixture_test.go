package holdings_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/limiter/quota/calendar"
)

// start is noon of a day.
const start = limiter.Instant(1_800_000_000-1_800_000_000%86_400+43_200) * limiter.Instant(time.Second)

var errLost = errors.New("lost")

// A sent command waits in a ledger's queue.
type sent struct {
	c    quota.Command
	done func(*quota.Command, quota.Result, error)
}

// A ledger applies commands when it is told to.
type ledger struct {
	mu    sync.Mutex
	queue []sent
	group quota.Group
	pools map[limiter.Key]map[int64]*quota.Pool
	count int // commands applied
	now   func() limiter.Instant
	// requests are those of exact mode.
	requests map[requestName]*quota.Request
	behind   map[uint64]int64 // how far the group of a key is behind its clock, in ms
}

type requestName struct {
	key    limiter.Key
	window quota.Window
	id     limiter.Key
}

func (l *ledger) submit(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, sent{c, done})
	return nil
}

func (l *ledger) take(i int) sent {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.queue[i]
	l.queue = slices.Delete(l.queue, i, i+1)
	return s
}

func (l *ledger) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

func (l *ledger) pool(k limiter.Key, w quota.Window) *quota.Pool {
	if l.pools[k] == nil {
		l.pools[k] = map[int64]*quota.Pool{}
	}
	if l.pools[k][w.Start] == nil {
		l.pools[k][w.Start] = &quota.Pool{}
	}
	return l.pools[k][w.Start]
}

func (l *ledger) apply(c quota.Command) quota.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	at := l.group.Advance(int64(l.now()) / int64(time.Millisecond))
	if code, _, _ := l.group.Receive(&c); code != quota.OK {
		return quota.Result{Code: code}
	}
	p := l.pool(c.Key, c.Window)
	p.Beside = quota.Beside(c.Window, func(w quota.Window) uint64 {
		if near := l.pools[c.Key][w.Start]; near != nil {
			return near.Use()
		}
		return 0
	})
	if c.Op < quota.OpSpend {
		return p.Apply(at, &c)
	}
	name := requestName{c.Key, c.Window, c.Request}
	if l.requests[name] == nil {
		l.requests[name] = &quota.Request{}
	}
	p.Behind = l.behind[c.Key.Lo]
	return p.Decide(at, &c, l.requests[name])
}

// run answers commands until none is left.
func (l *ledger) run() {
	for l.waiting() > 0 {
		s := l.take(0)
		s.done(&s.c, l.apply(s.c), nil)
	}
}

// lose drops all that waits.
func (l *ledger) lose() {
	for l.waiting() > 0 {
		s := l.take(0)
		s.done(&s.c, quota.Result{}, errLost)
	}
}

// A node is holdings over a ledger, with a clock that is set by hand.
type node struct {
	*holdings.Holdings
	ledger *ledger
	now    limiter.Instant
	quotas []holdings.Quota
	rest   limiter.Verdict            // of charges of other kinds
	done   int                        // calls that were finished later
	others [limiter.OpRelease + 1]int // charges of other kinds, by what they asked
}

func limit(amount uint64) *limiter.Limit {
	return &limiter.Limit{Spec: limiter.Spec{ID: limiter.LimitID{1}, Def: limiter.DefHash(amount), Kind: limiter.KindQuota, Amount: amount}}
}

func daily(tb testing.TB) *calendar.Calendar {
	tb.Helper()
	c, err := calendar.New(limiter.Schedule{Unit: limiter.PerDay}, time.UTC)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func newLedger(now func() limiter.Instant) *ledger {
	return &ledger{pools: map[limiter.Key]map[int64]*quota.Pool{}, now: now, requests: map[requestName]*quota.Request{}}
}

// newNode returns a node of tenure 1 under one limit.
func newNode(tb testing.TB, l *limiter.Limit, change func(*holdings.Config)) *node {
	tb.Helper()
	n := &node{now: start, rest: limiter.Allowed}
	n.ledger = newLedger(func() limiter.Instant { return n.now })
	n.restart(tb, l, change)
	return n
}

// restart gives the node new holdings, as a process that starts has.
func (n *node) restart(tb testing.TB, l *limiter.Limit, change func(*holdings.Config)) {
	tb.Helper()
	cfg := holdings.Config{
		Submit: n.ledger.submit,
		Rest: func(_ limiter.Instant, c *limiter.Call) {
			for i := range c.Charges() {
				if ch := &c.Charges()[i]; ch.Limit.Kind != limiter.KindQuota {
					ch.Decision = limiter.Decision{Verdict: n.rest}
					n.others[ch.Op]++
				}
			}
		},
		Now:    func() limiter.Instant { return n.now },
		Tenure: 1,
	}
	if change != nil {
		change(&cfg)
	}
	h, err := holdings.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	n.Holdings = h
	n.quotas = []holdings.Quota{{Limit: l, When: daily(tb)}}
	h.Install(1, n.quotas)
}

// call returns a call of charges of key, one for each cost.
func (n *node) call(op limiter.Op, key uint64, costs ...uint64) *limiter.Call {
	c := &limiter.Call{Done: func(*limiter.Call) { n.done++ }}
	for _, cost := range costs {
		c.Add(limiter.Charge{Key: limiter.Key{Lo: key}, Limit: n.quotas[0].Limit, Cost: cost, Op: op})
	}
	return c
}

// ask decides one charge and has the ledger answer what it needs.
func (n *node) ask(op limiter.Op, key, cost uint64) limiter.Decision {
	c := n.call(op, key, cost)
	n.Decide(n.now, c)
	n.ledger.run()
	return c.Charges()[0].Decision
}

func (n *node) today(key uint64) *quota.Pool {
	day := int64(n.now) / int64(time.Second) / 86_400 * 86_400
	return n.ledger.pool(limiter.Key{Lo: key}, quota.Window{Start: day})
}
