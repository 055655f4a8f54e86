package grants_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// severalMax is how many ids a history of calls of several limits has.
const severalMax = 48

// A several is clients that ask for calls of several exact quotas and another limit, under
// one id each, and what they heard.
type several struct {
	*front
	busy sync.WaitGroup // clients that make trouble

	mu     sync.Mutex
	clock  int64
	ids    []manifold
	looks  []glance
	faults []string // that were seen at once
}

// A manifold is a call of several limits. Its parts never change.
type manifold struct {
	parts  []part
	back   uint64 // what is given back of it, of each part, when it has passed
	first  int64  // when it was asked first
	passed int64  // when it was first heard that it had passed, or 0
	denied int    // how often it was heard that it had not
	final  bool   // whether it had in the end
}

// A part is what a call costs at one of the counters.
type part struct {
	counter int
	cost    uint64
}

// A glance is what was left of a counter between two moments.
type glance struct {
	counter      int
	asked, heard int64
	remaining    uint64
}

// now returns the next moment.
func (s *several) now() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	return s.clock
}

// begin makes up a call, or returns false if there are enough.
func (s *several) begin(rng *rand.Rand) (id int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ids) == severalMax {
		return 0, false
	}
	s.clock++
	m := manifold{first: s.clock}
	for _, i := range rng.Perm(len(s.counters))[:2+rng.IntN(2)] {
		m.parts = append(m.parts, part{i, 2 + rng.Uint64N(4)})
	}
	if rng.IntN(4) == 0 {
		m.back = 1
	}
	s.ids = append(s.ids, m)
	return len(s.ids) - 1, true
}

// some returns one of the calls that were begun, often a late one, which others ask for too.
func (s *several) some(rng *rand.Rand) (id int, m manifold, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ids) == 0 {
		return 0, manifold{}, false
	}
	id = rng.IntN(len(s.ids))
	if rng.IntN(2) == 0 {
		id = max(id, len(s.ids)-2)
	}
	return id, s.ids[id], true
}

// decide asks a node, and returns false if it is down.
func (s *several) decide(node int, c *limiter.Call, patience time.Duration) bool {
	h := s.at(node)
	if h == nil {
		return false
	}
	answered := make(chan struct{})
	c.Done, c.Deadline = func(*limiter.Call) { close(answered) }, wall().Add(patience)
	if !h.Decide(wall(), c) {
		<-answered
	}
	return true
}

// call makes a call under an id; more is what its last part costs beyond what it should.
func (s *several) call(id int, m manifold, op limiter.Op, more uint64) *limiter.Call {
	c := &limiter.Call{Request: nameOf(id), Mode: limiter.AllOrNothing}
	c.Add(limiter.Charge{Limit: &limiter.Limit{}, Cost: 1, Op: op})
	for i, p := range m.parts {
		if i == len(m.parts)-1 {
			p.cost += more
		}
		if op == limiter.OpGiveBack {
			p.cost = m.back
		}
		c.Add(limiter.Charge{Key: s.counters[p.counter].key, Limit: s.limit, Cost: p.cost, Op: op})
	}
	return c
}

// in reports whether all exact quotas of c answered.
func in(c *limiter.Call) bool {
	return !slices.ContainsFunc(c.Charges(), func(ch limiter.Charge) bool { return ch.Decision.Degraded != 0 })
}

// ask asks for a call, and notes what is heard. It returns whether it passed, and whether
// that was heard.
func (s *several) ask(id, node int, patience time.Duration, lost bool) (passed, heard bool) {
	s.mu.Lock()
	m := s.ids[id]
	s.mu.Unlock()
	asked := s.now()
	c := s.call(id, m, limiter.OpCharge, 0)
	if !s.decide(node, c, patience) || lost {
		return false, false
	}
	v, by := c.Verdict()
	if v == limiter.Denied && c.Charges()[by].Decision.Degraded != 0 {
		return false, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	switch now := &s.ids[id]; {
	case c.Reused:
		s.fault("id %d is taken for another call", id)
		return false, false
	case v == limiter.Allowed && now.passed == 0:
		now.passed = s.clock
	case v == limiter.Denied:
		now.denied++
		if m.passed > 0 && m.passed < asked {
			s.fault("id %d had passed, and was denied by charge %d: %+v", id, by, c.Charges()[by].Decision)
		}
		if by > 0 && s.most(m.parts[by-1].counter, s.clock)+m.parts[by-1].cost <= exactAmount {
			s.fault("id %d was denied by charge %d, of which nobody can have had so much", id, by)
		}
	}
	return v == limiter.Allowed, true
}

// other asks with the id of a call that has passed for another. It may pass where a counter
// can't say what it was charged.
func (s *several) other(id, node int, m manifold) {
	c := s.call(id, m, limiter.OpCharge, 1)
	if !s.decide(node, c, time.Second) || c.Reused {
		return
	}
	if v, by := c.Verdict(); in(c) || v == limiter.Denied && c.Charges()[by].Decision.Degraded == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fault("id %d is taken for one that costs more: %v", id, v)
	}
}

func (s *several) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// most returns what can have been used of a counter by a moment, and least what must have
// been since then.
func (s *several) most(counter int, by int64) (units uint64) {
	return s.sum(counter, func(m *manifold) bool { return m.first < by }, false)
}

func (s *several) least(counter int, since int64) (units uint64) {
	return s.sum(counter, func(m *manifold) bool { return m.passed > 0 && m.passed < since }, true)
}

func (s *several) sum(counter int, of func(*manifold) bool, net bool) (units uint64) {
	for i := range s.ids {
		m := &s.ids[i]
		for _, p := range m.parts {
			if p.counter == counter && of(m) {
				if units += p.cost; net {
					units -= m.back
				}
			}
		}
	}
	return units
}

// look notes what is left of a counter, if it is heard.
func (s *several) look(node, counter int) (remaining uint64, heard bool) {
	asked := s.now()
	c := &limiter.Call{}
	c.Add(limiter.Charge{Key: s.counters[counter].key, Limit: s.limit, Op: limiter.OpPeek})
	if !s.decide(node, c, time.Second) || !in(c) {
		return 0, false
	}
	remaining = c.Charges()[0].Decision.Remaining
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	s.looks = append(s.looks, glance{counter, asked, s.clock, remaining})
	return remaining, true
}

// client is one of several.
func (s *several) client(ctx context.Context, client int, rng *rand.Rand) {
	if client > 0 {
		defer s.busy.Done()
	}
	for node := client % 3; ctx.Err() == nil; node = rng.IntN(3) {
		id, m, ok := s.some(rng)
		switch n := rng.IntN(16); {
		case n < 6:
			id, ok = s.begin(rng)
			fallthrough
		case n < 11:
			for range 1 + rng.IntN(4) {
				if !ok {
					break
				}
				_, heard := s.ask(id, node, time.Duration(10+rng.IntN(1200))*time.Millisecond, rng.IntN(8) == 0)
				ok = !heard
				node = (node + 1) % 3
			}
		case n < 13:
			s.look(node, rng.IntN(len(s.counters)))
		case !ok || m.passed == 0:
		case m.back > 0:
			s.decide(node, s.call(id, m, limiter.OpGiveBack, 0), time.Second)
		default:
			s.other(id, node, m)
		}
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
	}
	if client == 0 {
		s.busy.Wait()
		time.Sleep(10 * time.Second) // what is under way ends
		s.end()
	}
}

// end asks for every call once more, until an answer is heard, and looks at the counters.
func (s *several) end() {
	until := func(what string, do func(node int) bool) {
		for try := range 300 {
			if do(try % 3) {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		s.fault("%s: nobody answers", what)
	}
	for id := range s.ids {
		m := &s.ids[id]
		until("ask", func(node int) (heard bool) {
			m.final, heard = s.ask(id, node, time.Second, false)
			return heard
		})
		if m.final && m.back > 0 {
			until("give back", func(node int) bool {
				c := s.call(id, *m, limiter.OpGiveBack, 0)
				return s.decide(node, c, time.Second) && in(c)
			})
		}
	}
	time.Sleep(10 * time.Second)
	for i := range s.counters {
		var left uint64
		until("look", func(node int) (heard bool) {
			left, heard = s.look(node, i)
			return heard
		})
		if kept := s.sum(i, func(m *manifold) bool { return m.final }, true); kept > exactAmount || exactAmount-left != kept {
			s.fault("counter %d: %d of %d units are left, %d were admitted", i, left, exactAmount, kept)
		}
	}
}

// check returns what no counters explain.
func (s *several) check() []string {
	for id := range s.ids {
		if m := &s.ids[id]; m.passed > 0 && !m.final {
			s.fault("id %d had passed, and did not in the end", id)
		}
	}
	for _, l := range s.looks {
		used, least, most := exactAmount-l.remaining, s.least(l.counter, l.asked), s.most(l.counter, l.heard)
		if used < least || used > most {
			s.fault("counter %d: %d are used at %d to %d, it must be %d to %d", l.counter, used, l.asked, l.heard, least, most)
		}
	}
	return s.faults
}

// manyLimits has clients make calls of several limits through the arena's trouble.
func manyLimits(t *testing.T, seed uint64, change func(*station), fault func(submit) submit) (s *several) {
	t.Helper()
	inTrouble(t, rand.NewPCG(seed, 9), change, func(t *testing.T, a *arena) client {
		t.Helper()
		s = &several{front: newFront(t, a, fault)}
		s.busy.Add(exactClients - 1)
		var asked atomic.Uint64
		s.rest = func(_ limiter.Instant, c *limiter.Call) {
			ch := &c.Charges()[0]
			if ch.Limit.Kind == limiter.KindQuota {
				return
			}
			ch.Decision = limiter.Decision{Verdict: limiter.Allowed}
			if ch.Op == limiter.OpCharge && asked.Add(1)%3 == 0 {
				ch.Decision.Verdict = limiter.Denied
			}
		}
		return s.client
	})
	return s
}

// TestExactCallsOfSeveralLimitsAreDecidedOnce has clients ask for calls of two or three exact
// quotas, of two groups, beside a limit that denies now and then, in mode all or nothing. What
// they got no answer to they ask again, and what was denied, at any node, while leaders are
// lost, cables cut, and power cuts take what was not synced. A call that passed passes; one
// that costs something else is not taken for it; a look sees what has passed, and not more
// than was asked for; and when everybody has asked once more, each counter is charged what
// was admitted, to the unit.
func TestExactCallsOfSeveralLimitsAreDecidedOnce(t *testing.T) {
	n := uint64(*histories+1) / 2
	if testing.Short() {
		n = (n + 4) / 5
	}
	passed, denied := 0, 0
	for seed := *firstSeed; seed < *firstSeed+n; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := manyLimits(t, seed, nil, nil)
			for _, fault := range s.check() {
				t.Error(fault)
			}
			for i := range s.ids {
				if denied += s.ids[i].denied; s.ids[i].final {
					passed++
				}
			}
		})
	}
	t.Logf("%d calls passed, and %d times one was denied", passed, denied)
	if passed < int(n)*5 || denied < int(n)*5 {
		t.Error("that shows too little")
	}
}

// TestTheCheckOfCallsOfSeveralLimitsFindsBrokenNodes plants faults between holdings and the
// log, and in the ledger.
func TestTheCheckOfCallsOfSeveralLimitsFindsBrokenNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("what the check is worth is shown without the race detector")
	}
	keeps := func(c *quota.Command) bool { return c.Op == quota.OpConclude && c.Cost > 0 }
	before := func(change func(index uint64, c *quota.Command)) func(*station) {
		return func(s *station) {
			s.machine = func(l raft.BatchingFSM) raft.FSM {
				return faulty{l, change, func(uint64, *quota.Command, *quota.Result) {}}
			}
		}
	}
	for _, tc := range []struct {
		name  string
		plant func(*station)
		fault func(submit) submit
	}{
		{"a node that takes back a call of which it does not know whether it was kept", nil, func(next submit) submit {
			var n atomic.Int64
			return func(c quota.Command, done grants.Done) error {
				return next(c, func(c *quota.Command, r quota.Result, err error) {
					if keeps(c) && n.Add(1)%4 == 0 {
						r, err = quota.Result{Code: quota.Differs, Round: c.Round}, nil
					}
					done(c, r, err)
				})
			}
		}},
		{"a node that believes what it concludes", nil, func(next submit) submit {
			return func(c quota.Command, done grants.Done) error {
				return next(c, func(c *quota.Command, r quota.Result, err error) {
					if keeps(c) {
						r, err = quota.Result{Code: quota.OK, Round: c.Round, Sure: true}, nil
					}
					done(c, r, err)
				})
			}
		}},
		{"a node that does not take back what was let go", nil, func(next submit) submit {
			return func(c quota.Command, done grants.Done) error {
				if c.Op == quota.OpConclude && c.Cost == 0 {
					go done(&c, quota.Result{Code: quota.OK, Round: c.Round}, nil)
					return nil
				}
				return next(c, done)
			}
		}},
		{"a node that says yes to what did not join", nil, func(next submit) submit {
			var n atomic.Int64
			return func(c quota.Command, done grants.Done) error {
				if c.Op != quota.OpJoin || n.Add(1)%8 > 0 {
					return next(c, done)
				}
				looks := c
				looks.Op, looks.Request, looks.Cost = quota.OpSpend, limiter.Key{}, 0
				return next(looks, func(_ *quota.Command, r quota.Result, err error) {
					r.Charged = c.Cost
					done(&c, r, err)
				})
			}
		}},
		{"a ledger that keeps what should be let go", before(func(_ uint64, c *quota.Command) {
			if c.Op == quota.OpConclude {
				c.Cost = max(1, c.Cost)
			}
		}), nil},
		{"a ledger that does not know that what joins a later round is the same", before(func(_ uint64, c *quota.Command) {
			if c.Op == quota.OpJoin {
				c.Request.Lo += c.Round
			}
		}), nil},
		{"a ledger that lets one more in than there is", before(func(_ uint64, c *quota.Command) { c.Limit++ }), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for seed := range uint64(8) {
				if found := manyLimits(t, seed, tc.plant, tc.fault).check(); len(found) > 0 {
					t.Logf("seed %d: %s", seed, found[0])
					return
				}
			}
			t.Error("nobody noticed")
		})
	}
}
