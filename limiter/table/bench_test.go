package table_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// BenchmarkDecide is one call on one of a million keys, in random order, with
// the key at hand; a comparison with other things is bench/compare's.
func BenchmarkDecide(b *testing.B) {
	const keys = 1 << 20
	l := limit(b, limiter.Spec{Domain: "shop", Name: "a", Kind: limiter.KindRate, Amount: 1, Period: time.Hour, Burst: 800_000})
	tight := limit(b, limiter.Spec{Domain: "shop", Name: "b", Kind: limiter.KindRate, Amount: 1, Period: time.Hour})
	tab := newTable(b, table.Config{EntriesMax: 1 << 26, BytesMax: 1 << 34})
	defer tab.Clear()
	tab.Install([]*limiter.Limit{l, tight})
	var c limiter.Call
	add := func(lim *limiter.Limit, i int, cost uint64) {
		k := limiter.Key{Hi: spread(i), Lo: spread(^i) | 1}
		tab.Prefetch(k, k.Partition())
		c.Add(limiter.Charge{Key: k, Limit: lim, Cost: cost, Partition: k.Partition()})
	}
	for i := range keys {
		c.Reset()
		add(l, i, 1)
		tab.Decide(start, &c)
	}
	fresh := keys
	at := func(i int) int { return int(spread(i) % keys) }
	for _, bb := range []struct {
		name string
		mode limiter.Mode
		add  func(i int)
	}{
		{"hit", limiter.ChargeAll, func(i int) { add(l, at(i), 1) }},
		{"denied", limiter.ChargeAll, func(i int) { add(l, at(i), 900_000) }},
		{"two charges", limiter.ChargeAll, func(i int) { add(l, at(i), 1); add(l, at(i+1<<30), 1) }},
		{"undo", limiter.AllOrNothing, func(i int) { add(l, at(i), 1); add(tight, at(i+1<<30), 2) }},
		{"insert", limiter.ChargeAll, func(int) { fresh++; add(l, fresh, 1) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				c.Reset()
				c.Mode = bb.mode
				bb.add(i)
				tab.Decide(start, &c)
			}
		})
	}
}

// BenchmarkKeyToDecision adds the making of the key.
func BenchmarkKeyToDecision(b *testing.B) {
	const keys = 1 << 20
	l := limit(b, limiter.Spec{Domain: "shop", Name: "a", Kind: limiter.KindRate, Amount: 1, Period: time.Hour, Burst: 800_000})
	tab := newTable(b, table.Config{})
	defer tab.Clear()
	tab.Install([]*limiter.Limit{l})
	buf := append([]byte(nil), l.ID[:]...)
	buf = append(buf, "\x17client-0123456789abcdef"...)
	var c limiter.Call
	decide := func(i int) {
		binary.LittleEndian.PutUint64(buf[len(buf)-8:], spread(i)%keys)
		k := hasher.Key(buf)
		tab.Prefetch(k, k.Partition())
		c.Reset()
		c.Add(limiter.Charge{Key: k, Limit: l, Cost: 1, Partition: k.Partition()})
		tab.Decide(start, &c)
	}
	for i := range keys {
		decide(i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		decide(i)
	}
}

// spread is a bijection that looks random (SplitMix64's).
func spread(i int) uint64 {
	x := uint64(i) + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
