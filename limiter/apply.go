package limiter

import (
	"math"
	"time"
)

// A Counter is the state of one counter in 16 bytes. The zero Counter, and
// every counter whose Due is not after now, equals a fresh one: nothing used.
type Counter struct {
	// Due is when the counter equals a fresh one if nobody acts, rounded up to
	// a whole nanosecond. A table may forget a counter that is due.
	Due Instant
	// Word is the rest of the state; its meaning depends on the kind.
	Word uint64
}

// Apply does op with cost to c at now and reports the outcome.
//
// OpCharge charges cost if it fits. If it does not, nothing is charged unless
// the limit has CountDenied: then a window counts the cost all the same, and a
// bucket is drained to empty, never below. OpPeek changes nothing and is
// allowed iff cost would pass now; a cost of 0 asks whether 1 would or, with
// PeekUsed, whether what is used is within the limit. OpCharge of 0 is a peek.
// OpGiveBack is always allowed and never makes a counter better than fresh.
// Of a pace, the caller is taken to wait as long as the limit may ask it to;
// see [Limit.PaceTo].
//
// A cost above the limit's capacity is denied and Never passes, so costs of
// any size are safe; capacities are at most AmountMax. A now outside
// [0, InstantMax] is taken as the nearest bound. A now earlier than the last
// one denies more, by at most the step back: nothing refills, what refilled in
// the step is not there yet, and no window opens twice. A limit that Init did not accept decides nothing: Undecided.
//
// Nor does one of KindConcurrency: its units are held by slots, of which there are
// many to a key (see limiter/slots and limiter/table). Nor one of KindQuota, whose
// units are granted by a ledger (see limiter/quota).
//
// Apply allocates nothing and cannot overflow, whatever c holds.
func (l *Limit) Apply(c *Counter, now Instant, op Op, cost uint64) Decision {
	var d Decision
	l.ApplyTo(&d, c, now, op, cost)
	return d
}

// ApplyTo is [Limit.Apply] with the outcome stored in d. A Decision that is
// returned is written word by word and then copied in larger pieces, for which
// the processor has to wait.
func (l *Limit) ApplyTo(d *Decision, c *Counter, now Instant, op Op, cost uint64) {
	if l.Kind == KindPace {
		l.PaceTo(d, c, now, Ask{Op: op, Cost: cost, Patience: l.MaxWait})
		return
	}
	o := l.apply(c, now, op, cost)
	d.Verdict, d.Degraded = o.verdict, NotDegraded
	d.Remaining, d.RetryAfter, d.ResetAfter, d.Wait = o.remaining, o.retryAfter, o.resetAfter, 0
}

func (l *Limit) apply(c *Counter, now Instant, op Op, cost uint64) outcome {
	now = min(max(now, 0), InstantMax)
	if op == OpGiveBack {
		return l.giveBack(c, now, cost)
	}
	charge := op == OpCharge && cost > 0 // the operations of slots only look
	if cost == 0 && !l.PeekUsed {
		cost = 1
	}
	switch l.Kind {
	case KindRate:
		return l.applyRate(c, now, cost, charge)
	case KindFixed:
		return l.applyFixed(c, now, cost, charge)
	case KindSliding:
		return l.applySliding(c, now, cost, charge)
	case KindUnlimited:
		return unlimited()
	default:
		return outcome{}
	}
}

func (l *Limit) giveBack(c *Counter, now Instant, units uint64) outcome {
	switch l.Kind {
	case KindRate:
		return l.giveBackRate(c, now, units)
	case KindFixed:
		return l.giveBackFixed(c, now, units)
	case KindSliding:
		return l.giveBackSliding(c, now, units)
	case KindUnlimited:
		return unlimited()
	default:
		return outcome{}
	}
}

// unlimited returns the one outcome of KindUnlimited.
func unlimited() outcome { return outcome{verdict: Allowed, remaining: math.MaxUint64} }

// An outcome is what a kind says of a Decision. It has four fields because Go
// keeps a struct of up to four in registers: passing Decisions from function to
// function doubles the time that Apply takes.
type outcome struct {
	verdict    Verdict
	remaining  uint64
	retryAfter time.Duration
	resetAfter time.Duration
}
