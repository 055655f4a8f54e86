//go:build !race

// The race detector makes sync.Pool forget at random.

package api_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
)

func TestDeskAllocatesNothing(t *testing.T) {
	g := gate(t, deciderFunc(func(_ limiter.Instant, c *limiter.Call) bool {
		decide(c, limiter.Decision{Verdict: limiter.Allowed})
		return true
	}))
	desk := api.NewDesk(g, wallClock, time.Second)
	domain, key, value := []byte("shop"), []byte("user"), []byte("u")
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		x := desk.Open()
		x.Req.Domain = domain
		x.Req.AddDescriptor()
		x.Req.AddEntry(key, value)
		desk.Close(desk.Decide(ctx, x))
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
