package consensus_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/consensus/consensustest"
)

// BenchmarkPropose is what a proposal costs without a disk: one voter, stores in
// memory, 64 callers.
func BenchmarkPropose(b *testing.B) {
	n := consensustest.New()
	m := newMachine(n, "a", 8, "a")
	m.begin(b, n)
	for g := range uint32(8) {
		for !m.Leads(g) {
			time.Sleep(time.Millisecond)
		}
	}
	entry := make([]byte, 256)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := m.Propose(b.Context(), 0, entry); err != nil {
				b.Error(err)
			}
		}
	})
	m.halt(b)
}

// BenchmarkStart is how long a lone voter takes until it leads 8 groups.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		n := consensustest.New()
		m := newMachine(n, "a", 8, "a")
		m.begin(b, n)
		for g := range uint32(8) {
			for m.Barrier(b.Context(), g) != nil {
				time.Sleep(100 * time.Microsecond)
			}
		}
		b.StopTimer()
		m.halt(b)
		b.StartTimer()
	}
}
