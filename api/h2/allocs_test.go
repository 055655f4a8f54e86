//go:build !race

// The race detector makes sync.Pool forget at random.

package h2_test

import (
	"bytes"
	"runtime"
	"testing"
)

// Requests as a real Envoy sends them, each with two values of its own in its
// header block: from the bytes of a read to those of a write nothing is allocated
// for a request, header blocks included.
func TestFrontAllocatesNothing(t *testing.T) {
	const batch = 32
	mallocs := func(rounds int) uint64 {
		p := newTape(batch, 60, true)
		batches := make([][]byte, rounds)
		for i := range batches {
			batches[i] = bytes.Clone(p.batch())
		}
		i := 0
		p.rounds, p.batch = rounds, func() []byte { i++; return batches[i-1] }
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		play(t, p)
		runtime.ReadMemStats(&after)
		return after.Mallocs - before.Mallocs
	}
	mallocs(100) // fills the pools
	few, many := mallocs(100), mallocs(2100)
	// A connection allocates some hundred times, and a collection may empty the
	// pools meanwhile: far less than once for each of 64,000 requests.
	if extra := int64(many) - int64(few); extra > 200 {
		t.Errorf("%d allocations for %d more requests", extra, 2000*batch)
	}
}
