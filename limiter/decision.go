package limiter

import "time"

// A Verdict says whether a charge passes. The zero value means not decided.
type Verdict uint8

// The verdicts.
const (
	Undecided Verdict = iota
	Allowed
	Denied
)

// String returns "undecided", "allowed" or "denied".
func (v Verdict) String() string {
	switch v {
	case Allowed:
		return "allowed"
	case Denied:
		return "denied"
	default:
		return "undecided"
	}
}

// A Degraded says why a decision was made without its counter. The zero value
// means that it was made with it.
type Degraded uint8

// The reasons.
const (
	NotDegraded          Degraded = iota
	TableFull                     // no room for a new counter: the table's on_full decided
	ShareFull                     // no room for a new counter in this domain's share
	Overload                      // shed before it was decided
	Unavailable                   // the owner could not be reached: on_unavailable decided
	ReservationsFull              // no room for another reservation: nothing was charged
	ReservationShareFull          // no room for another one in this domain's share
)

// DegradedCount is how many there are, NotDegraded among them.
const DegradedCount = int(ReservationShareFull) + 1

// String returns the reason as the x-headgate-degraded header spells it; ""
// for NotDegraded.
func (d Degraded) String() string {
	switch d {
	case TableFull:
		return "table_full"
	case ShareFull:
		return "table_share_full"
	case Overload:
		return "overload"
	case Unavailable:
		return "unavailable"
	case ReservationsFull:
		return "reservations_full"
	case ReservationShareFull:
		return "reservations_share_full"
	default:
		return ""
	}
}

// A Decision is the outcome of one charge, as the caller sees it after the
// charge was made (or refused, or only looked at).
type Decision struct {
	Verdict  Verdict
	Degraded Degraded

	// Remaining is how many units could still pass now, in whole units.
	// For an unlimited limit it is the largest uint64.
	Remaining uint64

	// RetryAfter is 0 when allowed. When denied it is the shortest wait after
	// which the same cost could pass if nobody else acts, or Never.
	RetryAfter time.Duration

	// Wait is how long an allowed caller is to wait before it starts; 0: go. Only
	// a pace makes anyone wait.
	Wait time.Duration

	// ResetAfter is how long until the counter equals a fresh one if nobody
	// acts; 0 if it does already.
	ResetAfter time.Duration
}
