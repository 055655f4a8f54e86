package app

import (
	"context"
	"time"

	"github.com/headgate/headgate/cluster/reservations"
	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/internal/obs"
)

// expireEvery is how often up to 256 reservations whose time has come are looked at, and
// expireRounds how often in a row if more have: 81,920 a second.
const (
	expireEvery  = 100 * time.Millisecond
	expireRounds = 32
)

// newReservations returns the node's reservations, of which there are none yet.
func (n *node) newReservations() (*reservations.Reservations, error) {
	c := &n.Config.Reservations
	return reservations.New(reservations.Config{
		Decider: &n.router, Now: n.clock.Now, Max: c.Max, IgnoreLate: c.LateSettle == config.LateSettleIgnore,
	})
}

// expireReservations has reservations expire, and be forgotten, until ctx ends. Those that
// are open then stay charged in full.
func (n *node) expireReservations(ctx context.Context) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for range expireRounds {
				if !n.reserved.Sweep(n.clock.Now()) {
					break
				}
			}
		}
	}
}

// readReservations is what metrics say of the reservations.
func (n *node) readReservations() obs.ReservationReading {
	s := n.reserved.Stats()
	return obs.ReservationReading{
		Open: uint64(s.Open), Records: uint64(s.Records), RecordsMax: uint64(n.Config.Reservations.Max),
		Made: s.Opened, Settled: s.Settled - s.Late, Late: s.Late, Expired: s.Expired, Undone: s.Undone, Refused: s.Refused,
		Short: s.Short,
	}
}
