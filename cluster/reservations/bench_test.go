package reservations_test

import (
	"runtime"
	"testing"

	"github.com/headgate/headgate/cluster/reservations"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
)

// plenty returns a node with room and units for as many reservations as there may be.
func plenty(b *testing.B) *node {
	b.Helper()
	n := newNode(b, func(c *reservations.Config) { c.Max = reservations.RecordsLimit })
	n.quota.Amount = 1 << 50
	n.serve(b)
	for _, l := range []*limiter.Limit{n.rate, n.window} {
		s := l.Spec
		s.Amount = 1 << 20
		if err := l.Init(s); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

// BenchmarkReserveAndSettle reserves units of a rate, a window and a quota and settles a
// part of them. B/record is what an open reservation takes of memory, with an answer of
// 300 bytes.
func BenchmarkReserveAndSettle(b *testing.B) {
	n := plenty(b)
	ctx, answer := n.wait(), func() []byte { return make([]byte, 300) }
	call := func() *limiter.Call {
		return n.call(limiter.Charge{Limit: n.rate, Cost: 2}, limiter.Charge{Limit: n.window, Cost: 2}, limiter.Charge{Limit: n.quota, Cost: 2})
	}
	open := func(name uint64) {
		c := call()
		_, o := n.Reserve(ctx, n.now, c, hold.Ask{ID: id(name), Content: id(1), Lifetime: lifetime}, answer)
		if o != hold.Done || verdict(c) != limiter.Allowed {
			b.Fatalf("outcome %d, %v", o, verdict(c))
		}
		n.run()
	}
	open(1 << 40) // the keys' own memory
	const many = 100_000
	before := heap()
	for i := range uint64(many) {
		open(1<<41 + i)
	}
	perRecord := float64(heap()-before) / many
	end := hold.End{Content: id(2), Costs: func(*limiter.Limit, uint64) uint64 { return 1 }}
	b.ReportAllocs()
	name := uint64(0)
	for b.Loop() {
		name++
		open(name)
		end.ID = id(name)
		if _, o := n.Settle(ctx, n.now, end, func(hold.Settlement) []byte { return nil }); o != hold.Done {
			b.Fatalf("outcome %d", o)
		}
	}
	b.ReportMetric(perRecord, "B/record")
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
