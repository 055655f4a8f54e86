package reservations

import (
	"context"
	"sync"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
)

// retryAfter is the RetryAfter of what could not be decided.
const retryAfter = time.Second

// An opening is a reservation that is being decided.
type opening struct {
	r     *Reservations
	ask   hold.Ask
	call  limiter.Call
	ended chan struct{}

	mu        sync.Mutex // guards what follows
	decided   bool
	abandoned bool // nobody waits any more
}

// Reserve charges what c asks, all of it or nothing, and sets c's decisions. If it is
// allowed, answer is called for what the reservation is remembered with, after the
// decisions were set, and the outcome is Done; a denial's is Done, too. If the outcome is Again, the reservation was made before,
// and again is its answer; c is not decided then, nor with any outcome but Done.
//
// The caller waits until ctx ends at the latest; then what may yet be charged is given
// back, and the decisions say that the counters could not be reached.
func (r *Reservations) Reserve(ctx context.Context, now limiter.Instant, c *limiter.Call, a hold.Ask, answer func() []byte) (again []byte, o hold.Outcome) {
	r.mu.Lock()
	again, o = r.book.Begin(now, &a)
	r.mu.Unlock()
	switch o {
	case hold.Done:
	case hold.Full:
		return nil, degrade(c, limiter.ReservationsFull, o)
	case hold.ShareFull:
		return nil, degrade(c, limiter.ReservationShareFull, o)
	default:
		return again, o
	}
	p := &opening{r: r, ask: a, ended: make(chan struct{})}
	p.take(now, c)
	if !r.cfg.Decider.Decide(now, &p.call) {
		select {
		case <-p.ended:
		case <-ctx.Done():
			if p.abandon() {
				return nil, degrade(c, limiter.Unavailable, hold.Late)
			}
		}
	}
	for i := range c.Charges() {
		c.Charges()[i].Decision = p.call.Charges()[i].Decision
	}
	if v, _ := c.Verdict(); v == limiter.Denied {
		r.drop(a.ID)
		return nil, hold.Done
	}
	r.keep(now, &p.call, a, answer())
	return nil, hold.Done
}

// take copies what c asks: the Decider may have it for longer than c is ours.
func (p *opening) take(now limiter.Instant, c *limiter.Call) {
	for i := range c.Charges() {
		p.call.Add(c.Charges()[i])
	}
	p.call.Mode, p.call.Deadline, p.call.Patience = limiter.AllOrNothing, c.Deadline, c.Patience
	p.call.Holder, p.call.Lifetime = p.ask.ID, p.ask.Lifetime
	p.call.Until = now.Add(p.ask.Lifetime)
	p.call.Done = p.finished
}

// finished is told that the Decider is done.
func (p *opening) finished(*limiter.Call) {
	p.mu.Lock()
	p.decided = true
	abandoned := p.abandoned
	p.mu.Unlock()
	if abandoned {
		p.r.undo(&p.call, p.ask.ID)
		return
	}
	close(p.ended)
}

// abandon says that nobody waits any more, and reports whether that is in time.
func (p *opening) abandon() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.abandoned = !p.decided
	return p.abandoned
}

// degrade decides c without its counters: what it needs is not reserved, so it does
// not pass. If no limit of it is enforced, there is no decision, and the outcome is o.
func degrade(c *limiter.Call, why limiter.Degraded, o hold.Outcome) hold.Outcome {
	for i := range c.Charges() {
		c.Charges()[i].Decision = limiter.Decision{Verdict: limiter.Denied, Degraded: why, RetryAfter: retryAfter}
	}
	if v, _ := c.Verdict(); v == limiter.Denied {
		return hold.Done
	}
	return o
}

// legs returns what c, which is decided, has charged.
func legs(now limiter.Instant, c *limiter.Call) (list []hold.Leg) {
	for i := range c.Charges() {
		if l, ok := hold.LegOf(now, &c.Charges()[i]); ok {
			if l.Limit.Kind == limiter.KindQuota && l.Was < 0 {
				l.Request = c.TicketOf(i)
			}
			list = append(list, l)
		}
	}
	return list
}

// keep opens the reservation that c has made.
func (r *Reservations) keep(now limiter.Instant, c *limiter.Call, a hold.Ask, answer []byte) {
	list, deadline := legs(now, c), now.Add(a.Lifetime)
	for i := range list {
		if l := &list[i]; l.Limit.Kind == limiter.KindQuota && !l.Exact() { // which says so itself
			r.cfg.Decider.Keep(l, deadline)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.book.Keep(a.ID, deadline, list, answer)
	r.book.Name(a.ID, a.Units)
}

func (r *Reservations) drop(id limiter.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.book.Drop(id)
}

// undo gives back all that c has charged, and forgets the reservation.
func (r *Reservations) undo(c *limiter.Call, id limiter.Key) {
	now := r.cfg.Now()
	if v, _ := c.Verdict(); v == limiter.Allowed {
		e := &settlement{r: r, id: id, legs: legs(now, c), costs: func(*limiter.Limit, uint64) uint64 { return 0 }}
		e.giveBack(now)
		for i := range e.legs {
			if l := &e.legs[i]; l.Exact() {
				r.cfg.Decider.Settle(l, 0, func(uint64, uint64, bool) {})
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.book.Undone(id)
}
