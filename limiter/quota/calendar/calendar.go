package calendar

import (
	"time"

	"github.com/headgate/headgate/limiter"
)

// The moments that have windows, in seconds since the Unix epoch: from 1970 to
// the end of 2400. Others are taken as the nearest of them.
const (
	MomentMin int64 = 0
	MomentMax int64 = 13_601_087_999 // 2400-12-31 23:59:59 UTC
)

const (
	hour = 60 * 60
	day  = 24 * hour
	week = 7 * day
)

// A Window is the span [Start, End) in which one quota is counted, in seconds
// since the Unix epoch.
type Window struct {
	// Index names the window among those of its schedule; later ones have larger
	// numbers. It is the number of the day, week, month or span, so that nodes
	// whose time zone databases differ disagree about when a window begins, never
	// about which one it is. Of hours it is Start.
	Index int64

	Start, End int64
}

// Contains reports whether t is in the window.
func (w Window) Contains(t int64) bool { return w.Start <= t && t < w.End }

// A Calendar divides time into windows.
type Calendar struct {
	unit     limiter.CalendarUnit
	reset    int64 // seconds after the beginning of the day, or of the hour
	weekday  int64 // days from Thursday, the first of the epoch, to the first of a week
	dayOf    int   // of the month, from 1
	months   int64 // between two windows that begin with months
	month    int64 // the first of them, from 0
	every    int64 // of spans: seconds
	spanZero int64 // of spans: when the one with index 0 begins

	length int64
	zone   *time.Location
}

// New returns the calendar of a schedule in a zone, which is the one that s.Zone
// names, loaded by the caller; nil means UTC. Of a quota that rolls, the windows
// are its sub-windows.
//
// Errors are those of [limiter.Schedule.Check].
func New(s limiter.Schedule, zone *time.Location) (*Calendar, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if zone == nil {
		zone = time.UTC
	}
	s = s.Canonical()
	c := &Calendar{
		unit: s.Unit, zone: zone,
		reset:   int64(s.ResetAt / time.Second),
		weekday: (int64(s.WeekStart) + 3) % 7,
		dayOf:   int(s.Day),
		months:  1,
		month:   int64(s.Month) - 1,
		every:   int64(s.Every / time.Second),
		length:  int64(s.Length()/time.Second) / max(1, int64(s.Rolling)),
	}
	if s.Rolling > 0 {
		c.unit, c.every = limiter.PerSpan, c.length
	}
	switch c.unit { //nolint:exhaustive // the others need nothing
	case limiter.PerSpan:
		c.spanZero = c.reached(c.reset)
	case limiter.PerMonth:
		c.month = 0
	case limiter.PerQuarter:
		c.months = 3
	case limiter.PerYear:
		c.months = 12
	}
	return c, nil
}

// Window returns the window that contains t, in seconds since the Unix epoch,
// for t in [MomentMin, MomentMax].
//
// The windows of a calendar follow each other without gap or overlap: the one
// that begins at End is Window(End).
func (c *Calendar) Window(t int64) Window {
	t = min(max(t, MomentMin), MomentMax)
	switch c.unit {
	case limiter.PerSpan:
		i := floorDiv(t-c.spanZero, c.every)
		start := c.spanZero + i*c.every
		return Window{i, start, start + c.every}
	case limiter.PerHour:
		start := c.hourBefore(t)
		return Window{start, start, c.hourAfter(t)}
	case limiter.PerDay:
		return c.days(t, day, c.reset)
	case limiter.PerWeek:
		return c.days(t, week, c.weekday*day+c.reset)
	default:
		return c.byMonths(t)
	}
}

// Length returns how many seconds a window has at most, on a clock that is never
// set. It is the schedule's, whatever the rules of the zone are: with the start of
// a window it names one whose end those rules may still move.
func (c *Calendar) Length() int64 { return c.length }

// days returns the window of t, of those that have so many seconds on a clock
// that is never set, and begin so long after the epoch.
func (c *Calendar) days(t, seconds, phase int64) Window {
	i := floorDiv(c.shown(t)-phase, seconds)
	start := phase + i*seconds
	return Window{i, c.reached(start), c.reached(start + seconds)}
}

// byMonths returns the window of t, of those that begin in a month.
func (c *Calendar) byMonths(t int64) Window {
	shown := c.shown(t)
	y, m, _ := time.Unix(shown, 0).UTC().Date()
	i := floorDiv(int64(y)*12+int64(m)-1-c.month, c.months)
	if c.beginning(i) > shown {
		i--
	}
	return Window{i, c.reached(c.beginning(i)), c.reached(c.beginning(i + 1))}
}

// beginning returns what the clock on the wall shows when window i begins, as
// seconds since 1970-01-01 00:00 on that wall.
func (c *Calendar) beginning(i int64) int64 {
	first := time.Date(0, time.Month(i*c.months+c.month+1), 1, 0, 0, 0, 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return first.Unix() + int64(min(c.dayOf, last)-1)*day + c.reset
}

// floorDiv returns a ÷ b, rounded down; b > 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// floorMod returns what floorDiv leaves, in [0, b).
func floorMod(a, b int64) int64 { return a - floorDiv(a, b)*b }
