package api

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// keepBytesMax is how much room an exchange keeps for the next request.
const keepBytesMax = 64 << 10

// A Desk is where doors take their requests: it lends exchanges, has the gate
// decide them, and waits, within a bound, for a Decider that takes its time.
// It is safe for concurrent use.
type Desk struct {
	// HeldMax is how many calls are held at once, so that their callers start when
	// a pace says; beyond it a pace takes callers to be unable to wait. At least 0.
	// Set it before first use.
	HeldMax int64
	// Alarm makes a timer, not set yet, that calls ring in a goroutine of its own;
	// stop reports whether it kept ring from being called. Nil: nobody is held. Set
	// it before first use.
	Alarm func(ring func()) (set func(time.Duration), stop func() bool)

	gate    *Gate
	now     func() limiter.Instant
	timeout time.Duration
	pool    sync.Pool
	stripe  atomic.Uint32
	late    atomic.Uint64
	faults  atomic.Uint64
	held    atomic.Int64 // places taken of HeldMax
	unheld  atomic.Uint64
}

// NewDesk returns a desk at gate. A decision takes at most timeout, which is
// positive. now is the node's clock.
func NewDesk(gate *Gate, now func() limiter.Instant, timeout time.Duration) *Desk {
	d := &Desk{gate: gate, now: now, timeout: timeout, HeldMax: HeldDefault}
	d.pool.New = func() any {
		x := &Exchange{Stripe: d.stripe.Add(1), done: make(chan struct{}, 1)}
		x.Call.Done = func(*limiter.Call) { d.finished(x) }
		return x
	}
	return d
}

// Now returns the node's time.
func (d *Desk) Now() limiter.Instant { return d.now() }

// Policy returns the policy in force.
func (d *Desk) Policy() *policy.Snapshot { return d.gate.Policies.Load() }

// Late returns how many decisions were not made in time, so that on_unavailable
// decided.
func (d *Desk) Late() uint64 { return d.late.Load() }

// Faults returns how many requests were not decided.
func (d *Desk) Faults() uint64 { return d.faults.Load() }

// CountFault counts a request that was not decided. Doors call it where they
// answer with an error.
func (d *Desk) CountFault() { d.faults.Add(1) }

// Open lends an empty exchange. The caller owns it until it calls Close, or
// Wait, which may trade it for another.
func (d *Desk) Open() *Exchange {
	x, _ := d.pool.Get().(*Exchange) // the pool holds nothing else
	return x
}

// Close takes x back. Neither x nor anything in it may be used afterwards. An
// exchange in an unknown state, after a panic, must not be given back.
func (d *Desk) Close(x *Exchange) {
	if x.spent {
		return
	}
	x.Reset()
	x.Finished = nil
	x.ended.Store(false)
	d.pool.Put(x)
}

func keep(b []byte) []byte {
	if cap(b) > keepBytesMax {
		return nil
	}
	return b[:0]
}

// Decide decides x.Req and returns the exchange that holds the decisions: see
// Wait.
func (d *Desk) Decide(ctx context.Context, x *Exchange) *Exchange {
	now := d.now()
	if latest, ok := ctx.Deadline(); ok {
		x.Latest = limiter.Instant(latest.UnixNano())
	}
	if d.Begin(now, x) {
		return x
	}
	return d.Wait(ctx, now, x)
}

// Begin matches and decides x.Req. If it returns false, the Decider has x and
// the caller must call Wait, with the same now.
func (d *Desk) Begin(now limiter.Instant, x *Exchange) (done bool) {
	d.Match(x)
	return d.Charge(now, x)
}

// Foresee makes ready for Match: a door with several requests does well to foresee
// them all before it matches the first, see Gate.Foresee.
func (d *Desk) Foresee(x *Exchange) (more bool) { return d.gate.Foresee(x) }

// Match is the first half of Begin: a door with several requests does well to
// match them all before it charges the first, see Gate.Match.
func (d *Desk) Match(x *Exchange) { d.gate.Match(x) }

// Charge is the second half of Begin. If it returns false, x is with the
// Decider, or held until its turn comes, and the caller calls Wait or, if it has set x.Finished, waits for that, no longer than until
// Deadline, and then calls End or Expire.
func (d *Desk) Charge(now limiter.Instant, x *Exchange) (done bool) {
	x.deadline = now.Add(d.timeout)
	x.Call.Deadline = x.deadline
	x.Call.Patience = d.patience(now, x)
	if !d.gate.decide(now, x) || d.hold(x) {
		return false
	}
	d.gate.End(now, x)
	return true
}

// Shed matches x and decides it without its counters, for a door that is too
// late already: see Gate.Unavailable.
func (d *Desk) Shed(now limiter.Instant, x *Exchange) { d.gate.Shed(now, x) }

// Timeout returns how long a decision takes at most.
func (d *Desk) Timeout() time.Duration { return d.timeout }

// Deadline returns when x, which Charge left to the Decider, is late.
func (d *Desk) Deadline(x *Exchange) limiter.Instant { return x.deadline }

// End tells the observer of x, for which Finished was called. now is the moment
// that it was charged at.
func (d *Desk) End(now limiter.Instant, x *Exchange) { d.gate.End(now, x) }

// Expire ends the wait for x, which Charge left to the Decider: it stays there
// for good, and another exchange is returned, decided by on_unavailable. If x is
// held, it is returned as it is decided. It is
// nil if the Decider was faster: then Finished has been called, or is about to be.
// now is as for End.
func (d *Desk) Expire(now limiter.Instant, x *Exchange) *Exchange {
	if !x.ended.CompareAndSwap(false, true) {
		return nil
	}
	if x.held.Load() {
		d.early(x)
		d.gate.End(now, x)
		return x
	}
	return d.unavailable(now, x)
}

// Wait waits until x, which Begin left to the Decider, is decided, at most
// until its deadline and ctx's, and returns the exchange that holds the decisions. That
// is x if the Decider was in time. Otherwise x stays with the Decider for good,
// and another one is returned, decided by on_unavailable: what the Decider
// charges after the deadline stays charged. If x is held, its turn comes before
// the deadline, and Wait waits for it whatever ctx says.
func (d *Desk) Wait(ctx context.Context, now limiter.Instant, x *Exchange) *Exchange {
	// What is left of it at present: a batch waits for its checks one by one.
	ctx, cancel := context.WithTimeout(ctx, x.deadline.Sub(d.now()))
	defer cancel()
	select {
	case <-x.done:
		d.gate.End(now, x)
		return x
	case <-ctx.Done():
		if x.held.Load() {
			<-x.done
			d.gate.End(now, x)
			return x
		}
		select {
		case <-x.done: // just in time
			d.gate.End(now, x)
			return x
		default:
		}
	}
	return d.unavailable(now, x)
}

// unavailable returns an exchange that is decided without the Decider, instead
// of x.
func (d *Desk) unavailable(now limiter.Instant, x *Exchange) *Exchange {
	d.late.Add(1)
	// The copy's entries point into x, which is never used again, so the
	// garbage collector keeps them as long as the copy needs them.
	y := d.Open()
	y.Req, y.Errand = x.Req, x.Errand
	d.gate.Unavailable(now, y)
	return y
}
