package api

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// A Reason says why a request can't be decided. The zero Reason is not valid.
type Reason uint8

// The reasons.
const (
	Malformed      Reason = iota + 1 // not a message of its type, or a field says nothing valid
	OutOfBounds                      // beyond one of the Bounds or a bound of the limiter
	UnknownDomain                    // no policy has the domain, and that is an error by the policy
	TooManyCharges                   // the policy makes it owe more than limiter.ChargesMax charges
	Reused                           // its id stands for another request
	NotRemembered                    // its id can't be remembered under this policy

	// Those of reservations.
	NoReservation    // there is none, or not any more
	OtherReservation // it was made for something else, or ended with another cost
	BusyReservation  // another request is deciding or ending it
	EndedReservation // it has ended
	LateReservation  // it was not decided or ended in time
	FullReservations // there is no room for it
)

// A Fault is why a request was not decided: nothing was charged.
type Fault struct { //nolint:errname // one of our words: an api.Fault is no ordinary failure
	Reason Reason
	Field  string // path of the field, such as "descriptors[2].entries[0].key"
	Value  string // what it is, or its length if that is what matters; may be empty
	Bound  string // what it must be
}

// Error says all of it in one line.
func (f *Fault) Error() string {
	if f.Value == "" {
		return f.Field + ": " + f.Bound
	}
	return f.Field + ": " + f.Value + ": " + f.Bound
}

// TooLong returns the fault of a field of n bytes where bound are allowed.
func TooLong(field string, n, bound int) *Fault {
	return &Fault{OutOfBounds, field, strconv.Itoa(n) + " bytes", fmt.Sprintf("at most %d bytes", bound)}
}

// TooMany returns the fault of a list of n, or more, where bound are allowed.
func TooMany(field string, n, bound int) *Fault {
	return &Fault{OutOfBounds, field, strconv.Itoa(n), fmt.Sprintf("at most %d", bound)}
}

// NotProto returns the fault of bytes that are no protobuf message.
func NotProto(field string) *Fault {
	return &Fault{Reason: Malformed, Field: field, Bound: "must be a valid protobuf message"}
}

// NotText returns the fault of a string that is not UTF-8.
func NotText(field string) *Fault {
	return &Fault{Reason: Malformed, Field: field, Bound: "must be valid UTF-8"}
}

// quoteBytesMax is how much of a value a Fault repeats.
const quoteBytesMax = 64

// Quote returns what a Fault shows of a value: its first bytes, quoted.
func Quote(b []byte) string {
	if len(b) <= quoteBytesMax {
		return strconv.QuoteToASCII(string(b))
	}
	n := quoteBytesMax
	for n > 0 && !utf8.RuneStart(b[n]) {
		n--
	}
	return strconv.QuoteToASCII(string(b[:n])) + "…"
}
