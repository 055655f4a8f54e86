package main

import (
	"math/bits"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// A subject is a table with one limit, and a call to ask it with. One
// goroutine uses it at a time; copies made by another share the table.
type subject struct {
	table *table.Table
	limit *limiter.Limit
	begin time.Time
	call  limiter.Call
}

// newSubject returns a subject whose counters are not due before an hour has
// passed and admit every charge of a measurement.
func newSubject() (*subject, error) {
	t, err := table.New(table.Config{EntriesMax: 1 << 28, BytesMax: 1 << 35})
	if err != nil {
		return nil, err
	}
	l, err := limiter.NewLimit(limiter.Spec{
		ID: limiter.LimitID{1}, Def: 1, Domain: "shop", Name: "per-client",
		Kind: limiter.KindRate, Amount: 1, Period: time.Hour, Burst: 800_000,
	})
	if err != nil {
		return nil, err
	}
	t.Install([]*limiter.Limit{l})
	return &subject{table: t, limit: l, begin: time.Now()}, nil
}

// now reads the clock as a server does: the monotonic time since the start.
func (s *subject) now() limiter.Instant { return limiter.Instant(1 << 60).Add(time.Since(s.begin)) }

// another returns a subject for another goroutine.
func (s *subject) another() *subject {
	return &subject{table: s.table, limit: s.limit, begin: s.begin}
}

// decide charges one unit of k.
func (s *subject) decide(now limiter.Instant, k limiter.Key, p limiter.Partition) *limiter.Decision {
	s.call.Reset()
	s.charge(&s.call, k, p)
	s.table.Decide(now, &s.call)
	return &s.call.Charges()[0].Decision
}

// charge adds a charge of one unit of k to c.
func (s *subject) charge(c *limiter.Call, k limiter.Key, p limiter.Partition) {
	ch := c.Next()
	ch.Key, ch.Limit, ch.Cost, ch.Partition = k, s.limit, 1, p
}

// mix is the finaliser of SplitMix64: it spreads x over 64 bits, one to one.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashed returns key i as if a KeyHasher had made it.
func hashed(i uint64) limiter.Key {
	return limiter.Key{Hi: mix(i ^ 0x9e3779b97f4a7c15), Lo: mix(i+1) | 1}
}

// pick maps a random x to [0, n).
func pick(x uint64, n int) uint64 {
	hi, _ := bits.Mul64(x, uint64(n))
	return hi
}
