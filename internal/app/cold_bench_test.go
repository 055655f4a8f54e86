package app

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
)

// BenchmarkColdKeys has 512 callers ask for one key after the other that nobody has asked for
// before: each waits for its first grant, on disk.
func BenchmarkColdKeys(b *testing.B) {
	n := openNight(b, time.Hour)
	var next atomic.Uint64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 512 {
		wg.Go(func() {
			told := make(chan struct{}, 1)
			for {
				key := next.Add(1)
				if key > uint64(b.N) {
					return
				}
				began := n.now()
				c := &limiter.Call{}
				c.Add(limiter.Charge{
					Key:   limiter.Key{Hi: key * 0x9e37_79b9_7f4a_7c15, Lo: key * 0xbf58_476d_1ce4_e5b9},
					Limit: n.quotas[key%3].Limit, Cost: 1, Partition: limiter.Partition(1),
				})
				c.Done = func(*limiter.Call) { told <- struct{}{} }
				if !n.holders[1].Decide(began, c) {
					<-told
				}
				n.over.add(n.now().Sub(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "keys/s")
	b.ReportMetric(n.over.quantile(0.5), "p50-ms")
	b.ReportMetric(n.over.quantile(0.99), "p99-ms")
	n.close(b)
}
