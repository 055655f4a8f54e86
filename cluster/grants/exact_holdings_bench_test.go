package grants_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota/calendar"
)

// BenchmarkExactOnDisk is BenchmarkSpendOnDisk for calls that a node decides, over one
// counter and many: without an id, as gateways ask.
func BenchmarkExactOnDisk(b *testing.B) {
	for _, keys := range []int{1, 10_000} {
		for _, callers := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("counters=%d/clients=%d", keys, callers), func(b *testing.B) {
				v := startVoters(b, 1, b.TempDir())[0]
				settled(b, []*voter{v})
				exactCalls(b, v, keys, callers)
				ctx := context.WithoutCancel(b.Context())
				if err := errors.Join(v.driver.Stop(ctx), v.node.Stop(ctx), v.db.Close()); err != nil {
					b.Error(err)
				}
			})
		}
	}
}

// exactCalls has callers make b.N calls.
func exactCalls(b *testing.B, v *voter, keys, callers int) {
	b.Helper()
	l := &limiter.Limit{Spec: limiter.Spec{
		ID: limiter.LimitID{1}, Def: 1, Kind: limiter.KindQuota, Amount: 1 << 40,
		Quota: &limiter.QuotaTerms{Schedule: limiter.Schedule{Unit: limiter.PerYear}, Exact: true},
	}}
	year, err := calendar.New(l.Quota.Schedule, time.UTC)
	if err != nil {
		b.Fatal(err)
	}
	now := func() limiter.Instant { return limiter.Instant(time.Now().UnixNano()) }
	h, err := holdings.New(holdings.Config{Submit: v.driver.Submit, Rest: func(limiter.Instant, *limiter.Call) {}, Now: now, Tenure: 1})
	if err != nil {
		b.Fatal(err)
	}
	h.Install(1, []holdings.Quota{{Limit: l, When: year}})
	before := v.driver.Stats()
	var next, denied atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			done := make(chan struct{}, 1)
			c := &limiter.Call{Done: func(*limiter.Call) { done <- struct{}{} }}
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				c.Reset()
				i := int(n) % keys
				c.Add(limiter.Charge{Key: of(uint32(i%8), i), Limit: l, Cost: 1})
				if !h.Decide(now(), c) {
					<-done
				}
				if c.Charges()[0].Decision.Verdict != limiter.Allowed {
					denied.Add(1)
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	if n := denied.Load(); n > 0 {
		b.Errorf("%d of %d calls were denied", n, b.N)
	}
	entries, commands := uint64(0), uint64(0)
	for g, s := range v.driver.Stats() {
		entries, commands = entries+s.Entries-before[g].Entries, commands+s.Commands-before[g].Commands
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(commands)/float64(max(1, entries)), "decisions/entry")
}
