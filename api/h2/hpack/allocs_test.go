//go:build !race

// The race detector adds allocations.

package hpack

import "testing"

func TestNoAllocationOnASteadyConnection(t *testing.T) {
	secret := append(clientFields(), envoyFields(1)...)
	secret[len(secret)-1].Sensitive = true
	for _, w := range append(workloads(), workload{name: "a field that is never indexed", blocks: goBlocks(secret)}) {
		t.Run(w.name, func(t *testing.T) {
			d := New(4096, 1<<14, tagOf)
			fields := make([]Field, 0, 32)
			n := 0
			decode := func() {
				block := w.blocks[n%len(w.blocks)]
				if n < len(w.first) {
					block = w.first[n]
				}
				n++
				var err error
				if fields, err = d.Decode(fields[:0], block); err != nil {
					t.Fatal(err)
				}
			}
			for range 2000 {
				decode()
			}
			if allocs := testing.AllocsPerRun(1, func() {
				for range 5000 {
					decode()
				}
			}); allocs != 0 {
				t.Errorf("%v allocations in 5000 blocks", allocs)
			}
		})
	}
}

func TestAppendingAllocatesNothing(t *testing.T) {
	b := make([]byte, 0, 200)
	name, value := []byte("grpc-message"), []byte("a text")
	if allocs := testing.AllocsPerRun(1000, func() {
		b = AppendTableSize(b[:0], 4096)
		b = AppendIndexed(b, 8)
		b = AppendLiteral(b, ":status", "503")
		b = AppendLiteral(b, name, value)
		b = AppendLiteralIndexed(b, "content-type", "application/grpc")
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
