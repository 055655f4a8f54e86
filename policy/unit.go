package policy

import "time"

// A Unit is a span that people name. Months and years are those of Envoy's
// service: exactly 30 and 365 days. The zero Unit is not valid.
type Unit uint8

// The units.
const (
	UnitSecond Unit = iota + 1
	UnitMinute
	UnitHour
	UnitDay
	UnitWeek
	UnitMonth
	UnitYear
)

// Duration returns the unit's length; 0 for an invalid unit.
func (u Unit) Duration() time.Duration {
	const day = 24 * time.Hour
	switch u {
	case UnitSecond:
		return time.Second
	case UnitMinute:
		return time.Minute
	case UnitHour:
		return time.Hour
	case UnitDay:
		return day
	case UnitWeek:
		return 7 * day
	case UnitMonth:
		return 30 * day
	case UnitYear:
		return 365 * day
	default:
		return 0
	}
}

// String returns the unit's shortest name that a policy file accepts, such as
// "s", "min" or "month"; "invalid" for an invalid unit.
func (u Unit) String() string {
	switch u {
	case UnitSecond:
		return "s"
	case UnitMinute:
		return "min"
	case UnitHour:
		return "h"
	case UnitDay:
		return "day"
	case UnitWeek:
		return "week"
	case UnitMonth:
		return "month"
	case UnitYear:
		return "year"
	default:
		return "invalid"
	}
}
