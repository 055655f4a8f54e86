package api

import (
	"time"

	"github.com/headgate/headgate/limiter"
)

// HeldDefault is how many calls a Desk holds at once unless its HeldMax says
// otherwise.
const HeldDefault = 1_000

// A pace tells callers when to start. Those of a door that says x.Patient are
// told in the answer; for the others the desk holds the answer until then. An
// exchange that is held is decided: it is never decided again, whatever comes
// between, since its turn is taken.

// Held returns how many calls are held now, or could be.
func (d *Desk) Held() int64 { return d.held.Load() }

// Unheld returns how many calls a pace decided as if their callers could not
// wait, because HeldMax others did.
func (d *Desk) Unheld() uint64 { return d.unheld.Load() }

// patience returns how long the caller of x can wait, and reserves the place
// that x needs if a pace may have it held. An eighth of the time that the caller
// leaves is for the answer's way.
func (d *Desk) patience(now limiter.Instant, x *Exchange) time.Duration {
	if x.Patient {
		return limiter.Never
	}
	left := d.timeout
	if x.Latest != 0 {
		left = max(min(left, x.Latest.Sub(now)), 0)
	}
	if paced(&x.Call) {
		if d.Alarm == nil {
			return 0
		}
		if d.held.Add(1) > d.HeldMax {
			d.held.Add(-1)
			d.unheld.Add(1)
			return 0
		}
		x.place = true
		if x.setAlarm == nil {
			x.setAlarm, x.stopAlarm = d.Alarm(func() { d.release(x) })
		}
	}
	return left - left/8
}

// paced reports whether a charge of c could have its caller wait.
func paced(c *limiter.Call) bool {
	charges := c.Charges()
	for i := range charges {
		if takesTurn(&charges[i]) {
			return true
		}
	}
	return false
}

// takesTurn reports whether ch makes its caller wait if it is allowed.
func takesTurn(ch *limiter.Charge) bool {
	return ch.Limit.Kind == limiter.KindPace && ch.Op == limiter.OpCharge && ch.Cost > 0 && !ch.Limit.Shadow
}

// turn returns how long x, which is decided, is to be held.
func (x *Exchange) turn() (wait time.Duration) {
	charges := x.Call.Charges()
	for i := range charges {
		if takesTurn(&charges[i]) {
			wait = max(wait, charges[i].Decision.Wait)
		}
	}
	if v, _ := x.Verdict(); v == limiter.Denied {
		return 0
	}
	return wait
}

// hold has x finished when its turn comes, if that is not now.
func (d *Desk) hold(x *Exchange) (held bool) {
	if !x.place {
		return false
	}
	wait := x.turn()
	if wait == 0 {
		x.place = false
		d.held.Add(-1)
		return false
	}
	x.held.Store(true)
	x.setAlarm(wait)
	return true
}

// release finishes x, whose turn has come.
func (d *Desk) release(x *Exchange) {
	d.held.Add(-1)
	x.finish()
}

// finished is what the Decider's Finish leads to.
func (d *Desk) finished(x *Exchange) {
	if !d.hold(x) {
		x.finish()
	}
}

// early ends the hold of x before its turn, for a door that can't wait longer.
func (d *Desk) early(x *Exchange) {
	if x.stopAlarm() {
		d.held.Add(-1)
	} else {
		x.spent = true // release has x too, for a moment
	}
}
