package api

import (
	"sync/atomic"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// An Exchange is everything that one request needs from its first byte to its
// last: pooled by the doors, owned by one request at a time.
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
}

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
