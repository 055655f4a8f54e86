package hold

import (
	"time"

	"github.com/headgate/headgate/limiter"
)

const (
	// LifetimeMax bounds how long a reservation is open, extensions included.
	LifetimeMax = 24 * time.Hour
	// RememberFor is for how long a reservation is remembered after its end.
	RememberFor = 10 * time.Minute
	// sweepStep is how many due records are looked at to make room for one more.
	sweepStep = 8
)

// An Outcome says what became of a request about a reservation.
type Outcome uint8

// The outcomes.
const (
	Done      Outcome = iota // it was done now
	Again                    // it was done before: the answer is the one of then
	Unknown                  // there is no such reservation, or not any more
	Differs                  // it was done before with other content
	Busy                     // the same reservation is being decided or ended by another request
	Over                     // it has ended, so it can't be extended
	TooLong                  // its lifetime would be beyond a bound
	Full                     // there is no room for another one
	ShareFull                // the domain has its share of the room
	Late                     // it was not decided in time
	Refused                  // what it cost makes no sense: it stays as it was
)

// An Ask is what a request says of the reservation that it opens.
type Ask struct {
	ID       limiter.Key   // of the reservation, and the holder of its slots
	Content  limiter.Key   // a hash of all that the request says
	Lifetime time.Duration // how long it is open, in (0, LifetimeMax]
	// Domain is that of a policy. "" stands for all that no policy has: their names are
	// whatever callers say.
	Domain string
	Alone  bool // no policy has another domain: it may take all the room
	// Units are those that the request names costs in. They are copied.
	Units [][]byte
}

// An End is what a request says of the reservation that it ends.
type End struct {
	ID      limiter.Key // of the reservation
	Content limiter.Key // a hash of all that the request says
	// Costs says what the call has cost the limit l, of which reserved units are charged.
	Costs func(l *limiter.Limit, reserved uint64) uint64
	// Check says whether the costs make sense of a reservation that was charged legs, and
	// whose request named costs in units that no leg counts. If they don't, it stays as it is, and the outcome is
	// Refused. nil: they do.
	Check func(legs []Leg, units []string) bool
}

// An Extension is what extending a reservation has done.
type Extension struct {
	Lifetime time.Duration    // from now on
	Lost     []*limiter.Limit // of which it has no slot any more
	Bound    time.Duration    // of the lifetime, if it was TooLong
}

// A Settled says what became of one leg when its reservation was ended.
type Settled struct {
	Limit    *limiter.Limit
	Reserved uint64 // units that were charged
	Cost     uint64 // what the call has cost
	Returned uint64 // of Reserved − Cost: given back
	Owed     uint64 // of Cost − Reserved: beyond what the limit admits, and recorded as debt
	Lost     uint64 // of Cost − Reserved: beyond what the limit admits, and recorded nowhere
}

// A Settlement says what became of a reservation.
type Settlement struct {
	Legs []Settled
	Late bool // it came after the deadline
}

// A state is where a reservation is in its life.
type state uint8

const (
	deciding state = iota // its charges are being decided
	open
	expired // its deadline has passed: what it charged stays charged
	ending  // its end is being worked out
	ended
)

// A record is what the book has of one reservation.
type record struct {
	id, content  limiter.Key // content: a hash of all that the request said
	end          limiter.Key // content of the request that ended it
	opened       limiter.Instant
	deadline     limiter.Instant
	when         limiter.Instant // what it is queued for: its deadline, or to be forgotten
	place        int             // in the queue; −1: not in it
	state        state
	late         bool // it was ended after its deadline
	domain       *Counts
	legs         []Leg
	units        []string // that its request named and no leg counts
	made, settle []byte   // the answers
}

// Bounds say how many reservations a Book has.
type Bounds struct {
	Max   int // in all, at least 1
	Share int // of one domain while there are others, in [1, Max]
}

// A Book is the reservations of one node. Make it with [New].
type Book struct {
	bounds  Bounds
	records map[limiter.Key]*record
	queue   queue
	domains map[string]*Counts
}

// New returns a Book of at most so many reservations.
func New(b Bounds) *Book {
	return &Book{bounds: b, records: map[limiter.Key]*record{}, domains: map[string]*Counts{"": {}}}
}

// Begin enters a reservation that is to be decided: the caller ends with Keep or
// Drop. If the outcome is Again, the answer is what Keep was given for it.
func (b *Book) Begin(now limiter.Instant, a *Ask) (answer []byte, o Outcome) {
	r := b.find(now, a.ID)
	switch {
	case r == nil:
	case r.content != a.Content:
		return nil, Differs
	case r.state == deciding:
		return nil, Busy
	default:
		return r.made, Again
	}
	d := b.domain(a.Domain)
	if b.room(d, a.Alone) != Done {
		b.Sweep(now, sweepStep)
	}
	switch o := b.room(d, a.Alone); o {
	case Full:
		d.Refused++
		return nil, o
	case ShareFull:
		d.ShareFull++
		return nil, o
	default:
	}
	b.records[a.ID] = &record{id: a.ID, content: a.Content, opened: now, place: -1, domain: d}
	d.Records++
	d.Open++
	return nil, Done
}

// Keep opens a reservation that Begin has entered: it was charged legs, which are the
// book's from now on.
func (b *Book) Keep(id limiter.Key, deadline limiter.Instant, legs []Leg, answer []byte) {
	r := b.records[id]
	if r == nil || r.state != deciding {
		return
	}
	r.state, r.deadline, r.legs, r.made = open, deadline, legs, answer
	r.domain.Opened++
	b.enqueue(r, deadline)
}

// Drop forgets a reservation that Begin has entered, and that was denied.
func (b *Book) Drop(id limiter.Key) {
	if r := b.records[id]; r != nil && r.state == deciding {
		b.forget(r)
		r.domain.Open--
	}
}

// Undone is Drop for one that was charged and given back, since nobody waited any more.
func (b *Book) Undone(id limiter.Key) {
	if r := b.records[id]; r != nil && r.state == deciding {
		r.domain.Undone++
		b.Drop(id)
	}
}

// Extend has a reservation stay open for lifetime from now on, if that is longer than
// it would be anyway. It returns when it ends and its legs, which are not to be changed; if the outcome is
// TooLong, bound is the longest lifetime that it could have.
func (b *Book) Extend(now limiter.Instant, id limiter.Key, lifetime time.Duration) (e Extended, o Outcome) {
	r := b.find(now, id)
	switch {
	case r == nil:
		return e, Unknown
	case r.state == deciding || r.state == ending:
		return e, Busy
	case r.state != open:
		return e, Over
	}
	if bound := min(r.opened.Add(LifetimeMax).Sub(now), ShortestLifetime(r.legs)); lifetime > bound {
		e.Bound = max(bound, 0)
		return e, TooLong
	}
	if deadline := now.Add(lifetime); deadline > r.deadline {
		r.deadline = deadline
		b.enqueue(r, deadline)
	}
	return Extended{Deadline: r.deadline, Legs: r.legs}, Done
}

// Extended is what Extend returns.
type Extended struct {
	Deadline limiter.Instant
	Legs     []Leg
	Bound    time.Duration
}

// ShortestLifetime returns the shortest lifetime of the slots among legs, and
// LifetimeMax if there are none.
func ShortestLifetime(legs []Leg) time.Duration {
	shortest := LifetimeMax
	for i := range legs {
		if l := legs[i].Limit; l.Kind == limiter.KindConcurrency {
			shortest = min(shortest, l.Period)
		}
	}
	return shortest
}

// An Ending is a reservation that is being ended.
type Ending struct {
	Legs   []Leg  // the caller's until it calls Ended
	Late   bool   // its deadline has passed
	Answer []byte // if the outcome is Again: what Ended was given
}

// End begins to end a reservation; the caller ends with Ended. content is a hash of
// what the request says.
func (b *Book) End(now limiter.Instant, id, content limiter.Key) (e Ending, o Outcome) {
	r := b.find(now, id)
	switch {
	case r == nil:
		return e, Unknown
	case r.state == deciding:
		return e, Busy
	case r.state == ending || r.state == ended:
		if r.end != content {
			return e, Differs
		}
		if r.state == ending {
			return e, Busy
		}
		return Ending{Answer: r.settle}, Again
	}
	e = Ending{Legs: r.legs, Late: r.state == expired}
	if e.Late {
		r.domain.Open++
	}
	r.state, r.late, r.end = ending, e.Late, content
	b.queue.remove(r)
	return e, Done
}

// Ended ends what End began; short says that the call cost more than could be charged or
// recorded. The legs are forgotten.
func (b *Book) Ended(now limiter.Instant, id limiter.Key, short bool, answer []byte) {
	r := b.records[id]
	if r == nil || r.state != ending {
		return
	}
	r.state, r.legs, r.units, r.settle = ended, nil, nil, answer
	d := r.domain
	d.Open--
	d.Settled++
	if r.late {
		d.Late++
	}
	if short {
		d.Short++
	}
	b.enqueue(r, now.Add(RememberFor))
}

// Sweep looks at up to n reservations whose time has come: those that are open expire,
// the others are forgotten. It returns whether more may be due.
func (b *Book) Sweep(now limiter.Instant, n int) (more bool) {
	for range n {
		if len(b.queue) == 0 || b.queue[0].when > now {
			return false
		}
		b.come(b.queue[0])
	}
	return true
}

// find returns the record of id as it is at now, or nil.
func (b *Book) find(now limiter.Instant, id limiter.Key) *record {
	r := b.records[id]
	for r != nil && r.place >= 0 && r.when <= now {
		b.come(r)
		r = b.records[id]
	}
	return r
}

// come does what r is queued for.
func (b *Book) come(r *record) {
	if r.state != open {
		b.queue.remove(r)
		b.forget(r)
		return
	}
	r.state = expired
	r.domain.Open--
	r.domain.Expired++
	b.enqueue(r, r.deadline.Add(RememberFor))
}

func (b *Book) forget(r *record) {
	delete(b.records, r.id)
	r.domain.Records--
}

// enqueue queues r for when, wherever it is in the queue.
func (b *Book) enqueue(r *record, when limiter.Instant) {
	b.queue.remove(r)
	r.when = when
	b.queue.add(r)
}
