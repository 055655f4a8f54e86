package reservations

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
)

// RecordsLimit bounds Config.Max.
const RecordsLimit = 1 << 24

// sweepStep is how many due reservations one Sweep looks at under one hold of the lock.
const sweepStep = 256

// A Decider has the counters. What was charged under a quota is given back by Refund, and
// what could not be charged is recorded by Owe; of an exact quota Settle does both. The
// other kinds take calls for it.
type Decider interface {
	// Decide is that of api.Decider.
	Decide(now limiter.Instant, c *limiter.Call) (done bool)
	// Keep has what a quota was charged be creditable until then, and notes who was charged
	// in l.
	Keep(l *hold.Leg, until limiter.Instant)
	// Refund gives back units of a quota, and returns how many were credited.
	Refund(l *hold.Leg, units uint64) (credited uint64)
	// Settle has an exact quota be charged cost instead, or one of a process that has ended, if
	// cost is less than what it was charged. done is told what is charged then, and
	// what is owed beyond that; ok is false if it stays as it was. It is called before Settle returns, or from any goroutine.
	Settle(l *hold.Leg, cost uint64, done func(charged, owed uint64, ok bool))
	// Owe records use that has happened of the quota of ch, and returns how much of
	// it.
	Owe(now limiter.Instant, ch *limiter.Charge, units uint64) (recorded uint64)
}

// A Config says what Reservations work with. Decider and Now have no default.
type Config struct {
	Decider Decider
	Now     func() limiter.Instant // the node's clock

	// Max bounds the reservations that are open or remembered, in [1, RecordsLimit].
	// One more is denied.
	Max int
	// ShareMax is the part of Max that one domain has at most while there are several, in
	// (0, 1]; one more is denied. 0: all of it.
	ShareMax float64
	// IgnoreLate has a settlement after the deadline change nothing: the reservation
	// stays charged in full. Otherwise it counts like one in time.
	IgnoreLate bool
}

// Validate reports every field that is missing or out of bounds, joined.
func (c *Config) Validate() error {
	var errs []error
	if c.Decider == nil {
		errs = append(errs, errors.New("reservations: Decider: must be given"))
	}
	if c.Now == nil {
		errs = append(errs, errors.New("reservations: Now: must be given"))
	}
	if c.Max < 1 || c.Max > RecordsLimit {
		errs = append(errs, fmt.Errorf("reservations: Max=%d: must be in [1, %d]", c.Max, RecordsLimit))
	}
	if !(c.ShareMax >= 0 && c.ShareMax <= 1) {
		errs = append(errs, fmt.Errorf("reservations: ShareMax=%v: must be in [0, 1]", c.ShareMax))
	}
	return errors.Join(errs...)
}

// Reservations are those of one node. Make them with [New].
type Reservations struct {
	cfg    Config
	bounds hold.Bounds

	mu   sync.Mutex // guards what follows
	book *hold.Book
}

// New returns Reservations without any.
func New(c Config) (*Reservations, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	b := hold.Bounds{Max: c.Max, Share: c.Max}
	if c.ShareMax > 0 {
		b.Share = max(1, int(float64(c.Max)*c.ShareMax))
	}
	return &Reservations{cfg: c, bounds: b, book: hold.New(b)}, nil
}

// Bounds returns how many reservations there may be.
func (r *Reservations) Bounds() hold.Bounds { return r.bounds }

// Stats returns the figures of now.
func (r *Reservations) Stats() hold.Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.book.Stats()
}

// Sweep has reservations whose time has come expire or be forgotten: up to 256 a
// call. It is to be called at a steady pace.
func (r *Reservations) Sweep(now limiter.Instant) (more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.book.Sweep(now, sweepStep)
}

// Extend has the reservation live for lifetime from now on, unless it lives longer
// anyway, and its slots with it. Lost names the limits of which it has no slot any more.
func (r *Reservations) Extend(now limiter.Instant, id limiter.Key, lifetime time.Duration) (e hold.Extension, o hold.Outcome) {
	r.mu.Lock()
	x, o := r.book.Extend(now, id, lifetime)
	r.mu.Unlock()
	if o != hold.Done {
		return hold.Extension{Bound: x.Bound}, o
	}
	e.Lifetime = x.Deadline.Sub(now)
	c := &limiter.Call{Holder: id, Lifetime: e.Lifetime}
	for i := range x.Legs {
		switch l := x.Legs[i]; l.Limit.Kind {
		case limiter.KindConcurrency:
			c.Add(limiter.Charge{Key: l.Key, Limit: l.Limit, Partition: l.Partition, Cost: 1, Op: limiter.OpRenew})
		case limiter.KindQuota:
			r.cfg.Decider.Keep(&l, x.Deadline)
		default:
		}
	}
	r.cfg.Decider.Decide(now, c) // slots never wait
	for i := range c.Charges() {
		if ch := &c.Charges()[i]; ch.Decision.Verdict == limiter.Denied {
			e.Lost = append(e.Lost, ch.Limit)
		}
	}
	return e, hold.Done
}
