package policytest

import (
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/limiter/table"
)

// grantMax has units granted as they are needed, so that what remains is known
// exactly and no test depends on what was fetched ahead.
const grantMax = 1

// A decider is a node's, with the ledger of its quotas in memory.
type decider struct {
	table  *table.Table
	quotas *holdings.Holdings // nil: the policy has none
	ledger ledger
	now    limiter.Instant
}

// A ledger is one group of the durable ledger without a log: a command is applied
// when Decide is about to wait for it.
type ledger struct {
	group    quota.Group
	pools    map[poolName]*quota.Pool
	requests map[requestName]*quota.Request // of exact mode
	queue    []proposed
}

type poolName struct {
	key    limiter.Key
	window quota.Window
}

type requestName struct {
	pool poolName
	id   limiter.Key
}

type proposed struct {
	command quota.Command
	done    func(*quota.Command, quota.Result, error)
}

func newDecider(t *table.Table, limits []*limiter.Limit) (*decider, error) {
	d := &decider{table: t, ledger: ledger{pools: map[poolName]*quota.Pool{}, requests: map[requestName]*quota.Request{}}}
	quotas, err := holdings.Quotas(limits)
	if err != nil || len(quotas) == 0 {
		return d, err
	}
	d.quotas, err = holdings.New(holdings.Config{
		Submit: d.ledger.submit,
		Rest:   func(now limiter.Instant, c *limiter.Call) { t.Decide(now, c) },
		Now:    func() limiter.Instant { return d.now },
		Tenure: 1, CountersMax: entriesMax, GrantMax: grantMax,
	})
	if err != nil {
		return nil, err
	}
	d.quotas.Install(1, quotas)
	return d, nil
}

// Decide decides c: the ledger answers at once what it is asked.
func (d *decider) Decide(now limiter.Instant, c *limiter.Call) bool {
	if d.quotas == nil || !holdings.Has(c) {
		return d.table.Decide(now, c)
	}
	d.now = now
	finished := false
	c.Done = func(*limiter.Call) { finished = true }
	decided := d.quotas.Decide(now, c)
	d.ledger.run(now)
	return decided || finished
}

func (l *ledger) submit(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
	l.queue = append(l.queue, proposed{c, done})
	return nil
}

// run answers commands until nobody has one more.
func (l *ledger) run(now limiter.Instant) {
	for len(l.queue) > 0 {
		p := l.queue[0]
		l.queue = l.queue[1:]
		p.done(&p.command, l.apply(now, &p.command), nil)
	}
}

func (l *ledger) apply(now limiter.Instant, c *quota.Command) quota.Result {
	at := l.group.Advance(int64(now) / int64(time.Millisecond))
	if code, _, _ := l.group.Receive(c); code != quota.OK {
		return quota.Result{Code: code}
	}
	name := poolName{c.Key, c.Window}
	pool := l.pools[name]
	if pool == nil {
		pool = new(quota.Pool)
		l.pools[name] = pool
	}
	pool.Beside = quota.Beside(c.Window, func(w quota.Window) uint64 {
		if near := l.pools[poolName{c.Key, w}]; near != nil {
			return near.Use()
		}
		return 0
	})
	if c.Op < quota.OpSpend {
		return pool.Apply(at, c)
	}
	of := requestName{name, c.Request}
	request := l.requests[of]
	if request == nil {
		request = new(quota.Request)
	}
	r := pool.Decide(at, c, request)
	if request.Op != 0 {
		l.requests[of] = request
	}
	return r
}
