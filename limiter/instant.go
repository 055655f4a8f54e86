package limiter

import (
	"math"
	"time"
)

// An Instant is a moment in nanoseconds since the Unix epoch, as one node's
// clock tells it (internal/clock: the wall clock at start, then monotonic).
// The zero Instant is the epoch. Valid instants are in [0, InstantMax].
type Instant int64

// InstantMax is the last moment a clock may show: 2116-02-20. The room above
// it up to 2^63 ns (2262) is what HorizonMax needs, so that an instant plus a
// horizon never overflows.
const InstantMax Instant = 4611686018427387904 // 2^62 ns

// HorizonMax is the longest span a counter may reach into the future: a full
// bucket's refill time, or two windows. 100 years of 365 days.
const HorizonMax = 100 * 365 * 24 * time.Hour

// Never is the RetryAfter of a charge that could not pass at any time.
const Never = time.Duration(math.MaxInt64)

// Add returns i + d. It does not check for overflow: i ≤ InstantMax and
// d ≤ HorizonMax, or the caller's own bound.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns i − j.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Time returns i as a wall-clock time in UTC, for people to read.
func (i Instant) Time() time.Time { return time.Unix(0, int64(i)).UTC() }
