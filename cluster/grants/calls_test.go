package grants_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/limiter/quota/calendar"
)

// A call is what a client asks of a node's holdings about one counter.
type call struct {
	what callKind
	id   int // of the request, below requestsMax
	cost uint8
	name limiter.Key // that a node gave it
}

// once reports whether nobody can ask for the same again.
func (c call) once() bool { return c.what == chargeOnce || c.what == holdOnce }

type callKind string

const (
	chargeNamed callKind = "charge"      // under the id, which may be repeated
	chargeOnce  callKind = "charge once" // without an id of the caller's
	holdOnce    callKind = "hold"        // the same, and settled later
	settleHold  callKind = "settle"      // to cost
	giveBack    callKind = "give back"   // cost of what was charged under the id
	lookOnly    callKind = "look"        // would cost pass?
)

// told is what a client hears. The zero told is nothing: its call may have been done.
type told struct {
	verdict   limiter.Verdict
	reused    bool
	settled   bool
	charged   uint64 // of what was settled
	remaining uint64
}

// command returns what a call asks of the ledger that may change something.
func (c call) command() question {
	switch c.what {
	case chargeNamed, chargeOnce:
		return question{quota.OpSpend, c.id, c.cost}
	case holdOnce:
		return question{quota.OpHold, c.id, c.cost}
	default:
		return question{quota.OpSettle, c.id, c.cost}
	}
}

// call reports whether the counter may answer c by what was told, and returns the state
// after it.
func (s counterState) call(amount uint16, c call, heard told) (bool, counterState) {
	allowed := func(yes bool, s counterState) told {
		if yes {
			return told{verdict: limiter.Allowed, remaining: uint64(amount - s.used)}
		}
		return told{verdict: limiter.Denied, remaining: uint64(amount - s.used)}
	}
	switch c.what {
	case lookOnly:
		return heard == allowed(uint16(max(1, c.cost)) <= amount-s.used, s), s
	case giveBack:
		next := s
		if r := s.requests[c.id]; r.charged > 0 {
			next, _ = s.ask(amount, question{quota.OpSettle, c.id, r.charged - min(r.charged, c.cost)})
		}
		if heard == (told{}) {
			return s.ended || next != s, next
		}
		return heard == allowed(true, next), next
	default:
	}
	next, a := s.ask(amount, c.command())
	switch {
	case c.what == settleHold:
		return a.code == quota.OK && heard == told{settled: true, charged: a.charged}, next
	case a.code == quota.Differs || a.code == quota.OK && a.charged == 0:
		return heard == told{reused: true}, next
	}
	return heard == allowed(a.code == quota.OK, next), next
}

// A front is what clients ask: the holdings of each node of an arena, new ones when it
// starts again, as a process has.
type front struct {
	*arena
	limit *limiter.Limit
	when  *calendar.Calendar
	fault func(submit) submit // that is planted, or nil
	rest  func(limiter.Instant, *limiter.Call)

	mu   sync.Mutex
	over map[*grants.Driver]*holdings.Holdings
}

// A submit is a holdings.Config's.
type submit = func(quota.Command, grants.Done) error

func newFront(t *testing.T, a *arena, fault func(submit) submit) *front {
	t.Helper()
	f := &front{arena: a, fault: fault, over: map[*grants.Driver]*holdings.Holdings{}}
	f.rest = func(limiter.Instant, *limiter.Call) {}
	f.limit = &limiter.Limit{Spec: limiter.Spec{
		ID: limiter.LimitID{1}, Def: 1, Kind: limiter.KindQuota, Amount: exactAmount,
		Quota: &limiter.QuotaTerms{Schedule: limiter.Schedule{Unit: limiter.PerDay}, Exact: true},
	}}
	var err error
	if f.when, err = calendar.New(f.limit.Quota.Schedule, time.UTC); err != nil {
		t.Fatal(err)
	}
	return f
}

func wall() limiter.Instant { return limiter.Instant(time.Now().UnixNano()) }

// at returns a node's holdings, or nil while it is down.
func (f *front) at(node int) *holdings.Holdings {
	driver := f.alive[node].Load()
	if driver == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := f.over[driver]; h != nil {
		return h
	}
	send := driver.Submit
	if f.fault != nil {
		send = f.fault(send)
	}
	h, err := holdings.New(holdings.Config{
		Submit: send, Rest: f.rest, Now: wall, Tenure: uint64(len(f.over)) + 1,
	})
	if err != nil {
		panic(err)
	}
	h.Install(1, []holdings.Quota{{Limit: f.limit, When: f.when}})
	f.over[driver] = h
	return h
}

// ask makes a call at a node and returns what it was told. sent is false if nothing was
// asked.
func (f *front) ask(node int, counter *exactCounter, c *call, patience time.Duration) (r told, sent bool) {
	h := f.at(node)
	if h == nil {
		return told{}, false
	}
	if c.what == settleHold {
		answered := make(chan told, 1)
		held := holdings.Held{Key: counter.key, Limit: f.limit, Was: -limiter.Instant(exactStart + 1), Request: c.name}
		h.Settle(held, uint64(c.cost), func(charged, _ uint64, ok bool) {
			if !ok {
				charged = 0
			}
			answered <- told{settled: ok, charged: charged}
		})
		return <-answered, true
	}
	answered := make(chan struct{})
	asked := &limiter.Call{Done: func(*limiter.Call) { close(answered) }, Deadline: wall().Add(patience)}
	charge := limiter.Charge{Key: counter.key, Limit: f.limit, Cost: uint64(c.cost)}
	switch c.what {
	case lookOnly:
		charge.Op = limiter.OpPeek
	case giveBack:
		charge.Op, asked.Request = limiter.OpGiveBack, nameOf(c.id)
	case chargeNamed:
		asked.Request = nameOf(c.id)
	case holdOnce:
		asked.Until = wall().Add(time.Hour)
	default:
	}
	asked.Add(charge)
	if !h.Decide(wall(), asked) {
		<-answered
	}
	d := asked.Charges()[0].Decision
	if c.once() {
		if c.name = asked.Ticket; c.name == (limiter.Key{}) {
			return told{}, false
		}
		c.id = counter.idOf(c.name)
	}
	switch {
	case asked.Reused:
		return told{reused: true}, true
	case d.Degraded != 0:
		return told{}, true
	}
	return told{verdict: d.Verdict, remaining: d.Remaining}, true
}

// begin makes up a request of a counter, or returns false if it has had its number:
// each client may be about to make one more.
func (c *exactCounter) begin(rng *rand.Rand, kind callKind) (call, bool) {
	c.asked.Lock()
	defer c.asked.Unlock()
	if len(c.made) >= requestsMax-exactClients {
		return call{}, false
	}
	made := call{what: kind, id: len(c.made), cost: 1 + uint8(rng.IntN(6))}
	if kind == chargeNamed {
		c.made = append(c.made, made.command())
		c.named = append(c.named, made)
	}
	return made, true
}

// again returns a charge under an id that was made before, if any.
func (c *exactCounter) again(rng *rand.Rand) (call, bool) {
	c.asked.Lock()
	defer c.asked.Unlock()
	if len(c.named) == 0 {
		return call{}, false
	}
	return c.named[rng.IntN(len(c.named))], true
}

// makeUp returns what to ask of a counter next, if anything.
func (c *exactCounter) makeUp(rng *rand.Rand) (next call, ok bool) {
	switch n := rng.IntN(16); {
	case n < 5:
		return c.begin(rng, chargeNamed)
	case n < 7:
		return c.begin(rng, chargeOnce)
	case n < 9:
		return c.begin(rng, holdOnce)
	case n < 11:
		return call{what: lookOnly, cost: uint8(rng.IntN(8))}, true
	case n < 14:
		next, ok = c.again(rng)
		next.what, next.cost = giveBack, 1+uint8(rng.IntN(6))
	default:
		if next, ok = c.again(rng); rng.IntN(4) == 0 {
			next.cost++ // the id stands for another cost
		}
	}
	return next, ok
}

// client calls until ctx ends. What may be repeated, and got no answer, it repeats by way
// of another node; some answers it does not hear. What it holds it settles.
func (f *front) client(ctx context.Context, id int, rng *rand.Rand) {
	node := id % 3
	for ctx.Err() == nil {
		c := f.counters[rng.IntN(len(f.counters))]
		for next, ok := c.makeUp(rng); ok; {
			r := told{}
			for range 1 + rng.IntN(5) {
				r = f.once(id, node, c, &next, rng)
				if r != (told{}) || next.once() {
					break
				}
				node = (node + 1) % 3
				time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
			}
			if ok = next.what == holdOnce && r.verdict == limiter.Allowed; ok {
				next.what, next.cost = settleHold, uint8(rng.IntN(int(next.cost)+1)) // more than that may be owed
			}
		}
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
	}
}

// once makes a call once, and notes what came of it.
func (f *front) once(id, node int, c *exactCounter, next *call, rng *rand.Rand) told {
	asked := c.now()
	r, sent := f.ask(node, c, next, time.Duration(50+rng.IntN(1500))*time.Millisecond)
	unheard := rng.IntN(12) == 0 // lost between the node and the client
	switch {
	case !sent:
		return told{}
	case r != (told{}) && !unheard:
		c.note(id, *next, asked, r, c.now())
		return r
	case next.what == lookOnly:
	case next.what == giveBack: // of what is charged by then
		c.note(id, *next, asked, told{}, math.MaxInt64)
	default:
		c.add(id, next.command(), asked, reply{})
		if next.once() { // the node takes it back
			c.add(id, question{quota.OpSettle, next.id, 0}, asked, reply{})
		}
	}
	return told{}
}

// note notes what a client was told of a call, and when.
func (h *history) note(client int, c call, asked int64, r told, at int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, porcupine.Operation{ClientId: client, Input: c, Call: asked, Output: r, Return: at})
}

// calls has clients call three nodes through the arena's trouble, in simulated time.
func calls(t *testing.T, seed uint64, change func(*station), fault func(submit) submit) (counters []*exactCounter) {
	t.Helper()
	return inTrouble(t, rand.NewPCG(seed, 7), change, func(t *testing.T, a *arena) client {
		t.Helper()
		return newFront(t, a, fault).client
	})
}

// TestExactCallsAreThoseOfOneCounter is TestExactDecisionsAreThoseOfOneCounter for calls
// that nodes decide: charges with the caller's id and without, reservations, give-backs
// and looks, some of which the caller gives up before they are answered. What is denied
// for want of an answer may have been charged, and may be taken back if it had no id.
func TestExactCallsAreThoseOfOneCounter(t *testing.T) {
	areOfOneCounter(t, func(t *testing.T, seed uint64) []*exactCounter {
		t.Helper()
		return calls(t, seed, nil, nil)
	})
}

// TestTheCheckOfExactCallsFindsBrokenNodes plants faults between holdings and the log, and
// in the ledger.
func TestTheCheckOfExactCallsFindsBrokenNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("what the check is worth is shown without the race detector")
	}
	spends := func(c *quota.Command) bool { return c.Op == quota.OpSpend && c.Cost > 0 }
	for _, tc := range []struct {
		name  string
		plant func(*station)
		fault func(submit) submit
	}{
		{"a node that names a request anew each time", nil, func(next submit) submit {
			return func(c quota.Command, done grants.Done) error {
				if spends(&c) && c.Request == quota.Named(c.Request) {
					c.Request.Lo = rand.Uint64()
				}
				return next(c, done)
			}
		}},
		{"a node that says yes to what it could not send", nil, func(next submit) submit {
			var n atomic.Int64
			return func(c quota.Command, done grants.Done) error {
				if !spends(&c) || n.Add(1)%8 > 0 {
					return next(c, done)
				}
				looks := c
				looks.Op, looks.Request, looks.Cost = quota.OpSpend, limiter.Key{}, 0
				return next(looks, func(_ *quota.Command, r quota.Result, err error) {
					r.Charged, r.Free = c.Cost, r.Free-min(r.Free, c.Cost)
					done(&c, r, err)
				})
			}
		}},
		{"a node that takes back what it lost the answer to, whoever may ask again", nil, func(next submit) submit {
			var n atomic.Int64
			return func(c quota.Command, done grants.Done) error {
				return next(c, func(c *quota.Command, r quota.Result, err error) {
					if back := *c; err == nil && spends(c) && n.Add(1)%8 == 0 {
						back.Op, back.Cost = quota.OpSettle, 0
						_ = next(back, func(*quota.Command, quota.Result, error) {})
						r, err = quota.Result{}, errors.New("lost")
					}
					done(c, r, err)
				})
			}
		}},
		{"a node that looks at what it saw last", nil, func(next submit) submit {
			var mu sync.Mutex
			last := map[limiter.Key]quota.Result{}
			return func(c quota.Command, done grants.Done) error {
				return next(c, func(c *quota.Command, r quota.Result, err error) {
					mu.Lock()
					if seen, ok := last[c.Key]; ok && err == nil && c.Request == (limiter.Key{}) {
						r.Free = seen.Free
					} else if err == nil {
						last[c.Key] = r
					}
					mu.Unlock()
					done(c, r, err)
				})
			}
		}},
		{"a ledger that lets one more in than there is", func(s *station) {
			s.machine = func(l raft.BatchingFSM) raft.FSM {
				return faulty{l, func(_ uint64, c *quota.Command) { c.Limit++ }, func(uint64, *quota.Command, *quota.Result) {}}
			}
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			areNoticed(t, func(seed uint64) []*exactCounter { return calls(t, seed, tc.plant, tc.fault) })
		})
	}
}
