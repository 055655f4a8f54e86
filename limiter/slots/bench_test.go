package slots_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/slots"
)

// BenchmarkTakeAndRelease is what a slot costs without a table: taken under an id
// and released, in a group that has none, or a hundred, besides.
func BenchmarkTakeAndRelease(b *testing.B) {
	id := func(i int) limiter.Key { return limiter.Key{Hi: uint64(i) * 0x9e3779b97f4a7c15, Lo: uint64(i) | 1} }
	for name, held := range map[string]int{"alone": 0, "among 100": 100} {
		b.Run(name, func(b *testing.B) {
			var s slots.Set
			for n := s.Room(3); n != 0; n = s.Room(3) {
				s.Grow(make([]slots.Record, n))
			}
			g := s.New(id(1 << 20))
			take := func(i int) limiter.Instant {
				for n := s.Room(2); n > 0; n = s.Room(2) {
					s.Grow(make([]slots.Record, n))
				}
				expiry := limiter.Instant(time.Hour) + limiter.Instant(i)
				s.Take(g, id(i), expiry, 1)
				return expiry
			}
			for i := range held {
				take(i)
			}
			b.ReportAllocs()
			for i := 1 << 10; b.Loop(); i++ {
				expiry := take(i)
				s.Release(g, id(i), expiry)
				s.Collect(8)
			}
		})
	}
}
