package holdings_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// BenchmarkMemory reports what a counter in use takes, of as many as there are iterations.
func BenchmarkMemory(b *testing.B) {
	l := limit(1_000_000)
	var asked []sent
	h, err := holdings.New(holdings.Config{
		Submit: func(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
			asked = append(asked, sent{c, done})
			return nil
		},
		Rest: func(limiter.Instant, *limiter.Call) {}, Tenure: 1,
		Now: func() limiter.Instant { return start },
	})
	if err != nil {
		b.Fatal(err)
	}
	h.Install(1, []holdings.Quota{{Limit: l, When: daily(b)}})
	c := &limiter.Call{Done: func(*limiter.Call) {}}
	c.Add(limiter.Charge{Limit: l, Cost: 1})
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	for i := range uint64(b.N) {
		c.Charges()[0].Key = limiter.Key{Hi: i * 0x9e37_79b9_7f4a_7c15, Lo: i * 0xbf58_476d_1ce4_e5b9}
		if h.Decide(start, c) {
			b.Fatal("it did not wait for its first units")
		}
		for len(asked) > 0 {
			s := asked[0]
			asked = asked[:copy(asked, asked[1:])]
			var p quota.Pool // each counter asks once
			s.done(&s.c, p.Apply(int64(start)/int64(time.Millisecond), &s.c), nil)
		}
		if c.Charges()[0].Decision.Verdict != limiter.Allowed {
			b.Fatal(c.Charges()[0].Decision)
		}
	}
	b.ReportMetric(float64(live()-before)/float64(b.N), "B/counter")
	if n := h.Stats().Counters; n != int64(b.N) {
		b.Fatalf("%d counters", n)
	}
}
