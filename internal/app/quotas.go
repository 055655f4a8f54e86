package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	_ "time/tzdata" // quotas follow time zones, whatever the machine knows of them

	"github.com/headgate/headgate/cluster"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/internal/obs"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

const (
	// tendEvery is how often one of 256 parts of the holdings is looked at.
	tendEvery = 20 * time.Millisecond
	// versionBits is how much of a quota's policy version is the policy's own: what
	// is above it is the tenure, so that a process never has an older version than
	// the one before it.
	versionBits = 32
	// gatherPart bounds how long what is asked for ahead of need gathers: this part of
	// the horizon, of which a quarter is left then.
	gatherPart = 16
)

// quotas are the node's durable quotas. The store is opened by the first policy
// that has any: a node without one writes nothing.
type quotas struct {
	dir      string // below the data directory
	data     *dataDir
	settings *config.Quotas
	now      func() limiter.Instant
	log      *slog.Logger
	router   *cluster.Router
	meters   quotaMeters
	growth   quotaGrowth
	room     func() error // reports a disk that has no room for the store to begin

	stranded atomic.Uint64  // units, as countStranded found
	readers  sync.WaitGroup // those who read the store without mu, until
	ending   chan struct{}  // is closed: the store will be

	mu       sync.Mutex // guards what follows, and is held while the store is opened
	store    *quotaStore
	driver   *grants.Driver
	holdings *holdings.Holdings
	tenure   uint64
	stopped  bool
	waiting  bool   // for room on the disk, to open the store
	version  uint64 // of the last install
	list     []holdings.Quota
}

// ready sees to it that limits can be served: it opens the store if one of them is
// a quota, or has it opened as soon as there is room on the disk. What can't be served is
// an error, which names the limit.
func (q *quotas) ready(limits []*limiter.Limit) error {
	list, err := holdings.Quotas(limits)
	if err != nil || len(list) == 0 {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.holdings != nil {
		return nil
	}
	if q.stopped {
		return errors.New("app: quotas: the node is stopping")
	}
	if err := q.begin(context.Background()); err != nil {
		return fmt.Errorf("%w: %w", ErrQuotas, err)
	}
	return nil
}

// open opens the store and starts what works on it, or fails and leaves nothing behind,
// within the time to start. q.mu is held.
func (q *quotas) open(ctx context.Context) error {
	began := q.now()
	served, err := q.data.settle()
	if err != nil {
		return err
	}
	store, err := openQuotaStore(q.dir, served > 0, q.log, &q.growth) //nolint:contextcheck // what it starts ends with close
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, q.settings.StartTimeout)
	defer cancel()
	fail := func(err error) error {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait) // ctx may have ended
		defer cancel()
		return fmt.Errorf("app: quotas: %w", errors.Join(err, store.close(ending)))
	}
	if err := store.lead(ctx); err != nil {
		return fail(err)
	}
	if q.tenure, err = q.data.serve(ctx, store, served); err != nil {
		return fail(err)
	}
	q.driver, err = grants.Start(grants.Config{
		ID: store.id, Groups: store.groups, Ledger: store.ledgers,
		Now: q.now, Wall: func() int64 { return time.Now().UnixMilli() },
		Gather: min(grants.Default().Gather, q.settings.GrantHorizon/gatherPart),
	})
	if err != nil {
		return fail(err)
	}
	q.holdings, err = holdings.New(holdings.Config{
		Submit: func(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
			return q.driver.Submit(c, done)
		},
		Gather: func(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
			return q.driver.Gather(c, done)
		},
		Hurry:       func(k limiter.Key) { q.driver.Hurry(k) },
		Rest:        func(now limiter.Instant, c *limiter.Call) { q.router.Table.Decide(now, c) },
		Now:         q.now,
		Tenure:      q.tenure,
		CountersMax: int64(q.settings.CountersMax),
		ShareMax:    float64(q.settings.SharePercent) / 100,
		GrantMax:    uint64(q.settings.GrantMax),
		Horizon:     q.settings.GrantHorizon,
		Idle:        q.settings.IdleReturn,
	})
	if err != nil {
		return fail(errors.Join(err, q.driver.Stop(ctx)))
	}
	q.store, q.ending = store, make(chan struct{})
	ledgers, tenure := store.ledgers, q.tenure
	q.readers.Go(func() { q.countStranded(ledgers, tenure) })
	q.growth.holdings.Store(q.holdings)
	q.meters.watch(store, q.driver)
	if len(q.list) > 0 { // they wait for it
		q.holdings.Install(q.tenure<<versionBits|q.version, q.list)
	}
	q.router.Serve(q.holdings)
	q.log.Info("quotas are served", slog.String("dir", q.dir), slog.Uint64("tenure", q.tenure), slog.Duration("took", q.now().Sub(began)))
	return nil
}

// holder returns the tenure of this process; 0 if it serves no quotas.
func (q *quotas) holder() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tenure
}

// install makes the quotas among limits those in force. ready has accepted them.
func (q *quotas) install(version uint64, limits []*limiter.Limit) {
	list, err := holdings.Quotas(limits)
	if err != nil {
		return // ready has said so
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if version == q.version {
		return
	}
	q.version, q.list = version, list
	if q.holdings != nil {
		q.holdings.Install(q.tenure<<versionBits|version, list)
	}
}

// tend looks after what is held until ctx ends.
func (q *quotas) tend(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	rounds := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if h := q.router.Quotas(); h != nil {
				h.Tend(q.now())
				q.growth.pace(h)
				q.announce(h)
			}
			if rounds++; rounds%int(recheckEvery/tendEvery) == 0 {
				q.recheck(ctx)
			}
		}
	}
}

// announce says which marks were reached since it was called last.
func (q *quotas) announce(h *holdings.Holdings) {
	for {
		select {
		default:
			return
		case c := <-h.Crossings():
			q.log.Info("a quota has reached a mark", slog.String("domain", c.Limit.Domain), slog.String("limit", c.Limit.Name),
				slog.String("key", c.Key.Fingerprint()), slog.Int("percent", int(c.Percent)),
				slog.Uint64("used", c.Used), slog.Uint64("amount", c.Limit.Amount))
		}
	}
}

// recheck has a disk that was full looked at again.
func (q *quotas) recheck(ctx context.Context) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.store != nil:
		_ = q.store.db.Recheck() // its events say what became of it
	case q.waiting:
		q.goOn(ctx)
	}
}

// stop gives back what is held and closes the store. Nobody asks any more. What
// could not be given back by the end of ctx counts as spent.
func (q *quotas) stop(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	if q.store == nil {
		return nil
	}
	q.announce(q.holdings)
	q.meters.watch(nil, nil)
	close(q.ending)
	err := errors.Join(q.holdings.Leave(ctx), q.driver.Stop(ctx))
	q.readers.Wait()
	err = errors.Join(err, q.store.close(ctx))
	q.store = nil
	return err
}

// reading is what metrics say of the quotas.
func (q *quotas) reading() (r obs.QuotaReading) {
	r.CountersMax = uint64(q.settings.CountersMax)
	r.Stranded = q.stranded.Load()
	h := q.router.Quotas()
	if h == nil {
		return r
	}
	s := h.Stats()
	r.Counters, r.Parked = uint64(s.Counters), uint64(s.Parked)
	r.Waited, r.Failed, r.Refused, r.ShareFull = s.Waited, s.Failed, s.Refused, s.ShareFull
	r.Marks, r.MarksMissed = s.Crossed, s.Missed
	r.Spent, r.Refunded, r.Dropped, r.Owed, r.Lost, r.Stuck = s.Spent, s.Refunded, s.Dropped, s.Owed, s.Lost, s.Stuck
	for _, group := range q.driver.Stats() {
		r.Entries += group.Entries
		r.CommandsLost += group.Lost
	}
	return r
}
