//go:build !race

// The race detector makes sync.Pool forget at random.

package rls_test

import "testing"

func TestNoAllocationFromBytesToAnswer(t *testing.T) {
	s, ctx := service(t), t.Context()
	for name, b := range requests(t) {
		t.Run(name, func(t *testing.T) {
			if err := serve(ctx, s, b); err != nil {
				t.Fatal(err)
			}
			if n := testing.AllocsPerRun(1000, func() { _ = serve(ctx, s, b) }); n != 0 {
				t.Fatalf("%v allocations", n)
			}
		})
	}
}
