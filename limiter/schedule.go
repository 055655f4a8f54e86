package limiter

import (
	"errors"
	"time"
)

// A CalendarUnit is what a quota is counted per. The zero CalendarUnit is a
// span of elapsed time.
type CalendarUnit uint8

// The units. All but PerSpan follow the clock on the wall of a time zone.
const (
	PerSpan CalendarUnit = iota // Schedule.Every, whatever the clock on the wall does
	PerHour
	PerDay
	PerWeek
	PerMonth
	PerQuarter
	PerYear
)

// String returns the unit's name as policies spell it; "span" for PerSpan.
func (u CalendarUnit) String() string {
	switch u {
	case PerSpan:
		return "span"
	case PerHour:
		return "hour"
	case PerDay:
		return "day"
	case PerWeek:
		return "week"
	case PerMonth:
		return "month"
	case PerQuarter:
		return "quarter"
	case PerYear:
		return "year"
	default:
		return "invalid"
	}
}

// Bounds of a Schedule.
const (
	// SpanMin bounds Schedule.Every, and each sub-window of a rolling quota;
	// PeriodMax is the upper bound of Every.
	SpanMin = time.Minute
	// RollingMin and RollingMax bound Schedule.Rolling.
	RollingMin = 2
	RollingMax = 60
	// ZoneBytesMax bounds Schedule.Zone.
	ZoneBytesMax = 64
)

// A Schedule says when a quota begins again. Package limiter/quota/calendar
// turns it into windows.
//
// The zero value of every field but Unit is a default; a field that has no
// meaning beside Unit must be zero.
type Schedule struct {
	Unit  CalendarUnit
	Every time.Duration // PerSpan only: whole seconds in [SpanMin, PeriodMax]

	// Zone is the name of a time zone in the IANA database; empty means UTC. The
	// spans of PerSpan, and all that roll, use it to find where to begin.
	Zone string
	// ResetAt is the time of day at which a window begins: whole seconds in
	// [0, 24h); of PerHour the minute and second of the hour, below 1h.
	ResetAt time.Duration
	// WeekStart is the first day of a week: 1 is Monday, 7 is Sunday; 0 means 1.
	// PerWeek only, and not of one that rolls.
	WeekStart uint8
	// Day is the day of the month at which a window begins, in [1, 31], 0 means 1:
	// the last day of a month that is shorter. PerMonth, PerQuarter, PerYear.
	Day uint8
	// Month is the month in which a year or one of the quarters begins, in
	// [1, 12], 0 means 1. PerQuarter and PerYear.
	Month uint8

	// Rolling divides the period into so many sub-windows of equal elapsed time;
	// the amount is for any that many in a row, and the one before. In
	// [RollingMin, RollingMax], each at least SpanMin and whole seconds; 0 means
	// that all begins afresh with each window. Not with PerMonth, PerQuarter and
	// PerYear, which have no fixed length.
	Rolling uint8
}

// Length returns how long a window is at most, but for an hour or a day that a
// change of the clock makes longer; of a quota that rolls, the whole period: 31,
// 92 and 366 days for months, quarters and years. 0 for an invalid unit.
func (s *Schedule) Length() time.Duration {
	const day = 24 * time.Hour
	switch s.Unit {
	case PerSpan:
		return s.Every
	case PerHour:
		return time.Hour
	case PerDay:
		return day
	case PerWeek:
		return 7 * day
	case PerMonth:
		return 31 * day
	case PerQuarter:
		return 92 * day
	case PerYear:
		return 366 * day
	default:
		return 0
	}
}

// Canonical returns s with defaults and equivalents spelt in one way: two
// schedules with the same windows in every year have the same Canonical.
func (s Schedule) Canonical() Schedule {
	if s.Zone == "" {
		s.Zone = "UTC"
	}
	switch s.Unit { //nolint:exhaustive // the others have no such fields
	case PerWeek:
		s.WeekStart = max(s.WeekStart, 1)
	case PerMonth, PerQuarter, PerYear:
		s.Day, s.Month = max(s.Day, 1), max(s.Month, 1)
		if s.Unit == PerQuarter {
			s.Month = (s.Month-1)%3 + 1
		}
	}
	return s
}

// Check returns one [*BoundError] for each bound that s breaks, joined. It does
// not know which zones there are.
func (s *Schedule) Check() error {
	var b boundCheck
	s.check(&b)
	return errors.Join(b...)
}

func (s *Schedule) check(b *boundCheck) {
	if s.Unit > PerYear {
		b.fail("Unit", uint8(s.Unit), "in [%d, %d]", PerSpan, PerYear)
		return
	}
	switch {
	case s.Unit != PerSpan && s.Every != 0:
		b.fail("Every", s.Every, "0: only a span has one")
	case s.Unit == PerSpan && (s.Every < SpanMin || s.Every > PeriodMax || s.Every%time.Second != 0):
		b.fail("Every", s.Every, "whole seconds in [%v, %v]", SpanMin, PeriodMax)
	}
	if n := len(s.Zone); n > ZoneBytesMax {
		b.fail("Zone", s.Zone[:ZoneBytesMax], "at most %d bytes", ZoneBytesMax)
	}
	before := 24 * time.Hour
	if s.Unit == PerHour {
		before = time.Hour
	}
	if s.ResetAt < 0 || s.ResetAt >= before || s.ResetAt%time.Second != 0 {
		b.fail("ResetAt", s.ResetAt, "whole seconds in [0, %v)", before)
	}
	s.checkAnchors(b)
	s.checkRolling(b)
}

func (s *Schedule) checkAnchors(b *boundCheck) {
	anchor := func(field string, value, most uint8, has bool, whose string) {
		switch {
		case !has && value != 0:
			b.fail(field, value, "0: only %s has one", whose)
		case value > most:
			b.fail(field, value, "in [1, %d]", most)
		}
	}
	years := s.Unit == PerQuarter || s.Unit == PerYear
	anchor("WeekStart", s.WeekStart, 7, s.Unit == PerWeek && s.Rolling == 0, "a week that does not roll")
	anchor("Day", s.Day, 31, s.Unit == PerMonth || years, "a month, a quarter or a year")
	anchor("Month", s.Month, 12, years, "a quarter or a year")
}

func (s *Schedule) checkRolling(b *boundCheck) {
	switch n, seconds := int64(s.Rolling), int64(s.Length()/time.Second); {
	case n == 0:
	case s.Unit >= PerMonth:
		b.fail("Rolling", s.Rolling, "0: a %s has no fixed length", s.Unit)
	case n < RollingMin || n > RollingMax:
		b.fail("Rolling", s.Rolling, "in [%d, %d]", RollingMin, RollingMax)
	case seconds < n*int64(SpanMin/time.Second) || seconds%n != 0:
		b.fail("Rolling", s.Rolling, "a number that divides %v into whole seconds, each part at least %v", s.Length(), SpanMin)
	}
}
