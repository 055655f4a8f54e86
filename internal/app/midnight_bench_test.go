package app

import (
	"context"
	"flag"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
)

var (
	midnightKeys  = flag.Int("midnight-keys", 500, "keys that are in use over midnight, in BenchmarkMidnight")
	midnightCalls = flag.Int("midnight-calls", 1000, "calls a second")
	midnightLead  = flag.Duration("midnight-lead", 2*time.Second, "how long before midnight they begin: what is asked ahead takes a minute and -midnight-skew")
	midnightSkew  = flag.Duration("midnight-skew", time.Second, "how far the first and the last clock are off")
)

// spans counts how long calls took, in steps of 100 µs up to 1 s.
type spans [10_000]atomic.Uint32

func (s *spans) add(d time.Duration) {
	s[min(int(d/(100*time.Microsecond)), len(s)-1)].Add(1)
}

// quantile returns the span that a part of the calls did not exceed, in ms.
func (s *spans) quantile(part float64) float64 {
	all := uint64(0)
	for i := range s {
		all += uint64(s[i].Load())
	}
	seen := uint64(0)
	for i := range s {
		if seen += uint64(s[i].Load()); float64(seen) >= part*float64(all) {
			return float64(i+1) / 10
		}
	}
	return 0
}

// A night is three holders on one store on disk, with clocks of their own.
type night struct {
	now      func() limiter.Instant // of the ledger
	store    *quotaStore
	driver   *grants.Driver
	holders  []*holdings.Holdings
	quotas   []holdings.Quota
	midnight limiter.Instant

	skews []time.Duration
	// How long calls took: while keys were asked for the first time, in the ten seconds
	// until midnight was near, and then.
	first, before, over spans
	denied              atomic.Int64
	calls               atomic.Int64
}

// openNight opens a store whose clock is lead before the next midnight of three zones, which
// come at one moment in winter.
func openNight(b *testing.B, lead time.Duration) *night {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := openQuotaStore(b.TempDir(), false, log, new(quotaGrowth))
	if err != nil {
		b.Fatal(err)
	}
	n := &night{
		store: store, skews: []time.Duration{-*midnightSkew, 0, *midnightSkew},
		midnight: limiter.Instant(time.Date(2027, 1, 14, 23, 0, 0, 0, time.UTC).UnixNano()),
	}
	began := time.Now()
	n.now = func() limiter.Instant { return n.midnight.Add(time.Since(began) - lead) }
	if err := store.lead(b.Context()); err != nil {
		b.Fatal(err)
	}
	n.driver, err = grants.Start(grants.Config{
		ID: store.id, Groups: store.groups, Ledger: store.ledgers,
		Now: n.now, Wall: func() int64 { return int64(n.now()) / int64(time.Millisecond) },
		Gather: grants.Default().Gather,
	})
	if err != nil {
		b.Fatal(err)
	}
	var limits []*limiter.Limit
	for i, zone := range []string{"Europe/Berlin", "Africa/Lagos", "Europe/Madrid"} {
		limits = append(limits, &limiter.Limit{Spec: limiter.Spec{
			ID: limiter.LimitID{byte(i) + 1}, Def: limiter.DefHash(i + 1), Kind: limiter.KindQuota, Amount: 1_000_000,
			Quota: &limiter.QuotaTerms{Schedule: limiter.Schedule{Unit: limiter.PerDay, Zone: zone}},
		}})
	}
	if n.quotas, err = holdings.Quotas(limits); err != nil {
		b.Fatal(err)
	}
	for i, skew := range n.skews {
		h, err := holdings.New(holdings.Config{
			Submit: n.driver.Submit, Gather: n.driver.Gather, Hurry: n.driver.Hurry,
			Rest: func(limiter.Instant, *limiter.Call) {}, Tenure: uint64(i) + 1,
			Now: func() limiter.Instant { return n.now().Add(skew) },
		})
		if err != nil {
			b.Fatal(err)
		}
		h.Install(1, n.quotas)
		n.holders = append(n.holders, h)
	}
	return n
}

func (n *night) close(b *testing.B) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := n.driver.Stop(ctx); err != nil {
		b.Error(err)
	}
	if err := n.store.close(ctx); err != nil {
		b.Error(err)
	}
}

// call has holder i decide a call of any of its keys.
func (n *night) call(i int) {
	key := 3*rand.Uint64N(uint64(*midnightKeys/3)) + uint64(i)
	began := n.now()
	to := &n.over
	switch near := n.midnight.Add(-*midnightSkew - time.Second); {
	case began < near.Add(-10*time.Second):
		to = &n.first
	case began < near:
		to = &n.before
	}
	c := &limiter.Call{}
	c.Add(limiter.Charge{
		Key:   limiter.Key{Hi: key * 0x9e37_79b9_7f4a_7c15, Lo: key * 0xbf58_476d_1ce4_e5b9},
		Limit: n.quotas[key/3%3].Limit, Cost: 1, Partition: limiter.Partition(i),
	})
	end := func(c *limiter.Call) {
		to.add(n.now().Sub(began))
		n.calls.Add(1)
		if c.Charges()[0].Decision.Verdict != limiter.Allowed {
			n.denied.Add(1)
		}
	}
	c.Done = end
	if n.holders[i].Decide(began.Add(n.skews[i]), c) {
		end(c)
	}
}

// run has holder i decide its part of the calls, at a steady pace, and look after itself,
// until the last clock is past midnight for a while.
func (n *night) run(i int) {
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	began, made, tended := n.now(), 0, n.now()
	for now := began; now < n.midnight.Add(2**midnightSkew); now = n.now() {
		for due := int(int64(now.Sub(began)) * int64(*midnightCalls) / int64(len(n.holders)) / int64(time.Second)); made < due; made++ {
			n.call(i)
		}
		for ; tended < now; tended = tended.Add(tendEvery) {
			n.holders[i].Tend(now.Add(n.skews[i]))
		}
		<-pace.C
	}
}

// BenchmarkMidnight has many keys of three zones in use over a midnight that comes to all
// of them at once, at three holders with clocks of their own, on one store on disk. Its
// figures: how long calls took around midnight, in ms, and before.
func BenchmarkMidnight(b *testing.B) {
	for b.Loop() {
		n := openNight(b, *midnightLead)
		var wg sync.WaitGroup
		for i := range n.holders {
			wg.Go(func() { n.run(i) })
		}
		wg.Wait()
		commands, entries := uint64(0), uint64(0)
		for _, g := range n.driver.Stats() {
			commands, entries = commands+g.Commands, entries+g.Entries
		}
		n.close(b)
		b.ReportMetric(n.before.quantile(0.99), "p99-before-ms")
		b.ReportMetric(n.over.quantile(0.5), "p50-ms")
		b.ReportMetric(n.over.quantile(0.99), "p99-ms")
		b.ReportMetric(n.over.quantile(0.999), "p999-ms")
		b.ReportMetric(float64(n.calls.Load()), "calls")
		b.ReportMetric(float64(n.denied.Load()), "denied")
		b.ReportMetric(float64(commands)/float64(max(1, entries)), "commands/entry")
		b.ReportMetric(float64(commands), "commands")
	}
}
