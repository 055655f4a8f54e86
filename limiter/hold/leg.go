package hold

import (
	"math/bits"
	"time"

	"github.com/headgate/headgate/limiter"
)

// A Leg is what a reservation has charged one counter.
type Leg struct {
	Key       limiter.Key
	Limit     *limiter.Limit
	Units     uint64 // at least 1
	Partition limiter.Partition
	// Was is what giving back takes. Of a quota: Charge.Was. Of a rate and a pace:
	// when the units that were charged until then have all come back by themselves. Of
	// a window: when it ends.
	Was limiter.Instant
	// Request is what the ledger has the charge of an exact quota under; zero for
	// all others.
	Request limiter.Key
	// Holder is who has charged an escrow quota; zero if that is not known, and for all
	// others. Former says that its process has ended.
	Holder Holder
	Former bool
}

// A Holder is a process as the ledger knows it: its tenure, and which life of the counter.
type Holder struct {
	Tenure uint64
	Life   uint32
}

// Exact reports whether the ledger holds what l has charged.
func (l *Leg) Exact() bool { return l.Request != limiter.Key{} }

// LegOf returns the leg of a charge that was decided at now, and false if nothing
// was charged.
func LegOf(now limiter.Instant, ch *limiter.Charge) (Leg, bool) {
	d := &ch.Decision
	if ch.Op != limiter.OpCharge || ch.Cost == 0 || d.Verdict != limiter.Allowed || d.Degraded != limiter.NotDegraded {
		return Leg{}, false
	}
	l := Leg{Key: ch.Key, Limit: ch.Limit, Units: ch.Cost, Partition: ch.Partition, Was: now.Add(d.ResetAfter)}
	switch ch.Limit.Kind {
	case limiter.KindQuota:
		l.Was = ch.Was // below 0 if it is exact
	case limiter.KindSliding:
		l.Was = l.Was.Add(-ch.Limit.Period) // it counts for one window more
	case limiter.KindUnlimited:
		return Leg{}, false
	default:
	}
	return l, true
}

// Back returns how many of units, which l has charged, may be given back at now. Units
// of a rate that have come back by themselves don't come back a second time: exactly,
// unless others gave back meanwhile, and then by no more than that. Those of a window
// come back while it lasts. What a quota's holder can credit it knows itself: of a quota
// it is all, and of slots, which are released, nothing.
func (l *Leg) Back(now limiter.Instant, units uint64) uint64 {
	units = min(units, l.Units)
	left := l.Was.Sub(now)
	switch l.Limit.Kind {
	case limiter.KindQuota:
		return units
	case limiter.KindRate, limiter.KindPace:
		return min(units, unitsIn(left, l.Limit))
	case limiter.KindFixed, limiter.KindSliding:
		if left > 0 {
			return units
		}
	default:
	}
	return 0
}

// unitsIn returns how many whole units come back in d by l's rate.
func unitsIn(d time.Duration, l *limiter.Limit) uint64 {
	if d <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(d), l.Amount)
	if hi >= uint64(l.Period) {
		return limiter.CostMax
	}
	n, _ := bits.Div64(hi, lo, uint64(l.Period))
	return n
}
