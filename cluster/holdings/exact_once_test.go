package holdings_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// The keys of a call that several limits decide: two exact quotas, and one that is not.
const (
	firstKey = 1 + iota
	secondKey
	escrowKey
	restKey
)

// several is a node whose calls are decided by several limits, all or nothing.
type several struct {
	*node
	limits [3]*limiter.Limit
	tenure uint64
}

func newSeveral(tb testing.TB, first, second, escrow uint64) *several {
	tb.Helper()
	s := &several{limits: [3]*limiter.Limit{exactLimit(first), exactLimit(second), limit(escrow)}}
	for i, l := range s.limits {
		l.ID[1], l.Def = byte(i), limiter.DefHash(1000+i)
	}
	s.node = newNode(tb, s.limits[0], nil)
	s.start(tb)
	return s
}

// start gives the node the memory of a process that starts.
func (s *several) start(tb testing.TB) {
	tb.Helper()
	s.tenure++
	s.restart(tb, s.limits[0], func(c *holdings.Config) { c.Tenure = s.tenure })
	s.quotas = nil
	for _, l := range s.limits {
		s.quotas = append(s.quotas, holdings.Quota{Limit: l, When: daily(tb)})
	}
	s.Install(s.tenure+1, s.quotas)
}

// one returns a call with an id.
func (s *several) one(id uint64, op limiter.Op, cost uint64) *limiter.Call {
	c := under(id, &limiter.Call{Mode: limiter.AllOrNothing, Done: func(*limiter.Call) { s.done++ }})
	for i, l := range []*limiter.Limit{s.limits[2], s.limits[0], s.limits[1]} { // the arbiter is not the first
		c.Add(limiter.Charge{Key: limiter.Key{Lo: []uint64{escrowKey, firstKey, secondKey}[i]}, Limit: l, Cost: cost, Op: op})
	}
	c.Add(limiter.Charge{Key: limiter.Key{Lo: restKey}, Limit: &limiter.Limit{}, Cost: cost, Op: op})
	return c
}

func (s *several) verdict(c *limiter.Call) limiter.Verdict {
	s.Decide(s.now, c)
	s.ledger.run()
	v, _ := c.Verdict()
	return v
}

// charged returns what the exact quotas have charged.
func (s *several) charged() [2]uint64 {
	return [2]uint64{s.today(firstKey).Exact.Charged, s.today(secondKey).Exact.Charged}
}

func TestACallOfSeveralLimitsIsDecidedOnceForItsID(t *testing.T) {
	s := newSeveral(t, 20, 10, 30)
	for _, step := range []struct {
		what    string
		call    *limiter.Call
		rest    limiter.Verdict // of the limit that is no quota
		want    limiter.Verdict
		reused  bool
		charged [2]uint64
	}{
		{"all let it pass", s.one(1, limiter.OpCharge, 4), limiter.Allowed, limiter.Allowed, false, [2]uint64{4, 4}},
		{"again", s.one(1, limiter.OpCharge, 4), limiter.Allowed, limiter.Allowed, false, [2]uint64{4, 4}},
		{"again, and one would deny it now", s.one(1, limiter.OpCharge, 4), limiter.Denied, limiter.Allowed, false, [2]uint64{4, 4}},
		{"another cost", s.one(1, limiter.OpCharge, 5), limiter.Allowed, limiter.Undecided, true, [2]uint64{4, 4}},
		{"one denies it", s.one(2, limiter.OpCharge, 4), limiter.Denied, limiter.Denied, false, [2]uint64{4, 4}},
		{"and again", s.one(2, limiter.OpCharge, 4), limiter.Denied, limiter.Denied, false, [2]uint64{4, 4}},
		{"then all let it pass", s.one(2, limiter.OpCharge, 4), limiter.Allowed, limiter.Allowed, false, [2]uint64{8, 8}},
		{"which stays so", s.one(2, limiter.OpCharge, 4), limiter.Denied, limiter.Allowed, false, [2]uint64{8, 8}},
		{"the second exact quota denies it", s.one(3, limiter.OpCharge, 3), limiter.Allowed, limiter.Denied, false, [2]uint64{8, 8}},
		{"the first does", s.one(4, limiter.OpCharge, 13), limiter.Allowed, limiter.Denied, false, [2]uint64{8, 8}},
		{"what did not pass can't be given back", s.one(3, limiter.OpGiveBack, 3), limiter.Allowed, limiter.Allowed, false, [2]uint64{8, 8}},
		{"some of it is given back", s.one(2, limiter.OpGiveBack, 1), limiter.Allowed, limiter.Allowed, false, [2]uint64{7, 7}},
		{"once", s.one(2, limiter.OpGiveBack, 1), limiter.Allowed, limiter.Allowed, false, [2]uint64{7, 7}},
		{"so the other has passed", s.one(3, limiter.OpCharge, 3), limiter.Allowed, limiter.Allowed, false, [2]uint64{10, 10}},
		{"all of it", s.one(3, limiter.OpGiveBack, 3), limiter.Allowed, limiter.Allowed, false, [2]uint64{7, 7}},
		{"then the id can't be charged any more", s.one(3, limiter.OpCharge, 3), limiter.Allowed, limiter.Undecided, true, [2]uint64{7, 7}},
	} {
		s.rest = step.rest
		got := s.verdict(step.call)
		if step.call.Reused != step.reused || !step.reused && got != step.want {
			t.Errorf("%s: %v, reused %v, want %v, %v", step.what, got, step.call.Reused, step.want, step.reused)
		}
		if c := s.charged(); c != step.charged {
			t.Errorf("%s: %v are charged, want %v", step.what, c, step.charged)
		}
	}
	if st := s.Stats(); st.Stuck != 0 || st.Parked != 0 {
		t.Errorf("%+v", st)
	}
	s.now = s.now.Add(11 * time.Minute)
	if got := s.verdict(s.one(1, limiter.OpCharge, 3)); got != limiter.Allowed || s.charged()[0] != 10 {
		t.Errorf("eleven minutes later: %v, %v are charged", got, s.charged())
	}
}

func TestWhatHasPassedChargesTheOtherLimitsNothing(t *testing.T) {
	s := newSeveral(t, 20, 20, 30)
	for asked := range 3 {
		c := s.one(1, limiter.OpCharge, 4)
		if got := s.verdict(c); got != limiter.Allowed || c.Charges()[0].Decision.Remaining != 26 {
			t.Errorf("asked %d times before: %v, %+v", asked, got, c.Charges()[0].Decision)
		}
		for i := range c.Charges() {
			if op := c.Charges()[i].Op; op != limiter.OpCharge {
				t.Errorf("charge %d is op %d afterwards", i, op)
			}
		}
	}
	if s.others[limiter.OpCharge] != 1 || s.others[limiter.OpPeek] != 2 {
		t.Errorf("the other kinds were asked for %v", s.others)
	}
}

// One who asks is denied by another limit while one who asks at the same time is not: both
// hear what was concluded first, and nothing stays charged but what passed.
func TestWhoAsksAtTheSameTimeHearsTheSame(t *testing.T) {
	for _, first := range []limiter.Verdict{limiter.Allowed, limiter.Denied} {
		s := newSeveral(t, 20, 20, 30)
		s.verdict(s.one(9, limiter.OpCharge, 1)) // so that units are here
		calls := []*limiter.Call{s.one(1, limiter.OpCharge, 4), s.one(1, limiter.OpCharge, 4)}
		for _, c := range calls {
			s.Decide(s.now, c)
		}
		s.rest = first
		for s.ledger.waiting() > 0 {
			a := s.ledger.take(0)
			a.done(&a.c, s.ledger.apply(a.c), nil)
			if s.others[limiter.OpCharge] == 2 { // the first of them has been decided
				s.rest = limiter.Allowed + limiter.Denied - first
			}
		}
		want := [2]uint64{1, 1}
		if first == limiter.Allowed {
			want = [2]uint64{5, 5}
		}
		for i, c := range calls {
			if got, _ := c.Verdict(); got != first {
				t.Errorf("first %v: call %d is %v", first, i, got)
			}
		}
		if got := s.charged(); got != want {
			t.Errorf("first %v: %v are charged, want %v", first, got, want)
		}
		look := s.one(2, limiter.OpPeek, 1)
		if s.verdict(look); look.Charges()[0].Decision.Remaining > 30-want[0] {
			t.Errorf("first %v: the other quota has %d left", first, look.Charges()[0].Decision.Remaining)
		}
		if first == limiter.Denied && s.others[limiter.OpGiveBack] != 1 {
			t.Errorf("the other kinds were asked for %v", s.others)
		}
	}
}

// Whoever dies, and whenever: what was charged stays so until somebody asks again, who
// is told what was decided, or decides it.
func TestACrashBeforeItIsDecidedIsResolvedByWhoAsksAgain(t *testing.T) {
	for _, rest := range []limiter.Verdict{limiter.Allowed, limiter.Denied} { // when it is asked first
		for _, again := range []limiter.Verdict{limiter.Allowed, limiter.Denied} {
			for applied := range 6 {
				s := newSeveral(t, 10, 10, 30)
				s.rest = limiter.Allowed
				s.verdict(s.one(9, limiter.OpCharge, 1)) // so that units are here
				s.rest = rest
				c := s.one(1, limiter.OpCharge, 4)
				s.Decide(s.now, c)
				for range applied {
					if s.ledger.waiting() > 0 {
						a := s.ledger.take(0)
						a.done(&a.c, s.ledger.apply(a.c), nil)
					}
				}
				told, _ := c.Verdict()
				finished := s.done > 1
				s.ledger.queue = nil
				s.start(t)

				s.rest = again
				got := s.verdict(s.one(1, limiter.OpCharge, 4))
				if finished && told == limiter.Allowed && got != limiter.Allowed {
					t.Errorf("rest %v, then %v, after %d commands: it passed, and then was denied", rest, again, applied)
				}
				want := uint64(1)
				if got == limiter.Allowed {
					want = 5
				}
				if c := s.charged(); c[0] != want || c[1] != want {
					t.Errorf("rest %v, then %v, after %d commands: %v, %v are charged", rest, again, applied, got, c)
				}
			}
		}
	}
}

// A severalRush asks with few ids at once, while answers are late or lost and the node
// crashes.
type severalRush struct {
	*several
	tb      testing.TB
	mixed   bool // commands may come in any order, late and twice
	calls   []rushed
	passed  map[uint64]bool // ids of which somebody was told that they pass
	started map[*limiter.Call]bool
}

type rushed struct {
	call *limiter.Call
	id   uint64
	sure bool // its id had passed when it was asked
}

// rushCost is what a call with the id costs.
func rushCost(id uint64) uint64 { return 1 + id%3 }

// hear notes what callers were told.
func (r *severalRush) hear(t *rapid.T) {
	waiting := r.calls[:0]
	for _, a := range r.calls {
		v, by := a.call.Verdict()
		switch undecided := a.call.Charges()[3].Decision.Verdict == limiter.Undecided; {
		case a.call.Reused:
			t.Fatalf("id %d is taken for another charge", a.id)
		case r.started[a.call]:
			waiting = append(waiting, a)
		case v == limiter.Allowed && !undecided:
			r.passed[a.id] = true
		case a.sure && a.call.Charges()[by].Decision.Degraded == limiter.NotDegraded:
			t.Fatalf("id %d has passed, and was denied by charge %d: %+v", a.id, by, a.call.Charges()[by].Decision)
		}
	}
	r.calls = waiting
	admitted := uint64(0)
	for id := range r.passed {
		admitted += rushCost(id)
	}
	for i, key := range []uint64{firstKey, secondKey} {
		if got := r.today(key).Exact.Charged; got < admitted {
			t.Fatalf("%d units were admitted, exact quota %d has charged %d", admitted, i, got)
		}
	}
	for i, l := range r.limits {
		if admitted > l.Amount {
			t.Fatalf("%d units were admitted, quota %d has %d", admitted, i, l.Amount)
		}
	}
}

func (r *severalRush) ask(t *rapid.T, id uint64) {
	r.hear(t)
	c := r.one(id, limiter.OpCharge, rushCost(id))
	c.Deadline = r.now.Add(20 * time.Millisecond)
	r.started[c] = true
	c.Done = func(c *limiter.Call) { delete(r.started, c) }
	r.calls = append(r.calls, rushed{c, id, r.passed[id]})
	if r.Decide(r.now, c) {
		delete(r.started, c)
	}
}

func (r *severalRush) actions() map[string]func(*rapid.T) {
	some := func(do func(*rapid.T, sent)) func(*rapid.T) {
		return func(t *rapid.T) {
			n := r.ledger.waiting()
			if n == 0 {
				t.Skip("nothing waits")
			}
			i := 0
			if r.mixed {
				i = rapid.IntRange(0, n-1).Draw(t, "which")
			}
			r.rest = rapid.SampledFrom([]limiter.Verdict{limiter.Allowed, limiter.Allowed, limiter.Denied}).Draw(t, "rest")
			do(t, r.ledger.take(i))
		}
	}
	answer := some(func(_ *rapid.T, s sent) { s.done(&s.c, r.ledger.apply(s.c), nil) })
	ask := func(t *rapid.T) { r.ask(t, rapid.Uint64Range(1, 6).Draw(t, "id")) }
	return map[string]func(*rapid.T){
		"":                 r.hear,
		"ask":              ask,
		"ask once more":    ask,
		"answer":           answer,
		"answer some more": answer,
		"answer on":        answer,
		"answer is lost": some(func(_ *rapid.T, s sent) {
			r.ledger.apply(s.c)
			s.done(&s.c, quota.Result{}, errLost)
		}),
		"command is lost": some(func(_ *rapid.T, s sent) {
			s.done(&s.c, quota.Result{}, errLost)
			if r.mixed { // or comes later
				_ = r.ledger.submit(s.c, func(*quota.Command, quota.Result, error) {})
			}
		}),
		"applied twice": some(func(_ *rapid.T, s sent) {
			result := r.ledger.apply(s.c)
			if r.mixed {
				_ = r.ledger.submit(s.c, func(*quota.Command, quota.Result, error) {})
			}
			s.done(&s.c, result, nil)
		}),
		"wait": func(t *rapid.T) {
			r.now = r.now.Add(time.Duration(rapid.Int64Range(0, 15).Draw(t, "ms")) * time.Millisecond)
		},
		"crash": func(t *rapid.T) {
			r.hear(t)
			r.calls = nil
			if !r.mixed {
				r.ledger.queue = nil
			}
			r.start(r.tb)
		},
	}
}

// TestNoHistoryOfACallOfSeveralLimitsDecidesItTwice: an id that has passed passes, and in the
// end, when all have asked again, what is charged is what was admitted.
func TestNoHistoryOfACallOfSeveralLimitsDecidesItTwice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &severalRush{
			several: newSeveral(t, 9, 7, 8), tb: t, mixed: rapid.Bool().Draw(rt, "mixed"),
			passed: map[uint64]bool{}, started: map[*limiter.Call]bool{},
		}
		rt.Repeat(r.actions())
		r.rest = limiter.Denied
		r.ledger.run()
		for id := uint64(1); id <= 6; id++ {
			r.ask(rt, id)
			r.ledger.run()
			r.hear(rt)
		}
		admitted := uint64(0)
		for id := range r.passed {
			admitted += rushCost(id)
		}
		for _, key := range []uint64{firstKey, secondKey} {
			if got := r.today(key).Exact.Charged; got != admitted {
				rt.Fatalf("quota %d has charged %d, %d were admitted", key, got, admitted)
			}
		}
	})
}
