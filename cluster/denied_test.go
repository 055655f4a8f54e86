package cluster_test

import (
	"slices"
	"testing"
	"time"

	"github.com/headgate/headgate/cluster"
	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/limiter/quota/calendar"
	"github.com/headgate/headgate/limiter/table"
)

// BenchmarkDenied denies calls of a million keys at random, in turns by a quota and
// by a window of which nothing is left: "ratio" is the quota's time, of the window's.
// As in a connection's read loop, 16 calls are in flight.
func BenchmarkDenied(b *testing.B) {
	keys := uint64(1_000_000)
	if testing.Short() {
		keys = 1000
	}
	d := newDenial(b, keys)
	var times [2][]time.Duration // of rounds, by limit
	for b.Loop() {
		for i, l := range d.limits {
			times[i] = append(times[i], d.round(l))
		}
	}
	if n := d.commands; n > int(keys) {
		b.Errorf("%d commands for %d keys", n, keys)
	}
	var median [2]float64
	for i := range times {
		slices.Sort(times[i])
		median[i] = float64(times[i][len(times[i])/2]) / inFlight / rounds
	}
	b.ReportMetric(median[0], "ns/quota")
	b.ReportMetric(median[1], "ns/window")
	b.ReportMetric(median[0]/median[1], "ratio")
}

const (
	inFlight = 16
	rounds   = 64 // of so many calls
)

// A denial is a router whose counters are all used up.
type denial struct {
	router   cluster.Router
	holdings *holdings.Holdings
	limits   [2]*limiter.Limit
	calls    [inFlight]limiter.Call
	keys     uint64
	random   uint64
	commands int
}

func newDenial(tb testing.TB, keys uint64) *denial {
	tb.Helper()
	d := &denial{keys: keys, limits: [2]*limiter.Limit{{Spec: limiter.Spec{Kind: limiter.KindQuota, Amount: 1, Def: 1}}}}
	var err error
	d.limits[1], err = limiter.NewLimit(limiter.Spec{Name: "window", Kind: limiter.KindFixed, Amount: 1, Period: 24 * time.Hour, Def: 2})
	if err != nil {
		tb.Fatal(err)
	}
	if d.router.Table, err = table.New(table.Config{}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(d.router.Table.Clear)
	d.router.Table.Install(d.limits[:])
	var queue []func()
	d.holdings, err = holdings.New(holdings.Config{
		Submit: func(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
			d.commands++
			queue = append(queue, func() { done(&c, quota.Result{Code: quota.Exhausted, Limit: 1}, nil) })
			return nil
		},
		Rest: func(now limiter.Instant, c *limiter.Call) { d.router.Table.Decide(now, c) },
		Now:  func() limiter.Instant { return now }, Tenure: 1,
	})
	if err != nil {
		tb.Fatal(err)
	}
	daily, err := calendar.New(limiter.Schedule{Unit: limiter.PerDay}, time.UTC)
	if err != nil {
		tb.Fatal(err)
	}
	d.router.Serve(d.holdings)
	d.holdings.Install(1, []holdings.Quota{{Limit: d.limits[0], When: daily}})
	c := limiter.Call{Done: func(*limiter.Call) {}}
	for i := range keys {
		c.Reset()
		for _, l := range d.limits {
			c.Add(limiter.Charge{Key: d.key(i), Limit: l, Cost: 1, Partition: d.key(i).Partition()})
		}
		if !d.router.Decide(now, &c) {
			queue[0]()
			queue = queue[:0]
		}
	}
	return d
}

// key returns the i-th key: spread as hashes are.
func (d *denial) key(i uint64) limiter.Key {
	mix := func(x uint64) uint64 {
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		return x ^ x>>31
	}
	return limiter.Key{Hi: mix(2*i + 1), Lo: mix(2*i + 2)}
}

// round makes calls of l and returns how long it took.
func (d *denial) round(l *limiter.Limit) time.Duration {
	began := time.Now()
	for range rounds {
		for i := range d.calls {
			d.random = d.random*6364136223846793005 + 1442695040888963407
			k := d.key(d.random >> 33 % d.keys)
			c := &d.calls[i]
			c.Reset()
			c.Add(limiter.Charge{Key: k, Limit: l, Cost: 1, Partition: k.Partition()})
			if l.Kind == limiter.KindQuota {
				d.router.PrefetchQuota(k)
			} else {
				d.router.Table.Prefetch(k, k.Partition())
			}
		}
		for i := range d.calls {
			if d.router.Decide(now, &d.calls[i]); d.calls[i].Charges()[0].Decision.Verdict != limiter.Denied {
				panic("it was not denied")
			}
		}
	}
	return time.Since(began)
}
