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

// BenchmarkSlots is what a concurrency limit's charges cost: a pair takes a slot
// and ends it. Limits of one of a hundred thousand random keys that hold nothing
// else, or of one key that holds so many.
func BenchmarkSlots(b *testing.B) {
	const keys = 100_000
	l := concurrency(b, "shop", "a", 1<<31, time.Hour)
	tight := concurrency(b, "shop", "b", 1000, time.Hour)
	r := rate(b, "shop", "c", 1<<30, time.Hour)
	tab := newTable(b, table.Config{EntriesMax: 1 << 26, BytesMax: 1 << 34})
	defer tab.Clear()
	tab.Install([]*limiter.Limit{l, tight, r})
	var c limiter.Call
	do := func(lim *limiter.Limit, key int, op limiter.Op, holder limiter.Key) {
		k := limiter.Key{Hi: spread(key), Lo: spread(^key) | 1}
		c.Reset()
		c.Holder = holder
		c.Add(limiter.Charge{Key: k, Limit: lim, Cost: 1, Partition: k.Partition(), Op: op})
		tab.Prefetch(k, k.Partition())
		tab.Decide(start, &c)
	}
	id := func(i int) limiter.Key { return limiter.Key{Hi: spread(i + 1<<40), Lo: spread(i) | 1} }
	var none limiter.Key
	for i := range keys {
		do(r, i, limiter.OpCharge, none)
		do(l, keys+i, limiter.OpCharge, none)
		do(l, keys+i, limiter.OpGiveBack, none)
		do(l, -1, limiter.OpCharge, id(-i))
	}
	for i := range 1000 {
		do(tight, -2, limiter.OpCharge, id(-i))
	}
	at := func(i int) int { return int(spread(i) % keys) }
	for _, bb := range []struct {
		name string
		do   func(i int)
	}{
		{"rate, charge and give-back", func(i int) { do(r, at(i), limiter.OpCharge, none); do(r, at(i), limiter.OpGiveBack, none) }},
		{"anonymous pair", func(i int) {
			do(l, keys+at(i), limiter.OpCharge, none)
			do(l, keys+at(i), limiter.OpGiveBack, none)
		}},
		{"holder pair", func(i int) {
			do(l, keys+at(i), limiter.OpCharge, id(i))
			do(l, keys+at(i), limiter.OpRelease, id(i))
		}},
		{"holder pair among 100,000", func(i int) { do(l, -1, limiter.OpCharge, id(i)); do(l, -1, limiter.OpRelease, id(i)) }},
		{"renew among 100,000", func(i int) { do(l, -1, limiter.OpRenew, id(-at(i))) }},
		{"denied by 1,000", func(int) { do(tight, -2, limiter.OpCharge, none) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				bb.do(i)
			}
		})
	}
}

// BenchmarkKinds is one call on one of a hundred thousand random keys of each kind,
// which all allow it. What a concurrency limit's charge takes is given back, a slot
// under an id released.
func BenchmarkKinds(b *testing.B) {
	const keys = 100_000
	kinds := []struct {
		name string
		spec limiter.Spec
	}{
		{"rate", limiter.Spec{Kind: limiter.KindRate, Amount: 1_000_000, Period: time.Second}},
		{"fixed", limiter.Spec{Kind: limiter.KindFixed, Amount: 1 << 31, Period: time.Hour}},
		{"sliding", limiter.Spec{Kind: limiter.KindSliding, Amount: 1 << 31, Period: time.Hour}},
		{"pace", limiter.Spec{Kind: limiter.KindPace, Amount: 1_000_000, Period: time.Second, MaxWait: limiter.WaitMax}},
		{"concurrency", limiter.Spec{Kind: limiter.KindConcurrency, Amount: 1 << 31, Period: time.Hour}},
		{"concurrency under an id", limiter.Spec{Kind: limiter.KindConcurrency, Amount: 1 << 31, Period: time.Hour}},
	}
	tab := newTable(b, table.Config{EntriesMax: 1 << 26, BytesMax: 1 << 34})
	defer tab.Clear()
	limits := make([]*limiter.Limit, len(kinds))
	for i := range kinds {
		kinds[i].spec.Domain, kinds[i].spec.Name = "shop", kinds[i].name
		limits[i] = limit(b, kinds[i].spec)
	}
	tab.Install(limits)
	var c limiter.Call
	decide := func(lim, i int, op limiter.Op, holder limiter.Key) {
		k := limiter.Key{Hi: spread(i + lim*keys), Lo: spread(^(i + lim*keys)) | 1}
		c.Reset()
		c.Holder, c.Patience = holder, limiter.Never
		c.Add(limiter.Charge{Key: k, Limit: limits[lim], Cost: 1, Partition: k.Partition(), Op: op})
		tab.Prefetch(k, k.Partition())
		tab.Decide(start, &c)
	}
	for lim, kind := range kinds {
		undo, id := limiter.OpGiveBack, func(int) (k limiter.Key) { return k }
		if kind.name == "concurrency under an id" {
			undo, id = limiter.OpRelease, func(i int) limiter.Key { return limiter.Key{Hi: spread(i + 1<<40), Lo: spread(i) | 1} }
		}
		for i := range keys {
			decide(lim, i, limiter.OpCharge, id(i))
			decide(lim, i, undo, id(i))
		}
		b.Run(kind.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				at := int(spread(i) % keys)
				decide(lim, at, limiter.OpCharge, id(i))
				if v, _ := c.Verdict(); v != limiter.Allowed {
					b.Fatal("denied")
				}
				decide(lim, at, undo, id(i))
			}
		})
	}
}
