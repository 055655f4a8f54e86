package gubernator

import (
	"strconv"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// The algorithms.
const (
	tokenBucket = 0 // a window that begins with its first hit
	leakyBucket = 1
)

// The bits of a behavior. Those that are not used here change nothing about what
// is decided: every decision is made where the counter is.
const (
	noBatching     = 1
	global         = 2
	gregorian      = 4
	reset          = 8
	multiRegion    = 16
	drainOver      = 32
	behaviorsKnown = noBatching | global | gregorian | reset | multiRegion | drainOver
)

// createdMax is how far a request's created_at may be from the node's clock, which
// is what decides.
const createdMax = 10 * time.Second

// durationMax is the longest duration, in milliseconds.
const durationMax = int64(limiter.PeriodMax / time.Millisecond)

// calendar returns the span that a Gregorian duration names; 0: none.
func calendar(duration int64) policy.Unit {
	switch duration {
	case 0:
		return policy.UnitMinute
	case 1:
		return policy.UnitHour
	case 2:
		return policy.UnitDay
	case 4:
		return policy.UnitMonth
	case 5:
		return policy.UnitYear
	default:
		return 0
	}
}

func outOfBounds(field string, v int64, bound string) error {
	return &api.Fault{Reason: api.OutOfBounds, Field: field, Value: strconv.FormatInt(v, 10), Bound: bound}
}

// check refuses what can't be carried.
func (it *item) check(now limiter.Instant, bounds *api.Bounds) error {
	switch {
	case len(it.key) == 0:
		return &api.Fault{Reason: api.Malformed, Field: "unique_key", Bound: "must not be empty"}
	case len(it.name) == 0:
		return &api.Fault{Reason: api.Malformed, Field: "name", Bound: "must not be empty"}
	case len(it.name) > bounds.KeyBytes:
		return api.TooLong("name", len(it.name), bounds.KeyBytes)
	case len(it.key) > bounds.ValueBytes:
		return api.TooLong("unique_key", len(it.key), bounds.ValueBytes)
	case it.algorithm != tokenBucket && it.algorithm != leakyBucket:
		return outOfBounds("algorithm", int64(it.algorithm), "must be TOKEN_BUCKET (0) or LEAKY_BUCKET (1)")
	case it.behavior&^behaviorsKnown != 0:
		return outOfBounds("behavior", int64(it.behavior), "has bits that are not known")
	case it.limit < 0:
		return outOfBounds("limit", it.limit, "at least 0")
	case it.burst < 0:
		return outOfBounds("burst", it.burst, "at least 0")
	case it.behavior&gregorian != 0:
		if calendar(it.duration) == 0 {
			return outOfBounds("duration", it.duration, "must be minutes (0), hours (1), days (2), months (4) or years (5) with DURATION_IS_GREGORIAN")
		}
	case it.duration < 1 || it.duration > durationMax:
		return outOfBounds("duration", it.duration, "in [1, "+strconv.FormatInt(durationMax, 10)+"] milliseconds")
	}
	return it.checkCreated(now)
}

func (it *item) checkCreated(now limiter.Instant) error {
	at := int64(now) / int64(time.Millisecond)
	const most = int64(createdMax / time.Millisecond)
	if it.createdAt != 0 && (it.createdAt < at-most || it.createdAt > at+most) {
		return outOfBounds("created_at", it.createdAt, "within "+createdMax.String()+" of the node's clock, which decides")
	}
	return nil
}

// request has r say what it asks for, as of now. r is empty and keeps its slices.
func (it *item) request(now limiter.Instant, r *policy.Request) {
	c := policy.Carried{
		Kind: limiter.KindFixed, Amount: uint64(it.limit), Period: time.Duration(it.duration) * time.Millisecond, At: now,
		Drain: it.behavior&drainOver != 0, Restart: it.behavior&reset != 0,
	}
	if it.algorithm == leakyBucket {
		c.Kind, c.Burst = limiter.KindRate, uint64(it.burst)
	}
	if it.behavior&gregorian != 0 {
		c.Calendar, c.Period = calendar(it.duration), 0
	}
	op, cost := limiter.OpCharge, uint64(it.hits)
	switch {
	case it.hits == 0:
		op = limiter.OpPeek
	case it.hits < 0:
		op, cost = limiter.OpGiveBack, -uint64(it.hits)
	}
	r.SetCarried(it.name, it.key, op, cost, c)
}
