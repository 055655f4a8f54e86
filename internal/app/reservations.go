package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/headgate/headgate/cluster/reservations"
	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/internal/obs"
	"github.com/headgate/headgate/limiter/hold"
)

// expireEvery is how often up to 256 reservations whose time has come are looked at, and
// expireRounds how often in a row if more have: 81,920 a second.
const (
	expireEvery  = 100 * time.Millisecond
	expireRounds = 32
	// refusedEvery is how often it is logged that reservations are refused.
	refusedEvery = 30 * time.Second
)

// newReservations returns the node's reservations, of which there are none yet.
func (n *node) newReservations() (*reservations.Reservations, error) {
	c := &n.Config.Reservations
	return reservations.New(reservations.Config{
		Decider: &n.router, Now: n.clock.Now, Max: c.Max, IgnoreLate: c.LateSettle == config.LateSettleIgnore,
		ShareMax: float64(c.SharePercent) / 100,
	})
}

// expireReservations has reservations expire, and be forgotten, until ctx ends. Those that
// are open then stay charged in full.
func (n *node) expireReservations(ctx context.Context) {
	tick, say := time.NewTicker(expireEvery), time.NewTicker(refusedEvery)
	defer tick.Stop()
	defer say.Stop()
	refusals := refusalLog{log: n.Log, bounds: n.reserved.Bounds()}
	for {
		select {
		case <-ctx.Done():
			return
		case <-say.C:
			refusals.look(n.reserved.Stats().Domains)
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
	b := n.reserved.Bounds()
	r := obs.ReservationReading{RecordsMax: uint64(b.Max), ShareMax: uint64(b.Share)}
	for domain, c := range n.reserved.Stats().Domains {
		r.Domains = append(r.Domains, obs.ReservationCounts{
			Domain: domain, Open: uint64(c.Open), Records: uint64(c.Records),
			Made: c.Opened, Settled: c.Settled - c.Late, Late: c.Late, Expired: c.Expired, Undone: c.Undone,
			Refused: c.Refused, ShareFull: c.ShareFull, Short: c.Short,
		})
	}
	return r
}

// A refusalLog says which domains were refused reservations, and by which bound: an answer
// says only that there is no room.
type refusalLog struct {
	log    *slog.Logger
	bounds hold.Bounds
	said   map[string]hold.Counts // as they were when it was said last
}

// look logs what has been refused since the last look.
func (l *refusalLog) look(now map[string]hold.Counts) {
	for domain, c := range now {
		was := l.said[domain]
		l.say(domain, "reservations.max", l.bounds.Max, c.Refused, was.Refused)
		l.say(domain, "reservations.share_percent", l.bounds.Share, c.ShareFull, was.ShareFull)
	}
	l.said = now
}

func (l *refusalLog) say(domain, setting string, bound int, is, was uint64) {
	if is > was {
		l.log.Warn("reservations are refused for want of room", slog.String("domain", domain),
			slog.String("setting", setting), slog.Int("bound", bound), slog.Uint64("refused", is-was))
	}
}
