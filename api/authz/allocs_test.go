//go:build !race

// The race detector makes sync.Pool forget at random.

package authz_test

import "testing"

func TestNoAllocationFromBytesToAnswer(t *testing.T) {
	for name, in := range cases(t) {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t)
			out := make([]byte, 0, 4096)
			if n := testing.AllocsPerRun(1000, func() { out = d.serve(out[:0], in) }); n != 0 || len(out) < 20 {
				t.Fatalf("%v allocations, an answer of %d bytes", n, len(out))
			}
		})
	}
}
