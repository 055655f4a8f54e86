//go:build !race

// The race detector makes sync.Pool forget at random.

package gubernator

import (
	"fmt"
	"testing"
)

// thousand is the largest batch, of distinct keys.
func thousand() []byte {
	var in []byte
	for i := range 1000 {
		r := window(1)
		r.key = fmt.Sprintf("account:%d", i)
		in = append(in, wireOf(1, r.wire())...)
	}
	return in
}

func TestABatchAllocatesNothing(t *testing.T) {
	b, in := newBench(t, services, nil), thousand()
	var out []byte
	decide := func() {
		bt, err := b.batches.Begin(in)
		if err != nil || !bt.Decide(b.now) {
			t.Fatal(err)
		}
		out = bt.Append(out[:0])
		bt.Close()
	}
	for range 20 {
		decide()
	}
	if n := testing.AllocsPerRun(100, decide); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if len(out) < 10_000 {
		t.Errorf("an answer of %d bytes", len(out))
	}
}

func BenchmarkBatch(b *testing.B) {
	svc, in := newBench(b, services, nil), thousand()
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		bt, err := svc.batches.Begin(in)
		if err != nil || !bt.Decide(svc.now) {
			b.Fatal(err)
		}
		out = bt.Append(out[:0])
		bt.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/decision")
}
