package decision_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/decision"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
	"github.com/headgate/headgate/policy"
)

// BenchmarkStream decides messages of a stream whose transport costs nothing,
// with 1 M keys that come in no order. ns/check is for one check.
func BenchmarkStream(b *testing.B) {
	docs, problems := policy.Parse([]policy.Source{{Name: "shop.yaml", Text: []byte(
		"domain: shop\nlimits:\n  - {name: per-client, by: [remote_address], rate: 1000/s}\n")}})
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	for _, size := range []int{16, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			counters, err := table.New(table.Config{EntriesMax: 4 << 20})
			if err != nil {
				b.Fatal(err)
			}
			snapshot, problems := policy.Compile(docs, policy.Options{Version: 7, Prefetch: counters.Prefetch})
			if len(problems) > 0 {
				b.Fatal(problems)
			}
			counters.Install(snapshot.Limits())
			var p atomic.Pointer[policy.Snapshot]
			p.Store(snapshot)
			start := time.Now()
			clock := func() limiter.Instant { return noon.Add(time.Since(start)) }
			s := &decision.Service{Desk: api.NewDesk(&api.Gate{Policies: &p, Decider: counters}, clock, time.Second), Bounds: api.DefaultBounds()}

			const keys = 1_000_000
			messages := make([][]byte, keys/size)
			next := uint64(0)
			for i := range messages {
				m := &headgatev1.CheckStreamRequest{}
				for id := range uint64(size) {
					next = (next*6364136223846793005 + 1442695040888963407) % keys
					m.Checks = append(m.Checks, &headgatev1.StreamCheck{Id: id, Check: request("path", "/api/v1/orders", "remote_address", fmt.Sprintf("10.%d.%d", next/1000, next%1000))})
				}
				messages[i] = marshal(b, m)
			}
			pipe := &player{}
			st := s.NewStream(pipe)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				pipe.message, pipe.left = messages[i%len(messages)], 1
				if err := st.Read(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size), "ns/check")
		})
	}
}
