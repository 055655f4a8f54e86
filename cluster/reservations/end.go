package reservations

import (
	"context"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
)

// A settlement is a reservation that is being ended. Its legs are settled one after the
// other: each charge of what was too little is a call of its own, which may have to wait
// for a quota's units.
type settlement struct {
	r      *Reservations
	id     limiter.Key
	legs   []hold.Leg
	costs  func(l *limiter.Limit, reserved uint64) uint64
	answer func(hold.Settlement) []byte

	result hold.Settlement
	at     int    // the leg whose excess is being charged
	excess uint64 // what of it is not charged yet
	tries  int    // calls that were made for it
	call   limiter.Call
	bytes  []byte
	ended  chan struct{}
}

// Settle ends a reservation with what its call has cost. What was reserved beyond that is
// given back, what it cost beyond what was reserved is charged as far as it fits, and of
// a quota the rest is owed. Slots are released. The result is what answer made of it.
//
// If the outcome is Again, the reservation was settled before with the same content, and
// the result is the one of then. If it is Refused, nothing was done. If ctx ends before a quota has answered, the
// outcome is Late: the settlement goes on, and may be asked for again.
func (r *Reservations) Settle(ctx context.Context, now limiter.Instant, by hold.End, answer func(hold.Settlement) []byte) (result []byte, o hold.Outcome) {
	e, o := r.begin(now, &by)
	if o != hold.Done {
		return e.Answer, o
	}
	s := &settlement{r: r, id: by.ID, legs: e.Legs, costs: by.Costs, answer: answer, ended: make(chan struct{})}
	s.result.Late = e.Late
	s.call.Done = func(*limiter.Call) { s.resume(r.cfg.Now()) }
	if e.Late && r.cfg.IgnoreLate {
		s.ignore()
		s.finish(now)
	} else {
		s.giveBack(now)
		s.next(now)
	}
	select {
	case <-s.ended:
		return s.bytes, hold.Done
	case <-ctx.Done():
	}
	select {
	case <-s.ended:
		return s.bytes, hold.Done
	default:
		return nil, hold.Late
	}
}

// begin has the book begin to end a reservation, unless its costs make no sense.
func (r *Reservations) begin(now limiter.Instant, by *hold.End) (e hold.Ending, o hold.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if by.Check != nil {
		if legs, units, ok := r.book.Charged(now, by.ID); ok && !by.Check(legs, units) {
			return e, hold.Refused
		}
	}
	return r.book.End(now, by.ID, by.Content)
}

// ignore has the result say that everything stays as it was charged.
func (s *settlement) ignore() {
	for i := range s.legs {
		l := &s.legs[i]
		row := hold.Settled{Limit: l.Limit, Reserved: l.Units, Cost: l.Units}
		if l.Limit.Kind != limiter.KindConcurrency {
			row.Cost = s.costs(l.Limit, l.Units)
			row.Lost = row.Cost - min(row.Cost, l.Units)
		}
		s.result.Legs = append(s.result.Legs, row)
	}
}

// giveBack releases the slots and gives back what was reserved beyond the cost. It
// never waits.
func (s *settlement) giveBack(now limiter.Instant) {
	c := &limiter.Call{Holder: s.id}
	for i := range s.legs {
		l := &s.legs[i]
		row := hold.Settled{Limit: l.Limit, Reserved: l.Units, Cost: l.Units}
		ch := limiter.Charge{Key: l.Key, Limit: l.Limit, Partition: l.Partition, Op: limiter.OpRelease, Cost: l.Units}
		if l.Limit.Kind != limiter.KindConcurrency {
			row.Cost = s.costs(l.Limit, l.Units)
			ch.Op, ch.Cost = limiter.OpGiveBack, l.Back(now, l.Units-min(row.Cost, l.Units))
			row.Returned = ch.Cost
		}
		switch {
		case l.Exact() || l.Former:
			row.Returned = 0 // next has it settled
		case ch.Cost == 0:
		case l.Limit.Kind == limiter.KindQuota:
			row.Returned = s.r.cfg.Decider.Refund(l, ch.Cost)
		default:
			c.Add(ch)
		}
		s.result.Legs = append(s.result.Legs, row)
	}
	s.r.cfg.Decider.Decide(now, c) // it asks nothing of a quota
}

// next goes on with the leg at s.at: it charges what the call has cost beyond what was
// reserved, until something has to wait or all is done.
func (s *settlement) next(now limiter.Instant) {
	for ; s.at < len(s.legs); s.at++ {
		l, row := &s.legs[s.at], &s.result.Legs[s.at]
		if l.Exact() || l.Former && row.Cost < row.Reserved {
			s.r.cfg.Decider.Settle(l, row.Cost, s.settled)
			return
		}
		if row.Cost > row.Reserved {
			s.excess, s.tries = row.Cost-row.Reserved, 0
			if !s.charge(now, s.excess) {
				return
			}
		}
	}
	s.finish(now)
}

// settled notes what the ledger has made of the leg at s.at, and goes on.
func (s *settlement) settled(charged, owed uint64, ok bool) {
	row := &s.result.Legs[s.at]
	if !ok {
		charged, owed = row.Reserved, 0
	}
	row.Returned = row.Reserved - min(row.Reserved, max(charged, row.Cost))
	row.Owed = owed
	row.Lost = row.Cost - min(row.Cost, max(row.Reserved, charged)+owed)
	s.at++
	s.next(s.r.cfg.Now())
}

// triesMax is how many calls are made for the excess of one leg: one for all of it, and
// if that doesn't fit one for what does. If somebody else was faster, less of it is
// charged.
const triesMax = 2

// charge charges units of the excess, and what else fits of it. It returns false if it
// has to wait.
func (s *settlement) charge(now limiter.Instant, units uint64) (done bool) {
	for units > 0 {
		l := &s.legs[s.at]
		s.tries++
		s.call.Reset()
		s.call.Mode = limiter.AllOrNothing
		s.call.Patience = limiter.Never
		s.call.Add(limiter.Charge{Key: l.Key, Limit: l.Limit, Partition: l.Partition, Cost: units})
		if !s.r.cfg.Decider.Decide(now, &s.call) {
			return false
		}
		units = s.charged()
	}
	s.owe(now)
	return true
}

// charged notes what became of the call, and returns how many units to try next.
func (s *settlement) charged() (again uint64) {
	ch := &s.call.Charges()[0]
	switch d := &ch.Decision; {
	case d.Degraded != limiter.NotDegraded:
		return 0
	case d.Verdict == limiter.Allowed:
		s.excess -= ch.Cost
		return 0
	case s.tries < triesMax:
		return min(s.excess, d.Remaining)
	default:
		return 0
	}
}

// resume goes on when a charge that had to wait is decided.
func (s *settlement) resume(now limiter.Instant) {
	if s.charge(now, s.charged()) {
		s.at++
		s.next(now)
	}
}

// owe records what could not be charged, if it is a quota's.
func (s *settlement) owe(now limiter.Instant) {
	row := &s.result.Legs[s.at]
	if s.excess > 0 && row.Limit.Kind == limiter.KindQuota {
		row.Owed = s.r.cfg.Decider.Owe(now, &s.call.Charges()[0], s.excess)
	}
	row.Lost = s.excess - row.Owed
}

// finish has the end remembered.
func (s *settlement) finish(now limiter.Instant) {
	s.bytes = s.answer(s.result)
	short := false
	for i := range s.result.Legs {
		short = short || s.result.Legs[i].Lost > 0
	}
	s.r.mu.Lock()
	s.r.book.Ended(now, s.id, short, s.bytes)
	s.r.mu.Unlock()
	close(s.ended)
}
