package headers

import (
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
)

// Problem types (RFC 9457) of the draft.
const (
	QuotaExceeded   = "https://iana.org/assignments/http-problem-types#quota-exceeded"
	ReducedCapacity = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
)

// ProblemType returns the type of the problem that a denial is: the quota, or
// that there was no counter to decide with.
func ProblemType(d limiter.Degraded) string {
	if d != limiter.NotDegraded {
		return ReducedCapacity
	}
	return QuotaExceeded
}

// RetryAfter returns after how many whole seconds, at least 1, what x was denied
// could pass. ok is false if x was not denied, or never can pass.
func RetryAfter(x *api.Exchange) (seconds uint64, ok bool) {
	v, by := x.Verdict()
	if v != limiter.Denied || by < 0 {
		return 0, false
	}
	wait := x.Call.Charges()[by].Decision.RetryAfter
	if wait == limiter.Never {
		return 0, false
	}
	return max(Seconds(wait), 1), true
}

// DeniedBy returns the name of the limit that denied x, which was denied.
func DeniedBy(x *api.Exchange) string {
	if _, by := x.Verdict(); by >= 0 {
		return x.Call.Charges()[by].Limit.Name
	}
	return api.UnknownDomainLimit
}

// Degraded returns why x was decided without a counter: the reason of the charge
// that decides, else the first reason of all charges.
func Degraded(x *api.Exchange) limiter.Degraded {
	_, by := x.Verdict()
	charges := x.Call.Charges()
	if by >= 0 && charges[by].Decision.Degraded != limiter.NotDegraded {
		return charges[by].Decision.Degraded
	}
	for i := range charges {
		if d := charges[i].Decision.Degraded; d != limiter.NotDegraded {
			return d
		}
	}
	return limiter.NotDegraded
}

// Stricter reports whether a, rather than b, is what an answer tells first: an
// enforced denial before all else, the longest wait first; then the enforced limit
// with the least left; a shadow limit only if there is no other.
func Stricter(a, b *limiter.Charge) bool {
	if ra, rb := rank(a), rank(b); ra != rb {
		return ra > rb
	}
	da, db := &a.Decision, &b.Decision
	if da.RetryAfter != db.RetryAfter {
		return da.RetryAfter > db.RetryAfter
	}
	if da.Remaining != db.Remaining {
		return da.Remaining < db.Remaining
	}
	return da.ResetAfter > db.ResetAfter
}

// Denies reports whether ch denies: a shadow limit never does.
func Denies(ch *limiter.Charge) bool { return rank(ch) == 2 }

func rank(ch *limiter.Charge) int {
	switch {
	case ch.Limit.Shadow:
		return 0
	case ch.Decision.Verdict == limiter.Denied:
		return 2
	default:
		return 1
	}
}

// Seconds returns d in whole seconds, rounded up.
func Seconds(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64((d-1)/time.Second) + 1
}
