package apitest

import (
	"testing"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/decision"
	"github.com/headgate/headgate/cluster"
	"github.com/headgate/headgate/cluster/reservations"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// Native returns the native API's service at desk, with room for a few reservations.
func Native(tb testing.TB, desk *api.Desk, d api.Decider, now func() limiter.Instant) *decision.Service {
	tb.Helper()
	return &decision.Service{Desk: desk, Bounds: api.DefaultBounds(), Reservations: Reservations(tb, d, now)}
}

// Reservations returns ones over d, which is the table of a Gate; of another decider
// nothing can be reserved.
func Reservations(tb testing.TB, d api.Decider, now func() limiter.Instant) *reservations.Reservations {
	tb.Helper()
	counters, _ := d.(*table.Table)
	r, err := reservations.New(reservations.Config{Decider: &cluster.Router{Table: counters}, Now: now, Max: 3})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}
