package calendar

import (
	"math"
	"time"
)

// A stretch is a time during which a clock on the wall is not set: it shows
// offset seconds more than UTC in [from, until).
type stretch struct{ offset, from, until int64 }

// stretch returns a stretch of the calendar's zone that t is in; the next one
// may have the same offset.
//
// No zone is a day or more from UTC, and this makes sure of it.
func (c *Calendar) stretch(t int64) stretch {
	moment := time.Unix(t, 0).In(c.zone)
	_, offset := moment.Zone()
	s := stretch{int64(offset), math.MinInt64, math.MaxInt64}
	s.offset = min(max(s.offset, -day), day)
	from, until := moment.ZoneBounds()
	if !from.IsZero() {
		s.from = from.Unix()
	}
	if !until.IsZero() {
		s.until = until.Unix()
	}
	if s.until <= t {
		// Where a zone's rules go on for ever, package time cuts them off at the
		// end of a year of 365 days (go1.26): a leap year has one more.
		s.until = (floorDiv(t, day) + 1) * day
	}
	return s
}

// shown returns the latest time that the clock on the wall has shown until t, as
// seconds since 1970-01-01 00:00 on that wall. It never goes back.
func (c *Calendar) shown(t int64) int64 {
	s := c.stretch(t)
	latest := t + s.offset
	for s.from > t-2*day { // no clock is set back by more
		last := s.from - 1
		s = c.stretch(last)
		latest = max(latest, last+s.offset)
	}
	return latest
}

// reached returns the first moment at which the clock shows wall or later: the
// first t with shown(t) ≥ wall.
func (c *Calendar) reached(wall int64) int64 {
	t := wall - day // no clock shows wall earlier
	for {
		s := c.stretch(t)
		t = max(t, wall-s.offset)
		if t < s.until {
			return t
		}
		t = s.until
	}
}

// hourBefore returns the last moment until t at which an hour began.
func (c *Calendar) hourBefore(t int64) int64 {
	s := c.stretch(t)
	for {
		start := t - floorMod(t+s.offset-c.reset, hour)
		if start >= s.from {
			return start
		}
		if c.hourSkipped(s) {
			return s.from
		}
		t = s.from - 1
		s = c.stretch(t)
	}
}

// hourAfter returns the first moment after t at which an hour begins.
func (c *Calendar) hourAfter(t int64) int64 {
	t++
	for {
		s := c.stretch(t)
		if t == s.from && c.hourSkipped(s) {
			return t
		}
		t += floorMod(c.reset-t-s.offset, hour)
		if t < s.until {
			return t
		}
		t = s.until
	}
}

// hourSkipped reports whether an hour would have begun at a time that the clock
// skipped when it was set at the beginning of s: it begins right then.
func (c *Calendar) hourSkipped(s stretch) bool {
	skippedLast := s.from + s.offset - 1
	began := skippedLast - floorMod(skippedLast-c.reset, hour)
	return began >= s.from+c.stretch(s.from-1).offset
}
