package limiter

import (
	"testing"
	"time"
)

var decisionSink Decision

func BenchmarkApply(b *testing.B) {
	rate := Spec{Kind: KindRate, Amount: 1_000_000, Period: time.Second, Burst: 1 << 40}
	thirds := Spec{Kind: KindRate, Amount: 3_000_000, Period: 1_000_003 * time.Microsecond, Burst: 1 << 40}
	pace := Spec{Kind: KindPace, Amount: 1_000_000, Period: time.Second, MaxWait: WaitMax}
	paceThirds := Spec{Kind: KindPace, Amount: 3_000_000, Period: 1_000_003 * time.Microsecond, MaxWait: WaitMax}
	never := Spec{Kind: KindPace, Amount: 1, Period: PeriodMax, MaxWait: WaitMin}
	empty := Spec{Kind: KindRate, Amount: 1, Period: PeriodMax, Burst: 1}
	benches := []struct {
		name string
		spec Spec
		op   Op
		cost uint64
	}{
		{"rate", rate, OpCharge, 1},
		{"rate_cost7", rate, OpCharge, 7},
		{"rate_fraction", thirds, OpCharge, 1},
		{"fixed", Spec{Kind: KindFixed, Amount: AmountMax, Period: time.Minute}, OpCharge, 1},
		{"sliding", Spec{Kind: KindSliding, Amount: SlidingAmountMax, Period: PeriodMin}, OpCharge, 1},
		{"peek", rate, OpPeek, 0},
		{"denied", empty, OpCharge, 1},
		{"pace", pace, OpCharge, 1},
		{"pace_cost7", pace, OpCharge, 7},
		{"pace_fraction", paceThirds, OpCharge, 1},
		{"pace_peek", pace, OpPeek, 0},
		{"pace_denied", never, OpCharge, 1},
	}
	for _, bb := range benches {
		b.Run(bb.name, func(b *testing.B) {
			l, c, now := mustLimit(b, bb.spec), Counter{}, noon
			l.Apply(&c, now, OpCharge, 1)
			b.ReportAllocs()
			for b.Loop() {
				now += 100
				decisionSink = l.Apply(&c, now, bb.op, bb.cost)
			}
		})
	}
}

func BenchmarkInit(b *testing.B) {
	s, l := Spec{Kind: KindRate, Amount: 999_983, Period: time.Second}, new(Limit)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Init(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKey(b *testing.B) {
	h := NewKeyHasher([16]byte{1})
	buf := make([]byte, 0, 64)
	id, value := LimitID{1}, []byte("203.0.113.195")
	var sum uint64
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendValue(append(buf[:0], id[:]...), value)
		sum += h.Key(buf).Lo
	}
	decisionSink.Remaining = sum
}
