package holdings

import (
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// What a call with Until charges exact quotas is a hold of the ledger: it can be settled
// later, until a while after it has ended. Who does says what the ledger has it under.

// A Held is a charge of an exact quota that the ledger holds.
type Held struct {
	Key     limiter.Key
	Limit   *limiter.Limit
	Was     limiter.Instant // Charge.Was, below 0
	Request limiter.Key     // Call.TicketOf the charge
}

// Settle has the ledger charge cost for what it holds: what is beyond the hold is
// charged as far as it fits, and owed up to the largest debt. done is told what is charged then and
// what is owed, from a goroutine that holds no lock of h; ok is false if the ledger knows no such hold,
// or did not answer in a few tries: then it stays charged.
func (h *Holdings) Settle(held Held, cost uint64, done func(charged, owed uint64, ok bool)) {
	p := h.plans.Load().find(held.Limit)
	if p == nil {
		done(0, 0, false)
		return
	}
	c := h.command(held, p)
	c.Op, c.Cost, c.Credit, c.MaxDebt = quota.OpSettle, cost, true, p.terms.MaxDebt
	h.ask(c, 1, func(r quota.Result, ok bool) { done(r.Charged, r.Owed, ok && r.Code == quota.OK) })
}

// Extend has the ledger hold until then. What it does not hear of is settled all the
// same: a hold that has ended is credited for a while.
func (h *Holdings) Extend(held Held, until limiter.Instant) {
	if p := h.plans.Load().find(held.Limit); p != nil {
		c := h.command(held, p)
		c.Op, c.Until = quota.OpExtend, millis(until)
		h.ask(c, 1, func(quota.Result, bool) {})
	}
}

// command returns a command about held, without what it is to do.
func (h *Holdings) command(held Held, p *plan) quota.Command {
	return quota.Command{
		Key: held.Key, Window: p.pool(-int64(held.Was) - 1), Request: held.Request,
		Version: p.terms.Version, Limit: p.terms.Limit,
	}
}

// settleTries is how often the ledger is told what became of a charge, if it does not
// answer.
const settleTries = 3

// ask submits c, a few times if the ledger does not answer. What it does not take in is
// not tried again.
func (h *Holdings) ask(c quota.Command, try int, done func(r quota.Result, ok bool)) {
	answered := func(_ *quota.Command, r quota.Result, err error) {
		switch {
		case err == nil:
			done(r, true)
		case try < settleTries:
			h.ask(c, try+1, done)
		default:
			done(quota.Result{}, false)
		}
	}
	if err := h.cfg.Submit(c, answered); err != nil {
		done(quota.Result{}, false)
	}
}

// millis returns a moment as commands have it.
func millis(at limiter.Instant) int64 { return int64(at) / int64(time.Millisecond) }
