// Package clock is the only place that asks the system for the time.
//
// It is not a timer and not a scheduler. [Clock.Now] shows the wall clock as it
// was when the clock was made plus the monotonic time since, so it never runs
// backwards inside a process. A wall clock that is stepped while the process
// runs is followed only by [Clock.Follow], by running up to 0.1 % faster or
// slower. Safe for concurrent use. Nothing here fails.
//
// See docs/adr/0008-life-cycle.md.
package clock

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/headgate/headgate/limiter"
)

const (
	// slewMax is how much faster or slower than the monotonic clock Now may
	// run, in parts per million.
	slewMax = 1000
	// followEvery is how often Follow looks at the wall clock.
	followEvery = time.Second
	// lead is how far ahead a change of slew is announced. Every reader then
	// has the same line before and after the change, whenever it learns of it,
	// so no two readings can be out of order.
	lead = 100 * time.Millisecond
)

// A Clock tells Instants. Make one with New.
type Clock struct {
	start time.Time // carries the monotonic reading that all segments count from
	seg   atomic.Pointer[segment]
}

// A line is how the clock runs from some moment on.
type line struct {
	mono time.Duration   // since start, where the line begins
	at   limiter.Instant // what the clock shows there
	ppm  int64           // slew
}

func (l *line) now(mono time.Duration) limiter.Instant {
	d := int64(mono - l.mono)
	// In steps of a microsecond: at most 1 ns each, so d's own growth outweighs
	// them, and no overflow within 292 years.
	return l.at + limiter.Instant(d+d/1000*l.ppm/1000)
}

// A segment is the line that the clock runs on and the one that led up to it.
type segment struct{ before, after line }

func (s *segment) now(mono time.Duration) limiter.Instant {
	if mono < s.after.mono {
		return s.before.now(mono)
	}
	return s.after.now(mono)
}

// New returns a clock that agrees with the wall clock now.
func New() *Clock {
	t := time.Now()
	c := &Clock{start: t}
	c.seg.Store(&segment{after: line{at: limiter.Instant(t.UnixNano())}})
	return c
}

// Now returns the present moment. It allocates nothing.
func (c *Clock) Now() limiter.Instant {
	mono := time.Since(c.start)
	return c.seg.Load().now(mono)
}

// Follow drifts towards the wall clock, so that epoch windows become aligned
// again after the wall clock was stepped or the machine slept, until ctx ends.
// At 0.1 % a step of one minute takes 17 hours. Run it once per clock.
func (c *Clock) Follow(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.adjust(time.Since(c.start), time.Now())
		}
	}
}

// adjust announces a new segment whose slew makes up, within the second after
// it begins, for what the clock is behind or ahead of wall at mono, as far as
// slewMax allows.
func (c *Clock) adjust(mono time.Duration, wall time.Time) {
	old := c.seg.Load().after
	if mono < old.mono {
		return // the last change is still to come
	}
	behind := (wall.UnixNano() - int64(old.now(mono))) / int64(time.Microsecond)
	begin := mono + lead
	c.seg.Store(&segment{
		before: old,
		after:  line{mono: begin, at: old.now(begin), ppm: max(-slewMax, min(slewMax, behind))},
	})
}
