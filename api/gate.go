package api

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// An Exchange is everything that one request needs from its first byte to its
// last: lent by a Desk, owned by one request at a time.
type Exchange struct {
	Req  policy.Request
	Call limiter.Call

	// Snapshot is the policy that the request was matched against; set by Begin.
	Snapshot *policy.Snapshot
	// Outcome is what the match found; set by Begin.
	Outcome policy.Outcome
	// Stripe spreads the observer's counters: exchanges that are used at the
	// same time on different processors have different stripes.
	Stripe uint32

	// In holds the request's bytes where a door has to copy them, and Out the
	// answer's. Both keep their room.
	In, Out []byte

	done     chan struct{}   // one send per Finish; room for one
	deadline limiter.Instant // the door's copy: Call's belongs to the Decider
}

// Fault returns why x was not decided, or nil if it was. Begin must have run.
func (x *Exchange) Fault() error {
	switch x.Outcome {
	case policy.UnknownDomainError:
		return &Fault{UnknownDomain, "domain", Quote(x.Req.Domain), "no policy has this domain"}
	case policy.TooManyCharges:
		return &Fault{
			TooManyCharges, "domain", Quote(x.Req.Domain),
			"its policy makes this request owe more than " + strconv.Itoa(limiter.ChargesMax) + " charges",
		}
	case policy.InvalidOverride:
		return &Fault{OutOfBounds, "descriptors.limit", "", "the amount or the period is beyond what a window can hold"}
	default:
		return nil
	}
}

// Verdict merges the outcome and the decisions of x. by is the index of the
// charge that decides a denial, or −1 if it is allowed or no charge denied it:
// then the domain is unknown and denied for that.
func (x *Exchange) Verdict() (v limiter.Verdict, by int) {
	if x.Outcome == policy.UnknownDomainDeny {
		return limiter.Denied, -1
	}
	return x.Call.Verdict()
}

// UnknownDomainLimit is what a denial names if no limit denied it, but
// `on_unknown_domain: deny`.
const UnknownDomainLimit = "on_unknown_domain"

// An Observer is told of every request that was decided. It must not block,
// allocate or keep x.
type Observer interface {
	Observe(now limiter.Instant, x *Exchange)
}

// A Gate takes a request through match, decision and observation. Its fields
// are set once, before first use.
type Gate struct {
	Policies *atomic.Pointer[policy.Snapshot]
	Decider  Decider
	Observer Observer // nil: nobody is told
}

// Begin matches x.Req and decides x.Call, which the caller has Reset. It
// returns true if x is decided. If it returns false, x belongs to the Decider
// until x.Call.Done runs; the caller then calls End.
func (g *Gate) Begin(now limiter.Instant, x *Exchange) (done bool) {
	x.Snapshot = g.Policies.Load()
	x.Outcome = x.Snapshot.Match(&x.Req, &x.Call)
	if x.Outcome == policy.Matched && len(x.Call.Charges()) > 0 && !g.Decider.Decide(now, &x.Call) {
		return false
	}
	g.End(now, x)
	return true
}

// End tells the observer of a request that was decided.
func (g *Gate) End(now limiter.Instant, x *Exchange) {
	if g.Observer != nil {
		g.Observer.Observe(now, x)
	}
}

// unavailableRetry is the wait that a denial names when the counter could not
// be reached: long enough not to be a retry storm, short against an outage.
const unavailableRetry = time.Second

// Unavailable decides x without its counters, each charge as its limit's
// on_unavailable says, and ends it. `local` allows: a share of this node is the
// Decider's to give, and there was no time for it.
func (g *Gate) Unavailable(now limiter.Instant, x *Exchange) {
	x.Snapshot = g.Policies.Load()
	x.Outcome = x.Snapshot.Match(&x.Req, &x.Call)
	charges := x.Call.Charges()
	for i := range charges {
		ch := &charges[i]
		d := limiter.Decision{Verdict: limiter.Allowed, Degraded: limiter.Unavailable}
		if ch.Limit.OnUnavailable == limiter.UnavailableDeny && ch.Op != limiter.OpGiveBack {
			d.Verdict, d.RetryAfter = limiter.Denied, unavailableRetry
		}
		ch.Decision = d
	}
	g.End(now, x)
}
