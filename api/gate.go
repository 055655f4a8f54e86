package api

import (
	"slices"
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
	// Patient says that the caller waits by itself if a pace says so: the door
	// tells it Call.Wait. For others the desk holds the answer. The door sets it
	// before Desk.Charge.
	Patient bool
	// Latest, if not 0, is when the caller stops waiting for the answer, as far as
	// the door knows. The door sets it before Desk.Charge.
	Latest limiter.Instant

	// Stripe spreads the observer's counters: exchanges that are used at the
	// same time on different processors have different stripes.
	Stripe uint32

	// In holds the request's bytes where a door has to copy them, and Out the
	// answer's. Both keep their room.
	In, Out []byte

	// Finished, if not nil, is called once when the Decider finishes x and
	// nobody has called Desk.Expire: from any goroutine, so it must not block.
	// The door sets it before Desk.Charge; Wait is for those who don't.
	Finished func(x *Exchange)
	// Errand is the door's own, for Finished: the Decider has x meanwhile.
	Errand Errand

	done     chan struct{}   // one send per Finish without Finished; room for one
	ended    atomic.Bool     // Finished or Expire: the first one has x
	deadline limiter.Instant // the door's copy: Call's belongs to the Decider

	place bool        // one of the desk's HeldMax is x's
	held  atomic.Bool // decided, and waiting for its turn
	spent bool        // the alarm may be about to release x: it is not used again
	// The alarm that releases x; nil until it is first needed.
	setAlarm  func(time.Duration)
	stopAlarm func() bool
}

// An Errand is what a door remembers of an exchange that is not decided yet.
type Errand struct {
	ID    uint64
	Place int32
	Flags uint32
}

// Reset empties x for another request of the same owner.
func (x *Exchange) Reset() {
	x.Req.Reset()
	x.Call.Reset()
	x.Snapshot, x.Outcome = nil, 0
	x.Patient, x.Latest = false, 0
	x.place = false
	x.held.Store(false)
	x.In, x.Out = keep(x.In), keep(x.Out)
}

// Keep copies what x.Req points to into x.In, which is then the request's alone,
// for a door whose own buffer will be used again before the Decider has
// finished.
func (x *Exchange) Keep() {
	n := len(x.Req.Domain) + len(x.Req.Holder) + len(x.Req.RequestID)
	costs := x.Req.Costs()
	for i := range costs {
		n += len(costs[i].Unit)
	}
	descriptors := x.Req.Descriptors()
	for i := range descriptors {
		for _, e := range descriptors[i].Entries {
			n += len(e.Key) + len(e.Value)
		}
	}
	in := slices.Grow(x.In[:0], n)
	own := func(b []byte) []byte {
		from := len(in)
		in = append(in, b...)
		return in[from:len(in):len(in)]
	}
	x.Req.Domain = own(x.Req.Domain)
	if x.Req.Holder != nil {
		x.Req.Holder = own(x.Req.Holder)
	}
	if x.Req.RequestID != nil {
		x.Req.RequestID = own(x.Req.RequestID)
	}
	for i := range costs {
		costs[i].Unit = own(costs[i].Unit)
	}
	for i := range descriptors {
		for j := range descriptors[i].Entries {
			e := &descriptors[i].Entries[j]
			e.Key, e.Value = own(e.Key), own(e.Value)
		}
	}
	x.In = in
}

// finish is what the Decider's Finish leads to.
func (x *Exchange) finish() {
	finished := x.Finished
	switch {
	case finished == nil:
		x.done <- struct{}{}
	case x.ended.CompareAndSwap(false, true):
		finished(x)
	}
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
	case policy.LifetimeTooLong:
		return &Fault{
			OutOfBounds, "lifetime", x.Req.Lifetime.String(),
			"at most " + policy.ShortestLifetime(&x.Call).String() + ", the shortest lifetime of the limits",
		}
	case policy.NotRemembered:
		return &Fault{
			NotRemembered, "request_id", Quote(x.Req.RequestID),
			"with charge: all_or_nothing and several limits, an exact quota that is enforced and not any_of has to be among them",
		}
	case policy.CarriedRefused:
		r := x.Req.Refusal()
		return &Fault{OutOfBounds, r.Field, r.Value, r.Bound}
	case policy.InvalidOverride:
		return &Fault{OutOfBounds, "descriptors.limit", "", "the amount or the period is beyond what a window can hold"}
	default:
		if x.Call.Reused {
			return &Fault{Reused, "request_id", Quote(x.Req.RequestID), "it stands for another charge, or for one that was given back"}
		}
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
	g.Match(x)
	return g.Charge(now, x)
}

// Foresee starts fetching what Match will read of the policy. A door with several
// requests does well to foresee them all, and once more those of which more is to
// be fetched, before it matches the first.
func (g *Gate) Foresee(x *Exchange) (more bool) { return g.Policies.Load().Foresee(&x.Req) }

// Match is the first half of Begin. It has the memory of the counters fetched,
// so that a door with several requests does well to match them all first.
func (g *Gate) Match(x *Exchange) {
	x.Snapshot = g.Policies.Load()
	x.Outcome = x.Snapshot.Match(&x.Req, &x.Call)
}

// Charge is the second half of Begin.
func (g *Gate) Charge(now limiter.Instant, x *Exchange) (done bool) {
	if !g.decide(now, x) {
		return false
	}
	g.End(now, x)
	return true
}

// decide is Charge without the observer.
func (g *Gate) decide(now limiter.Instant, x *Exchange) (done bool) {
	return x.Outcome != policy.Matched || len(x.Call.Charges()) == 0 || g.Decider.Decide(now, &x.Call)
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
	g.degrade(now, x, limiter.Unavailable)
}

// Shed is Unavailable for a request that comes too late to be decided.
func (g *Gate) Shed(now limiter.Instant, x *Exchange) { g.degrade(now, x, limiter.Overload) }

func (g *Gate) degrade(now limiter.Instant, x *Exchange, why limiter.Degraded) {
	g.Match(x)
	charges := x.Call.Charges()
	for i := range charges {
		ch := &charges[i]
		d := limiter.Decision{Verdict: limiter.Allowed, Degraded: why}
		if ch.Limit.OnUnavailable == limiter.UnavailableDeny && ch.Op != limiter.OpGiveBack && ch.Op != limiter.OpRelease {
			d.Verdict, d.RetryAfter = limiter.Denied, unavailableRetry
		}
		ch.Decision = d
	}
	g.End(now, x)
}
