package table_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

func BenchmarkDecideHit1M(b *testing.B) {
	t, _ := table.New(table.Config{EntriesMax: 1 << 26, BytesMax: 1 << 34})
	l := rate(b, "shop", "a", 1000, 3600*time.Second)
	t.Install([]*limiter.Limit{l})
	keys := make([]limiter.Key, 1<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	var c limiter.Call
	now := limiter.Instant(1e18)
	for i := range keys {
		keys[i] = limiter.Key{Hi: rng.Uint64(), Lo: rng.Uint64() | 1}
		c.Reset()
		c.Add(limiter.Charge{Key: keys[i], Limit: l, Cost: 1, Partition: keys[i].Partition()})
		t.Decide(now, &c)
	}
	idx := rng.Perm(len(keys))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		k := keys[idx[i&(1<<20-1)]]
		c.Reset()
		c.Add(limiter.Charge{Key: k, Limit: l, Cost: 1, Partition: k.Partition()})
		now += 100
		t.Decide(now, &c)
	}
}
