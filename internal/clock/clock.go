// Package clock is the only place that asks the system for the time.
//
// It is not a timer and not a scheduler. [Clock.Now] shows the wall clock as it
// was when the clock was made plus the monotonic time since, so it never runs
// backwards inside a process. A wall clock that is stepped while the process
// runs is followed only by [Clock.Follow], by running up to 0.1 % faster or
// slower. Safe for concurrent use.
package clock

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/headgate/headgate/limiter"
)

// slewMax is how much faster or slower than the monotonic clock Now may run,
// in parts per million.
const slewMax = 1000

// A Clock tells Instants. Make one with New.
type Clock struct {
	start time.Time // carries the monotonic reading that all segments count from
	seg   atomic.Pointer[segment]
}

// A segment is a stretch of time with one slew.
type segment struct {
	mono time.Duration // since start, where the segment begins
	at   limiter.Instant
	ppm  int64
}

func (s *segment) now(mono time.Duration) limiter.Instant {
	d := int64(mono - s.mono)
	return s.at + limiter.Instant(d+d/1_000_000*s.ppm)
}

// New returns a clock that agrees with the wall clock now.
func New() *Clock {
	t := time.Now()
	c := &Clock{start: t}
	c.seg.Store(&segment{at: limiter.Instant(t.UnixNano())})
	return c
}

// Now returns the present moment. It allocates nothing.
func (c *Clock) Now() limiter.Instant {
	mono := time.Since(c.start)
	return c.seg.Load().now(mono)
}

// Follow drifts towards the wall clock, so that epoch windows become aligned
// again after the wall clock was stepped or the machine slept, until ctx ends.
func (c *Clock) Follow(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.adjust(time.Now())
		}
	}
}

// adjust starts a new segment whose slew makes up for what now is behind or
// ahead of wall within the next second, as far as slewMax allows.
func (c *Clock) adjust(wall time.Time) {
	mono := time.Since(c.start)
	at := c.seg.Load().now(mono)
	behind := (wall.UnixNano() - int64(at)) / int64(time.Microsecond)
	c.seg.Store(&segment{mono: mono, at: at, ppm: max(-slewMax, min(slewMax, behind))})
}
