package holdings_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

func exactLimit(amount uint64) *limiter.Limit {
	l := limit(amount)
	l.Quota = &limiter.QuotaTerms{Exact: true}
	return l
}

// under has a call carry the hash of an id.
func under(id uint64, c *limiter.Call) *limiter.Call {
	c.Request = limiter.Key{Hi: 8, Lo: id << 8}
	return c
}

// decide has the ledger answer all that c asks and returns its first decision.
func (n *node) decide(c *limiter.Call) limiter.Decision {
	n.Decide(n.now, c)
	n.ledger.run()
	return c.Charges()[0].Decision
}

func TestAnExactQuotaIsDecidedByTheLedger(t *testing.T) {
	n := newNode(t, exactLimit(10), nil)
	type step struct {
		what      string
		call      *limiter.Call
		verdict   limiter.Verdict
		remaining uint64
		retry     time.Duration
		charged   uint64 // by the ledger, in all
	}
	for _, s := range []step{
		{"a look at what nobody has used", n.call(limiter.OpPeek, 1, 10), limiter.Allowed, 10, 0, 0},
		{"a charge", n.call(limiter.OpCharge, 1, 4), limiter.Allowed, 6, 0, 4},
		{"a charge of nothing only looks", n.call(limiter.OpCharge, 1, 0), limiter.Allowed, 6, 0, 4},
		{"a look at what would pass", n.call(limiter.OpPeek, 1, 6), limiter.Allowed, 6, 0, 4},
		{"a look at what would not", n.call(limiter.OpPeek, 1, 7), limiter.Denied, 6, 12 * time.Hour, 4},
		{"a charge that does not fit", n.call(limiter.OpCharge, 1, 7), limiter.Denied, 6, 12 * time.Hour, 4},
		{"a charge that never fits", n.call(limiter.OpCharge, 1, 11), limiter.Denied, 6, limiter.Never, 4},
		{"a charge beyond what a command can say", n.call(limiter.OpCharge, 1, limiter.CostMax+1), limiter.Denied, 6, limiter.Never, 4},
		{"a give-back of who has no id", n.call(limiter.OpGiveBack, 1, 4), limiter.Allowed, 6, 0, 4},
		{"the rest", n.call(limiter.OpCharge, 1, 6), limiter.Allowed, 0, 0, 10},
		{"nothing is left", n.call(limiter.OpPeek, 1, 0), limiter.Denied, 0, 12 * time.Hour, 10},
	} {
		d := n.decide(s.call)
		if d.Verdict != s.verdict || d.Remaining != s.remaining || d.RetryAfter != s.retry || d.Degraded != 0 {
			t.Errorf("%s: %+v, want %v, %d remain, retry after %s", s.what, d, s.verdict, s.remaining, s.retry)
		}
		if got := n.today(1).Exact.Charged; got != s.charged {
			t.Errorf("%s: %d units are charged, want %d", s.what, got, s.charged)
		}
	}
	if st := n.Stats(); st.Spent != 10 || st.Dropped != 4 || st.Counters != 0 || st.Parked != 0 || st.Waited != 11 {
		t.Errorf("%+v", st)
	}
}

func TestARequestIsChargedOnce(t *testing.T) {
	n := newNode(t, exactLimit(100), nil)
	charge := func(id, cost uint64) *limiter.Call { return under(id, n.call(limiter.OpCharge, 1, cost)) }
	back := func(id, units uint64) *limiter.Call { return under(id, n.call(limiter.OpGiveBack, 1, units)) }
	for _, s := range []struct {
		what    string
		call    *limiter.Call
		reused  bool
		charged uint64
	}{
		{"once", charge(1, 5), false, 5},
		{"again", charge(1, 5), false, 5},
		{"another id", charge(2, 5), false, 10},
		{"another cost", charge(1, 6), true, 10},
		{"no id", n.call(limiter.OpCharge, 1, 5), false, 15},
		{"two charges of the counter", under(3, n.call(limiter.OpCharge, 1, 7, 7)), false, 29},
		{"both again", under(3, n.call(limiter.OpCharge, 1, 7, 7)), false, 29},
		{"some of it is given back", back(2, 3), false, 26},
		{"which is heard once", back(2, 3), false, 26},
		{"the call is what it was", charge(2, 5), false, 26},
		{"all of it, and more than that", back(1, 9), false, 21},
		{"then the id can't be charged any more", charge(1, 5), true, 21},
		{"nobody has charged that", back(9, 1), false, 21},
		{"both charges of one call", under(3, n.call(limiter.OpGiveBack, 1, 7, 7)), false, 7},
	} {
		d := n.decide(s.call)
		if s.call.Reused != s.reused || !s.reused && (d.Verdict != limiter.Allowed || d.Degraded != 0) {
			t.Errorf("%s: reused %v, want %v; %+v", s.what, s.call.Reused, s.reused, d)
		}
		if got := n.today(1).Exact.Charged; got != s.charged {
			t.Errorf("%s: %d units are charged, want %d", s.what, got, s.charged)
		}
	}
	n.now = n.now.Add(10 * time.Minute)
	if n.decide(charge(2, 5)); n.today(1).Exact.Charged != 12 {
		t.Errorf("ten minutes later %d units are charged, want 12", n.today(1).Exact.Charged)
	}
}

func TestAnIDThatStandsForAnotherChargeChargesNothingElse(t *testing.T) {
	n := newNode(t, exactLimit(100), nil)
	n.decide(under(1, n.call(limiter.OpCharge, 1, 5)))
	escrow := limit(50)
	escrow.ID[0]++
	n.quotas = append(n.quotas, holdings.Quota{Limit: escrow, When: daily(t)})
	n.Install(2, n.quotas)
	c := under(1, &limiter.Call{Done: func(*limiter.Call) {}})
	c.Add(limiter.Charge{Key: limiter.Key{Lo: 2}, Limit: escrow, Cost: 10})
	c.Add(limiter.Charge{Key: limiter.Key{Lo: 1}, Limit: n.quotas[0].Limit, Cost: 6})
	c.Add(limiter.Charge{Key: limiter.Key{Lo: 3}, Limit: &limiter.Limit{}, Cost: 1})
	n.decide(c)
	if !c.Reused || c.Charges()[2].Decision.Verdict != limiter.Undecided {
		t.Fatalf("reused %v, the third charge is %+v", c.Reused, c.Charges()[2].Decision)
	}
	c = n.call(limiter.OpPeek, 2, 0)
	c.Charges()[0].Limit = escrow
	if d := n.decide(c); d.Remaining != 50 {
		t.Errorf("%d of 50 units are left of the other quota", d.Remaining)
	}
}

// What a call that was denied for want of an answer is charged, and whether asking
// again helps.
func TestAnAnswerThatDoesNotCome(t *testing.T) {
	applied := func(n *node) {
		s := n.ledger.take(0)
		n.ledger.apply(s.c)
		s.done(&s.c, quota.Result{}, errLost)
	}
	late := func(n *node) {
		n.now = n.now.Add(time.Second)
		n.ledger.run()
	}
	for _, tt := range []struct {
		name    string
		id      uint64
		fate    func(*node)
		denied  uint64 // units charged when the call has been denied
		settled uint64 // and when the ledger has heard of that
		again   uint64 // and when it is asked again, of 5
	}{
		{"the command is lost", 0, func(n *node) { s := n.ledger.take(0); s.done(&s.c, quota.Result{}, errLost) }, 0, 0, 5},
		{"the answer is lost", 0, applied, 5, 0, 5},
		{"the answer is late", 0, late, 0, 0, 5},
		{"the answer to an id is lost", 7, applied, 5, 5, 5},
		{"the answer to an id is late", 7, late, 5, 5, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, exactLimit(100), nil)
			ask := func() *limiter.Call {
				c := n.call(limiter.OpCharge, 1, 5)
				c.Deadline = n.now.Add(15 * time.Millisecond)
				if tt.id != 0 {
					under(tt.id, c)
				}
				if n.Decide(n.now, c) {
					t.Fatal("decided without the ledger")
				}
				return c
			}
			c := ask()
			tt.fate(n)
			if d := c.Charges()[0].Decision; d.Verdict != limiter.Denied || d.Degraded != limiter.Unavailable || n.done != 1 {
				t.Errorf("%+v, finished %d times", d, n.done)
			}
			if got := n.today(1).Exact.Charged; got != tt.denied {
				t.Errorf("denied: %d units are charged, want %d", got, tt.denied)
			}
			n.ledger.run()
			if got := n.today(1).Exact.Charged; got != tt.settled {
				t.Errorf("and told so: %d units are charged, want %d", got, tt.settled)
			}
			c = ask()
			n.ledger.run()
			if d := c.Charges()[0].Decision; d.Verdict != limiter.Allowed || n.today(1).Exact.Charged != tt.again {
				t.Errorf("again: %+v, %d units are charged, want %d", d, n.today(1).Exact.Charged, tt.again)
			}
			if got := n.Stats().Stuck; got != 0 {
				t.Errorf("%d units are stuck", got)
			}
		})
	}
}

// TestWhatWasNotSentIsNotTakenBack: a command whose caller has been answered is not sent, but
// for what has to be done all the same.
func TestWhatWasNotSentIsNotTakenBack(t *testing.T) {
	n := newNode(t, exactLimit(100), nil)
	ask := func(op limiter.Op) *limiter.Call {
		c := under(7, n.call(op, 1, 5))
		if op == limiter.OpCharge {
			c.Request = limiter.Key{}
		}
		c.Deadline = n.now.Add(time.Millisecond)
		n.Decide(n.now, c)
		return c
	}
	c := ask(limiter.OpCharge)
	s := n.ledger.take(0)
	n.now = n.now.Add(time.Second)
	s.done(&s.c, quota.Result{}, quota.ErrLate)
	if d := c.Charges()[0].Decision; s.c.Deadline != c.Deadline || d.Degraded != limiter.Unavailable || n.ledger.waiting() != 0 {
		t.Errorf("deadline %d of %d, %+v, %d commands wait", s.c.Deadline, c.Deadline, d, n.ledger.waiting())
	}
	ask(limiter.OpGiveBack)
	ask(limiter.OpCharge)
	n.now = n.now.Add(time.Second)
	back, charge := n.ledger.take(0), n.ledger.take(0)
	charge.done(&charge.c, n.ledger.apply(charge.c), nil) // too late: it is taken back
	settle := n.ledger.take(0)
	if back.c.Deadline != 0 || settle.c.Op != quota.OpSettle || settle.c.Deadline != 0 {
		t.Errorf("a give-back has deadline %d, %v has %d", back.c.Deadline, settle.c.Op, settle.c.Deadline)
	}
}

func TestWhatTheLedgerDoesNotHearOfIsCounted(t *testing.T) {
	n := newNode(t, exactLimit(100), nil)
	n.Decide(n.now, n.call(limiter.OpCharge, 1, 5))
	s := n.ledger.take(0)
	n.ledger.apply(s.c)
	s.done(&s.c, quota.Result{}, errLost)
	tries := 0
	for n.ledger.waiting() > 0 {
		tries++
		s := n.ledger.take(0)
		s.done(&s.c, quota.Result{}, errLost)
	}
	if st := n.Stats(); st.Stuck != 5 || tries != 3 {
		t.Errorf("%d units are stuck after %d tries, want 5 and 3", st.Stuck, tries)
	}
}

func TestNothingStaysChargedInAllOrNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		costs []uint64 // of charges of the exact quota
		rest  limiter.Verdict
		want  uint64 // charged
	}{
		{"all pass", []uint64{3, 4}, limiter.Allowed, 7},
		{"another limit denies", []uint64{3, 4}, limiter.Denied, 0},
		{"the second charge is denied", []uint64{3, 8, 1}, limiter.Allowed, 0},
	} {
		for id := range uint64(2) {
			t.Run(fmt.Sprint(tt.name, ", id ", id), func(t *testing.T) {
				n := newNode(t, exactLimit(10), nil)
				n.rest = tt.rest
				c := n.call(limiter.OpCharge, 1, tt.costs...)
				c.Mode = limiter.AllOrNothing
				c.Add(limiter.Charge{Key: limiter.Key{Lo: 2}, Limit: &limiter.Limit{}, Cost: 1})
				if id != 0 {
					under(id, c)
				}
				n.decide(c)
				if got := n.today(1).Exact.Charged; got != tt.want {
					t.Errorf("%d units are charged, want %d", got, tt.want)
				}
				if d := c.Charges()[0].Decision; d.Remaining != 10-3 && tt.want > 0 || d.Remaining != 10 && tt.want == 0 {
					t.Errorf("the first charge has %d left", d.Remaining)
				}
			})
		}
	}
}

func TestAnExactQuotaKeepsItsBounds(t *testing.T) {
	n := newNode(t, exactLimit(100), func(c *holdings.Config) { c.ParkedMax = 2 })
	for range 2 {
		if n.Decide(n.now, n.call(limiter.OpCharge, 1, 1)) {
			t.Fatal("decided without the ledger")
		}
	}
	c := n.call(limiter.OpCharge, 1, 1)
	if !n.Decide(n.now, c) || c.Charges()[0].Decision.Degraded != limiter.Overload {
		t.Errorf("a third call: %+v", c.Charges()[0].Decision)
	}
	n.ledger.run()
	if st := n.Stats(); st.Parked != 0 || st.Refused != 1 {
		t.Errorf("%+v", st)
	}

	n.restart(t, exactLimit(100), func(c *holdings.Config) {
		c.Submit = func(quota.Command, func(*quota.Command, quota.Result, error)) error { return errLost }
	})
	if c := n.call(limiter.OpCharge, 1, 1); !n.Decide(n.now, c) || c.Charges()[0].Decision.Degraded != limiter.Unavailable {
		t.Errorf("the ledger takes nothing in: %+v", c.Charges()[0].Decision)
	}
	if got := n.Stats().Parked; got != 0 {
		t.Errorf("%d calls are parked", got)
	}
}

func TestWhatTheLedgerRefusesIsDenied(t *testing.T) {
	for code, why := range map[quota.Code]limiter.Degraded{
		quota.Busy:   limiter.Overload,
		quota.Early:  limiter.Unavailable,
		quota.Purged: limiter.Unavailable,
	} {
		n := newNode(t, exactLimit(100), nil)
		for _, op := range []limiter.Op{limiter.OpCharge, limiter.OpPeek} {
			if code == quota.Busy && op == limiter.OpPeek {
				continue // a look is remembered by nobody
			}
			c := n.call(op, 1, 1)
			n.Decide(n.now, c)
			s := n.ledger.take(0)
			s.done(&s.c, quota.Result{Code: code}, nil)
			if d := c.Charges()[0].Decision; d.Verdict != limiter.Denied || d.Degraded != why || d.RetryAfter != time.Second {
				t.Errorf("%v to op %d: %+v", code, op, d)
			}
		}
		if n.ledger.waiting() != 0 || n.Stats().Failed == 0 {
			t.Errorf("%v: %d commands wait, %+v", code, n.ledger.waiting(), n.Stats())
		}
	}
}

func TestMarksOfAnExactQuotaAreReachedOnce(t *testing.T) {
	l := exactLimit(100)
	l.Quota.Notify = [limiter.NotifyMax]uint8{50, 80, 100}
	n := newNode(t, l, nil)
	for range 11 {
		n.ask(limiter.OpCharge, 1, 10)
	}
	for _, want := range []struct {
		percent uint8
		used    uint64
	}{{50, 50}, {80, 80}, {100, 100}} {
		select {
		case c := <-n.Crossings():
			if c.Percent != want.percent || c.Used != want.used {
				t.Errorf("%+v, want %+v", c, want)
			}
		default:
			t.Errorf("%d%% was not told", want.percent)
		}
	}
	if st := n.Stats(); st.Crossed != 3 {
		t.Errorf("%d marks were reached", st.Crossed)
	}
}

func TestAQuotaThatBecomesExactKeepsItsUse(t *testing.T) {
	n := newNode(t, limit(100), nil)
	n.ask(limiter.OpCharge, 1, 30)
	n.Install(2, []holdings.Quota{{Limit: exactLimit(100), When: daily(t)}})
	n.now = n.now.Add(time.Minute)
	n.tendAll(n.ledger.run) // what is held goes back
	if d := n.ask(limiter.OpCharge, 1, 1); d.Remaining != 69 {
		t.Errorf("%+v, want 69 left", d)
	}
	n.Install(3, []holdings.Quota{{Limit: limit(100), When: daily(t)}})
	if d := n.ask(limiter.OpCharge, 1, 1); d.Remaining != 68 {
		t.Errorf("%+v, want 68 left", d)
	}
}
