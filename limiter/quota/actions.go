package quota

import "github.com/headgate/headgate/limiter"

const (
	// A grant that is fetched ahead is at most 1/limitPart of the amount and
	// 1/freePart of what is free, so that few units are stranded by a crash, and the
	// last ones are granted one by one.
	limitPart = 100
	freePart  = 8
	// A grant is fetched ahead when 1/lowPart of one is left. So a balance above that
	// and one grant was set free by give-backs and settlements, or is not used as much
	// as it was: what is beyond one grant goes back.
	lowPart = 4
	// A grant should last for a horizon, and for up to steadyMax of them if the counter
	// has been in use for so long: asking often costs entries. In the first horizon use
	// is taken to go on as it began, but no more than hasteMax times what it came to.
	steadyMax = 8
	hasteMax  = 8
	// A counter that was spent from before is granted usedMin units at least, if the
	// bounds above let it: one that is asked for now and then should not wait each time.
	usedMin = 8
)

// size returns how many units a grant should have now: recent use, bounded.
func (h *Holding) size(now limiter.Instant, t *Terms) uint64 {
	most := max(1, min(t.GrantMax, t.Limit/limitPart, h.free/freePart))
	since := max(0, now.Sub(h.seen))
	recent := h.recent * fade(h.lasting(t), since)
	if used := h.steady() + 1<<tickBits; used < t.Horizon { // that much use was in less than a horizon
		recent *= min(float32(t.Horizon)/float32(used), hasteMax)
	}
	least := uint64(1)
	if h.seen != 0 {
		least = usedMin
	}
	if recent >= float32(most) {
		return most
	}
	return min(max(least, uint64(recent)), most)
}

// Need returns the OpEnsure to propose now, if any: want is the cost of the
// charge that waits longest for units, waiting that of all that wait, 0 if none does.
// It is to be asked after each charge, and again when an answer was learned. Who
// proposes it adds Key, Window and the rest of Holder.
func (h *Holding) Need(now limiter.Instant, want, waiting uint64, t *Terms) (Command, bool) {
	if h.is(asking | refused | closed) {
		return Command{}, false
	}
	balance, size := h.Balance(), h.size(now, t)
	floor, target := h.known, h.known
	switch {
	case want > balance && h.fits(want) == Short:
		floor += want - balance
		if goal := max(want, waiting, size); goal > balance {
			target += goal - balance
		}
	case h.is(warm) && now.Sub(h.seen) < t.Idle && balance <= size/lowPart && (h.free > 0 || !h.is(exhausted)):
		floor++
		target += size
	case !h.is(outdated):
		return Command{}, false
	}
	h.state = h.state&^outdated | asking
	c := h.command(OpEnsure, t)
	c.Floor, c.Target, c.Spent = floor, max(floor, target), h.used
	return c, true
}

// Surplus returns the OpReturn to propose now, if any: a balance that was not used
// for Terms.Idle goes back, and so does what is beyond one grant and a quarter. It is
// to be asked after each Refund, Commit and Cancel, now and then, and after Lost; not
// while charges wait that a grant was fetched for.
func (h *Holding) Surplus(now limiter.Instant, t *Terms) (Command, bool) {
	if h.is(returning | closed) {
		return Command{}, false
	}
	balance, size := h.Balance(), h.size(now, t)
	switch {
	case balance > 0 && now.Sub(h.seen) >= t.Idle:
		h.giveUp(balance)
	case balance > size+size/lowPart:
		h.giveUp(balance - size)
	}
	return h.proposeReturn(t)
}

// Recall is Surplus for all of the balance, at once.
func (h *Holding) Recall(t *Terms) (Command, bool) {
	if h.is(returning | closed) {
		return Command{}, false
	}
	h.giveUp(h.Balance())
	return h.proposeReturn(t)
}

// giveUp lowers the balance by units, before the pool is told.
func (h *Holding) giveUp(units uint64) {
	if units > 0 {
		h.returned += units
		h.state |= returnDue
	}
}

func (h *Holding) proposeReturn(t *Terms) (Command, bool) {
	if !h.is(returnDue) {
		return Command{}, false
	}
	h.state |= returning
	c := h.command(OpReturn, t)
	c.Total, c.Spent = h.returned, h.used
	return c, true
}

// Owed returns the OpDebt to propose now, if any. It is to be asked after each
// charge and refund that owed or cleared units, within a second, and after Lost.
func (h *Holding) Owed(t *Terms) (Command, bool) {
	if !h.is(debtDue) || h.is(owing) {
		return Command{}, false
	}
	h.state |= owing
	c := h.command(OpDebt, t)
	c.Total, c.Cleared, c.MaxDebt = h.debt, h.cleared, t.MaxDebt
	return c, true
}

// Close returns the OpClose of a holder that is done with the window: it leaves, or
// wants to forget an idle counter. From then on nothing is spent here; open holds
// count as spent in full. It may be asked again until Forgettable says that the
// pool knows.
func (h *Holding) Close(t *Terms) Command {
	h.state |= closed
	h.used += h.held
	h.held = 0
	c := h.command(OpClose, t)
	c.Spent = h.used
	return c
}

func (h *Holding) command(op Op, t *Terms) Command {
	return Command{Op: op, Holder: Holder{Life: h.life}, Version: t.Version, Limit: t.Limit}
}

// Learn is told the ledger's answer to c, one of this holder's commands. Answers may
// come late and in any order, that to an earlier life included.
func (h *Holding) Learn(c *Command, r Result) {
	if c.Holder.Life != h.life {
		return
	}
	again := c.Floor <= h.known // nothing that it still has to ask for
	late := r.Granted < h.known // a later answer was here before
	if r.Granted > h.known {
		h.known = r.Granted
		h.state &^= reported
	}
	if !late {
		h.free = r.Free
	}
	switch c.Op {
	case OpEnsure:
		h.state &^= asking
		if again {
			h.state |= doubtful // another question may be under way
		}
		h.refusal(r.Code, late || h.is(grew))
		h.state &^= grew
	case OpReturn:
		h.state &^= returning
		if c.Total == h.returned {
			h.state &^= returnDue
			if c.Spent == h.used {
				h.state |= reported
			}
		}
	case OpDebt:
		h.state &^= owing
		if c.Total == h.debt && c.Cleared == h.cleared {
			h.state &^= debtDue
		}
	case OpClose:
		h.state |= done
	default:
	}
}

// refusal notes what the answer to an OpEnsure says beside what was granted. One that
// is late says nothing of what is free now.
func (h *Holding) refusal(code Code, late bool) {
	switch code {
	case OK:
		h.state &^= exhausted
	case Exhausted:
		h.state |= doubtful
		if !late {
			h.state |= exhausted
		}
	case Fenced, Closed, Purged, Frozen:
		h.state |= refused
	default: // Early, for one: it may be asked again later
	}
}

// Lost is told that no answer to c will come: it may have been applied or not, or
// be applied later. What is due is proposed again by the same methods.
func (h *Holding) Lost(c *Command) {
	if c.Holder.Life != h.life {
		return
	}
	switch c.Op {
	case OpEnsure:
		h.state &^= asking | grew
		h.state |= outdated | doubtful
	case OpReturn:
		h.state &^= returning
	case OpDebt:
		h.state &^= owing
	default:
	}
}

// Grow is told that the pool now has free units, after it was exhausted. An OpEnsure
// that is under way may have been refused before, and its answer come later.
func (h *Holding) Grow(free uint64) {
	h.free = free
	h.state &^= exhausted
	if h.is(asking) {
		h.state |= grew
	}
}

// Amend is told that the policy has a new version: the pool hears of it with the
// next OpEnsure, which Need asks for, and what was exhausted may not be any more.
func (h *Holding) Amend() {
	h.state &^= exhausted
	h.state |= outdated
}

// Forgettable reports whether h may be forgotten: it is closed and the pool knows, or
// it holds nothing and no OpEnsure of its own is about that might still be granted.
// Nothing is due either. Who needs the counter again in this window begins a new
// life of it; what was spent in this one can't be refunded then.
//
// An idle holding that stays unforgettable is to be closed.
func (h *Holding) Forgettable() bool {
	switch {
	case h.is(owing | debtDue):
		return false
	case h.is(done):
		return true
	default:
		return h.Balance() == 0 && h.held == 0 && !h.is(asking|returning|returnDue|closed|doubtful)
	}
}

// Reported reports whether the pool knows what was spent in this life, if nothing is
// held any more: a holder that is lost then strands nothing. A holding that is
// Forgettable but not Reported may be forgotten, and should be closed instead.
func (h *Holding) Reported() bool { return h.known == h.returned || h.is(reported|done) }
