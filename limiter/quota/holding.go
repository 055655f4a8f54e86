package quota

import (
	"time"

	"github.com/headgate/headgate/limiter"
)

// A Holding is what the holder of a counter remembers of it in one window: how
// many units it may spend without asking anybody. The zero Holding holds nothing
// and is the first life of its tenure; see [NewHolding]. It has one owner: whoever
// holds the lock of the counter's partition.
//
// It changes nothing by itself. [Holding.Need], [Holding.Surplus],
// [Holding.Owed] and [Holding.Close] say which commands to propose, and
// [Holding.Learn] and [Holding.Lost] are told what became of them. Not one unit
// is spent that was not learned to be granted.
type Holding struct {
	known    uint64 // granted, as far as it has heard
	returned uint64 // given back, raised before the pool is told
	used     uint64 // spent, less what was refunded
	held     uint64 // set aside by open holds
	debt     uint64 // post-paid use that did not fit, cumulative
	cleared  uint64 // of debt: given back, or units became free here since
	free     uint64 // what the pool had left, as far as it has heard
	seen     limiter.Instant
	recent   float32 // units spent in about the last h.lasting: a hint, no account
	began    uint32  // when it was first spent from without a pause since, in ticks: a hint too
	life     uint32
	state    state
}

// tickBits is how many bits of an Instant a tick leaves out: it has 67 ms.
const tickBits = 26

func ticks(at limiter.Instant) uint32 { return uint32(at >> tickBits) }

// A state is a set of what a Holding is waiting for.
type state uint16

const (
	asking    state = 1 << iota // an OpEnsure is under way
	returning                   // an OpReturn is
	owing                       // an OpDebt is
	returnDue                   // the pool has not confirmed what was returned
	debtDue                     // the pool has not confirmed what is owed
	exhausted                   // the pool refused, for want of units
	outdated                    // the pool has not heard of the policy in force
	warm                        // it was spent from twice within Idle
	refused                     // it gets no more grants
	closed                      // nothing may be spent any more
	done                        // and the pool knows
	doubtful                    // an OpEnsure that was refused or lost may yet be granted
	reported                    // the pool was told what was spent when it last returned units
	grew                        // units became free since an OpEnsure is under way
)

// Terms are what the limit and the settings say of a counter. They are shared by
// many.
type Terms struct {
	Version  uint64        // of the policy in force, at least 1
	Limit    uint64        // the amount, at most limiter.AmountMax
	MaxDebt  uint64        // at most limiter.AmountMax
	GrantMax uint64        // largest grant fetched ahead, at least 1
	Horizon  time.Duration // how long a grant should last, above 0; up to 8 times as long in steady use
	Idle     time.Duration // a balance unused for so long goes back, and use begins anew
}

// NewHolding returns the Holding of a counter that its tenure may have forgotten
// before: life is above that of every earlier one (see [Holder]).
func NewHolding(life uint32) Holding { return Holding{life: life} }

// An Outcome says what became of a charge.
type Outcome uint8

// The outcomes.
const (
	Admitted  Outcome = iota + 1
	Short             // not yet: ask by Need, and try again when its answer is known
	Exceeded          // the pool has not that many units left
	Forbidden         // there are too few, and this holder gets no more
)

// Life returns which life of its tenure this is.
func (h *Holding) Life() uint32 { return h.life }

// Balance returns how many units may be spent now.
func (h *Holding) Balance() uint64 { return h.known - h.returned - h.used - h.held }

// Closed reports whether nothing may be spent any more: the balance is the pool's.
func (h *Holding) Closed() bool { return h.is(closed) }

// Used returns what was spent, net of refunds.
func (h *Holding) Used() uint64 { return h.used }

// Held returns the units that open holds set aside.
func (h *Holding) Held() uint64 { return h.held }

// Owes returns the post-paid use that did not fit, and for which no units have
// become free here since. The pool keeps as many units for it, when it has them.
func (h *Holding) Owes() uint64 { return h.debt - h.cleared }

// Free returns what the pool had left when it was last heard of.
func (h *Holding) Free() uint64 { return h.free }

func (h *Holding) is(s state) bool { return h.state&s != 0 }

// Spend charges cost units, if it has them.
func (h *Holding) Spend(now limiter.Instant, cost uint64, t *Terms) Outcome {
	outcome := h.fits(cost)
	if outcome == Admitted {
		h.used += cost
		h.note(now, cost, t)
	}
	return outcome
}

// Hold sets cost units aside for a call whose cost is known later. Each hold ends
// with one Commit or Cancel of the same units; who keeps it commits it in full
// when it expires.
func (h *Holding) Hold(now limiter.Instant, cost uint64, t *Terms) Outcome {
	outcome := h.fits(cost)
	if outcome == Admitted {
		h.held += cost
		h.note(now, cost, t)
	}
	return outcome
}

func (h *Holding) fits(cost uint64) Outcome {
	balance := h.Balance()
	switch {
	case h.is(closed):
		return Forbidden
	case cost <= balance:
		return Admitted
	case h.is(exhausted) && cost-balance > h.free:
		return Exceeded
	case h.is(refused):
		return Forbidden
	default:
		return Short
	}
}

// Commit ends a hold of units with what the call has cost: less goes back to the
// balance, more is charged like Post. It returns what is newly owed, and what is
// beyond the largest debt and was recorded nowhere.
func (h *Holding) Commit(units, cost uint64, t *Terms) (owed, lost uint64) {
	excess := cost - min(cost, units)
	units = min(units, h.held) // Close has charged them already
	h.held -= units
	h.used += min(units, cost)
	if excess > 0 {
		owed, lost = h.post(excess, t)
	}
	h.settle()
	return owed, lost
}

// Cancel ends a hold of units of which nothing was used.
func (h *Holding) Cancel(units uint64) {
	h.held -= min(units, h.held)
	h.settle()
}

// Post charges post-paid use, which has happened and is never refused: what fits
// the balance is spent, the rest owed, up to the largest debt. It returns what is
// newly owed, and what is beyond that and was recorded nowhere. To let use fit that
// the pool has room for, ask first, as for Spend.
func (h *Holding) Post(now limiter.Instant, cost uint64, t *Terms) (owed, lost uint64) {
	h.note(now, cost, t)
	return h.post(cost, t)
}

func (h *Holding) post(cost uint64, t *Terms) (owed, lost uint64) {
	if !h.is(closed) {
		fits := min(cost, h.Balance())
		h.used += fits
		cost -= fits
	}
	room := uint64(0)
	if owes := h.Owes(); owes < t.MaxDebt {
		room = t.MaxDebt - owes
	}
	owed = min(cost, room)
	if owed > 0 {
		h.debt += owed
		h.state |= debtDue
	}
	return owed, cost - owed
}

// Refund gives back units that were charged. What is owed is cleared first. It
// returns how many could not be credited: they were not charged here, in this
// window and life.
func (h *Holding) Refund(units uint64) (dropped uint64) {
	units -= h.clear(units)
	if h.is(closed) {
		return units // its use was reported for good
	}
	credited := min(units, h.used)
	h.used -= credited
	return units - credited
}

// clear lowers what is owed by up to units and returns by how many.
func (h *Holding) clear(units uint64) uint64 {
	units = min(units, h.Owes())
	if units > 0 {
		h.cleared += units
		h.state |= debtDue
	}
	return units
}

// settle serves what is owed from units that a hold has set free.
func (h *Holding) settle() {
	if !h.is(closed) {
		h.used += h.clear(h.Balance())
	}
}

// Content reports whether a charge that was just decided by h leaves it in need of
// nothing: Need would then have nothing to ask for, if no charge waits. It may be
// false where that is so too.
func (h *Holding) Content(t *Terms) bool {
	if h.steady() < t.Horizon {
		return false // its grants are for more than the recent use
	}
	if h.state&(outdated|exhausted|refused|closed) != 0 {
		return h.state&(outdated|exhausted) == exhausted && h.free == 0
	}
	// A grant has at most the recent use, or usedMin.
	return lowPart*float32(h.Balance()) > max(h.recent, usedMin)+lowPart
}

// note keeps the recent use, from which grants are sized: it decays by half in
// as long as a grant should last, without use.
func (h *Holding) note(now limiter.Instant, cost uint64, t *Terms) {
	if cost == 0 {
		return
	}
	h.decay(now, t)
	h.recent += float32(cost)
}

func (h *Holding) decay(now limiter.Instant, t *Terms) {
	since := max(0, now.Sub(h.seen))
	h.state &^= warm
	if h.seen != 0 && since <= t.Idle {
		h.state |= warm
		h.recent *= fade(h.lasting(t), since)
	} else {
		h.began, h.recent = ticks(max(h.seen, now)), 0
	}
	h.seen = max(h.seen, now)
}

// fade returns what counts of the use in a span after as long as since without any.
func fade(lasting, since time.Duration) float32 { return float32(lasting) / float32(lasting+since) }

// steady returns for how long the counter had been in use without a pause when it was
// last spent from.
func (h *Holding) steady() time.Duration { return time.Duration(ticks(h.seen)-h.began) << tickBits }

// lasting returns how long a grant should last: a horizon, or as long as the counter
// has been in use without a pause, up to steadyMax horizons.
func (h *Holding) lasting(t *Terms) time.Duration {
	return min(max(h.steady(), t.Horizon), steadyMax*t.Horizon)
}
