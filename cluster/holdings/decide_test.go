package holdings_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

func TestTheAmountPassesAndNoMore(t *testing.T) {
	n := newNode(t, limit(100), nil)
	allowed := 0
	for i := range 250 {
		n.now = n.now.Add(time.Millisecond)
		d := n.ask(limiter.OpCharge, 1, 1)
		if d.Verdict == limiter.Allowed {
			allowed++
		}
		if want := uint64(max(0, 99-i)); d.Remaining != want {
			t.Fatalf("after %d: %d remain, want %d", i+1, d.Remaining, want)
		}
	}
	if allowed != 100 {
		t.Errorf("%d of 250 passed, want 100", allowed)
	}
	d := n.ask(limiter.OpCharge, 1, 1)
	if want := 12*time.Hour - 250*time.Millisecond; d.RetryAfter != want || d.ResetAfter != want || d.Degraded != 0 {
		t.Errorf("denied with %+v, want to retry after %s", d, want)
	}
	if d := n.ask(limiter.OpCharge, 1, 101); d.RetryAfter != limiter.Never {
		t.Errorf("more than the amount is denied with %+v, want never", d)
	}
	if before := n.ledger.count; n.ask(limiter.OpCharge, 1, 1).Verdict != limiter.Denied || n.ledger.count != before {
		t.Error("an exhausted counter asks the ledger at each call")
	}
}

func TestASteadyCallerWaitsOnlyForItsFirstUnits(t *testing.T) {
	n := newNode(t, limit(1_000_000), nil)
	waited := 0
	for range 20_000 {
		n.now = n.now.Add(100 * time.Microsecond)
		if !n.Decide(n.now, n.call(limiter.OpCharge, 1, 1)) {
			waited++
		}
		n.ledger.run()
	}
	// Grants soon last for a second, and then for two.
	if waited > 2 || n.ledger.count > 12 {
		t.Errorf("%d of 20,000 calls waited, %d commands were applied", waited, n.ledger.count)
	}
}

func TestWhoWaitsIsServedInOrder(t *testing.T) {
	n := newNode(t, limit(10), nil)
	calls := []*limiter.Call{n.call(limiter.OpCharge, 1, 6), n.call(limiter.OpCharge, 1, 5), n.call(limiter.OpCharge, 1, 4)}
	for _, c := range calls {
		if n.Decide(n.now, c) {
			t.Fatal("decided without units")
		}
	}
	if st := n.Stats(); st.Parked != 3 || st.Waited != 3 {
		t.Errorf("%+v, want 3 calls parked", st)
	}
	n.ledger.run()
	for i, want := range []limiter.Verdict{limiter.Allowed, limiter.Denied, limiter.Allowed} {
		if got := calls[i].Charges()[0].Decision.Verdict; got != want {
			t.Errorf("call %d: %v, want %v", i, got, want)
		}
	}
	if n.done != 3 || n.Stats().Parked != 0 {
		t.Errorf("%d calls were finished, %d are parked", n.done, n.Stats().Parked)
	}
}

func TestAPeekAsksOnceAndChargesNothing(t *testing.T) {
	n := newNode(t, limit(2), nil)
	for range 3 {
		if d := n.ask(limiter.OpPeek, 1, 0); d.Verdict != limiter.Allowed || d.Remaining != 2 || d.ResetAfter != 0 {
			t.Errorf("fresh: %+v", d)
		}
	}
	if n.ledger.count != 1 || n.today(1).Outstanding() != 0 {
		t.Errorf("%d commands, %d units granted for looking", n.ledger.count, n.today(1).Outstanding())
	}
	if d := n.ask(limiter.OpPeek, 1, 3); d.Verdict != limiter.Denied {
		t.Errorf("three of two: %+v", d)
	}
}

func TestAGiveBackIsCreditedIfItWasChargedHere(t *testing.T) {
	n := newNode(t, limit(5), nil)
	n.ask(limiter.OpCharge, 1, 5)
	if d := n.ask(limiter.OpGiveBack, 1, 3); d.Verdict != limiter.Allowed || d.Remaining != 3 {
		t.Errorf("given back: %+v", d)
	}
	if d := n.ask(limiter.OpGiveBack, 1, 9); d.Remaining != 5 {
		t.Errorf("more than was charged: %+v", d)
	}
	if st := n.Stats(); st.Refunded != 5 || st.Dropped != 7 {
		t.Errorf("%+v, want 5 refunded and 7 dropped", st)
	}
}

func TestAllOrNothing(t *testing.T) {
	for _, tt := range []struct {
		name    string
		rest    limiter.Verdict
		costs   []uint64
		verdict limiter.Verdict
		left    uint64
	}{
		{"all pass", limiter.Allowed, []uint64{2, 3}, limiter.Allowed, 5},
		{"a later charge is denied: the earlier one is given back", limiter.Allowed, []uint64{2, 9}, limiter.Denied, 10},
		{"an earlier charge is denied: the later one is not made", limiter.Allowed, []uint64{11, 2}, limiter.Denied, 10},
		{"another kind denies: all is given back", limiter.Denied, []uint64{2, 3}, limiter.Denied, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, limit(10), nil)
			n.rest = tt.rest
			c := n.call(limiter.OpCharge, 1, tt.costs...)
			c.Mode = limiter.AllOrNothing
			c.Add(limiter.Charge{Limit: &limiter.Limit{Spec: limiter.Spec{Kind: limiter.KindRate}}, Cost: 1})
			n.Decide(n.now, c)
			n.ledger.run()
			if v, _ := c.Verdict(); v != tt.verdict {
				t.Errorf("%v, want %v", v, tt.verdict)
			}
			if d := n.ask(limiter.OpPeek, 1, 0); d.Remaining != tt.left {
				t.Errorf("%d left, want %d", d.Remaining, tt.left)
			}
		})
	}
}

func TestWithoutAnAnswerACallIsDenied(t *testing.T) {
	n := newNode(t, limit(10), nil)
	c := n.call(limiter.OpCharge, 1, 1)
	n.Decide(n.now, c)
	n.ledger.lose()
	if d := c.Charges()[0].Decision; n.done != 1 || d.Verdict != limiter.Denied || d.Degraded != limiter.Unavailable || d.RetryAfter <= 0 {
		t.Errorf("%d finished, %+v", n.done, d)
	}
	if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Allowed {
		t.Errorf("afterwards: %+v", d)
	}
	late := n.call(limiter.OpCharge, 2, 1)
	late.Deadline = n.now.Add(time.Millisecond)
	n.Decide(n.now, late)
	n.now = n.now.Add(time.Second)
	n.ledger.run()
	if d := late.Charges()[0].Decision; d.Degraded != limiter.Unavailable {
		t.Errorf("after its deadline: %+v", d)
	}
	if st := n.Stats(); st.Spent != 1 || st.Failed != 2 {
		t.Errorf("%+v, want 1 unit spent and 2 charges failed", st)
	}
}

func TestANewWindowIsANewCounterAndTheOldBalanceGoesBack(t *testing.T) {
	n := newNode(t, limit(1000), nil)
	n.ask(limiter.OpCharge, 1, 600)
	n.ask(limiter.OpGiveBack, 1, 100)
	old := n.today(1)
	n.now = n.now.Add(12 * time.Hour)
	if d := n.ask(limiter.OpCharge, 1, 1000); d.Verdict != limiter.Allowed {
		t.Errorf("the next day: %+v", d)
	}
	n.now = n.now.Add(time.Minute) // that of yesterday is not closed in the first moments
	for range 512 {                // each shard twice: what goes back is forgotten next
		n.Tend(n.now)
		n.ledger.run()
	}
	if old.Outstanding() != 500 || n.Stats().Counters != 1 {
		t.Errorf("%d units are out for 500 charged, %d counters", old.Outstanding(), n.Stats().Counters)
	}
}

func TestAnIdleBalanceGoesBackAndTheCounterIsForgottenLater(t *testing.T) {
	n := newNode(t, limit(1000), nil)
	n.ask(limiter.OpCharge, 1, 8)
	n.ask(limiter.OpGiveBack, 1, 3)
	everyShard := func() {
		for range 256 {
			n.Tend(n.now)
			n.ledger.run()
		}
	}
	n.now = n.now.Add(time.Minute)
	everyShard()
	if got := n.today(1).Outstanding(); got != 5 {
		t.Errorf("%d units are out for 5 charged", got)
	}
	n.now = n.now.Add(11 * time.Minute)
	everyShard()
	if n.Stats().Counters != 0 {
		t.Error("an idle counter is kept")
	}
	if d := n.ask(limiter.OpPeek, 1, 0); d.Remaining != 995 {
		t.Errorf("after it was forgotten: %+v", d)
	}
}

// leave has everything given back, which the ledger answers.
func (n *node) leave(t *testing.T) {
	t.Helper()
	left := make(chan error)
	go func() { left <- n.Leave(context.Background()) }()
	for ended := false; !ended; {
		select {
		case err := <-left:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
			n.ledger.run()
		}
	}
}

func TestLeaveGivesEverythingBackAndACrashStrandsTheBalance(t *testing.T) {
	n := newNode(t, limit(1000), nil)
	for key := range uint64(50) {
		n.ask(limiter.OpCharge, key, 20)
		n.ask(limiter.OpGiveBack, key, 5)
	}
	n.leave(t)
	for key := range uint64(50) {
		if got := n.today(key).Outstanding(); got != 15 {
			t.Fatalf("key %d: %d units are out for 15 charged", key, got)
		}
	}
	if d := n.ask(limiter.OpCharge, 999, 1); d.Degraded != limiter.Unavailable {
		t.Errorf("a new counter afterwards: %+v", d)
	}

	n.restart(t, limit(1000), func(c *holdings.Config) { c.Tenure = 2 })
	if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Allowed || d.Remaining != 984 {
		t.Errorf("after a restart: %+v", d)
	}
	n.ask(limiter.OpGiveBack, 1, 1)
	n.restart(t, limit(1000), func(c *holdings.Config) { c.Tenure = 3 })
	if d := n.ask(limiter.OpCharge, 1, 1); d.Remaining != 983 {
		t.Errorf("after a crash that strands 1 unit: %+v", d)
	}
}

func TestACrashStrandsAGrantAndAQuarterAndALeaveNothing(t *testing.T) {
	before := func(tenure uint64) func(quota.Holder) bool {
		return func(h quota.Holder) bool { return h.Tenure < tenure }
	}
	n := newNode(t, limit(10_000), nil)
	spend := func(units int) {
		for range units {
			n.now = n.now.Add(time.Millisecond)
			if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Allowed {
				t.Fatalf("%+v", d)
			}
		}
	}
	spend(777)
	if got, least := n.today(1).Stranded(before(2)), n.today(1).Outstanding()-777; got < least || got > 125 || least == 0 {
		t.Errorf("a crash strands %d: at least %d, and at most a grant and a quarter", got, least)
	}
	n.restart(t, limit(10_000), func(c *holdings.Config) { c.Tenure = 2 })
	lost := n.today(1).Stranded(before(2))
	for spent := 778; ; spent++ { // until nothing is held: then there is nothing to give back, but something to tell
		spend(1)
		if n.today(1).Outstanding() == uint64(spent)+lost {
			break
		}
	}
	n.leave(t)
	if got := n.today(1).Stranded(before(3)); got != lost {
		t.Errorf("%d are stranded after a leave, %d before it", got, lost)
	}
}

func TestLeaveSaysWhatTheLedgerDoesNotHave(t *testing.T) {
	n := newNode(t, limit(10), nil)
	n.ask(limiter.OpCharge, 1, 2)
	n.ask(limiter.OpGiveBack, 1, 1)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.Leave(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("without time: %v", err)
	}
	left := make(chan error)
	go func() { left <- n.Leave(context.Background()) }()
	for {
		select {
		case err := <-left:
			if !errors.Is(err, holdings.ErrUnanswered) {
				t.Errorf("without answers: %v", err)
			}
			return
		default:
			n.ledger.lose()
		}
	}
}

func TestANewPolicyKeepsWhatWasUsed(t *testing.T) {
	n := newNode(t, limit(10), nil)
	n.ask(limiter.OpCharge, 1, 10)
	if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Denied {
		t.Fatalf("exhausted: %+v", d)
	}
	before := n.quotas
	n.quotas = []holdings.Quota{{Limit: limit(15), When: daily(t)}}
	n.Install(2, n.quotas)
	if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Allowed || d.Remaining != 4 {
		t.Errorf("after a raise: %+v", d)
	}
	n.quotas, before = before, n.quotas
	if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Allowed || d.Remaining != 3 {
		t.Errorf("a call that was matched before it: %+v", d)
	}
	n.quotas = before
	lower := []holdings.Quota{{Limit: limit(5), When: daily(t)}}
	n.quotas = lower
	n.Install(3, lower)
	n.ask(limiter.OpPeek, 1, 0)
	if d := n.ask(limiter.OpCharge, 1, 3); d.Verdict != limiter.Denied {
		t.Errorf("after it was lowered below the use: %+v", d)
	}
	n.Install(4, nil)
	if d := n.ask(limiter.OpCharge, 1, 1); d.Degraded != limiter.Unavailable {
		t.Errorf("without the limit: %+v", d)
	}
}

func TestBoundsDeny(t *testing.T) {
	n := newNode(t, limit(10), func(c *holdings.Config) { c.CountersMax, c.ParkedMax = 2, 1 })
	first := n.call(limiter.OpCharge, 1, 1)
	n.Decide(n.now, first)
	second := n.call(limiter.OpCharge, 2, 1)
	if !n.Decide(n.now, second) || second.Charges()[0].Decision.Degraded != limiter.Overload {
		t.Errorf("one more that waits: %+v", second.Charges()[0].Decision)
	}
	n.ledger.run()
	if d := n.ask(limiter.OpCharge, 3, 1); d.Degraded != limiter.TableFull || d.Verdict != limiter.Denied {
		t.Errorf("one more counter: %+v", d)
	}
	if st := n.Stats(); st.Refused != 2 || st.Counters != 2 {
		t.Errorf("%+v", st)
	}
}

func TestManyCallersNeverGetMoreThanTheAmount(t *testing.T) {
	const amount, callers, each = 5000, 8, 1000
	var now atomic.Int64
	now.Store(int64(start))
	clock := func() limiter.Instant { return limiter.Instant(now.Add(1000)) }
	l := newLedger(clock)
	requests := make(chan sent, callers*each)
	h, err := holdings.New(holdings.Config{
		Submit: func(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
			requests <- sent{c, done}
			return nil
		},
		Rest: func(limiter.Instant, *limiter.Call) {}, Now: clock, Tenure: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	the := limit(amount)
	h.Install(1, []holdings.Quota{{Limit: the, When: daily(t)}})
	var ledgers, clients sync.WaitGroup
	stop := make(chan struct{})
	ledgers.Go(func() {
		for {
			select {
			case s := <-requests:
				s.done(&s.c, l.apply(s.c), nil)
			case <-stop:
				return
			}
		}
	})
	var allowed, denied atomic.Int64
	for range callers {
		clients.Go(func() {
			finished := make(chan struct{}, 1)
			c := &limiter.Call{Done: func(*limiter.Call) { finished <- struct{}{} }}
			for range each {
				c.Reset()
				c.Add(limiter.Charge{Limit: the, Cost: 1})
				if !h.Decide(clock(), c) {
					<-finished
				}
				if v, _ := c.Verdict(); v == limiter.Allowed {
					allowed.Add(1)
				} else {
					denied.Add(1)
				}
			}
		})
	}
	clients.Wait()
	close(stop)
	ledgers.Wait()
	if allowed.Load() != amount || denied.Load() != callers*each-amount {
		t.Errorf("%d allowed and %d denied, want %d and %d", allowed.Load(), denied.Load(), amount, callers*each-amount)
	}
}

func TestPostPaidUseIsNeverRefused(t *testing.T) {
	l := limit(10)
	l.Quota = &limiter.QuotaTerms{PostPaid: true, MaxDebt: 5}
	n := newNode(t, l, nil)
	for range 3 {
		if d := n.ask(limiter.OpCharge, 1, 4); d.Verdict != limiter.Allowed {
			t.Fatalf("%+v", d)
		}
	}
	// What the pool has left when a charge does not fit stays for those that do.
	st := n.Stats()
	if p := n.today(1); st.Spent+st.Owed != 12 || st.Owed < 2 || st.Owed > 3 || p.Debt() != st.Owed || p.Outstanding() > 10 {
		t.Errorf("%d units are out and %d owed, %+v: want 12 of 10, and 2 or 3 owed", p.Outstanding(), p.Debt(), st)
	}
	n.ask(limiter.OpCharge, 1, 20)
	if st := n.Stats(); n.today(1).Debt() != 5 || st.Owed != 5 || st.Spent+st.Lost != 27 {
		t.Errorf("%d owed, %+v: want 5, and the rest of 32 spent or lost", n.today(1).Debt(), st)
	}
	c := n.call(limiter.OpCharge, 2, 3)
	n.Decide(n.now, c)
	n.ledger.lose()
	if d := c.Charges()[0].Decision; d.Verdict != limiter.Allowed {
		t.Errorf("without an answer: %+v", d)
	}
}

func TestEachMarkIsToldOnce(t *testing.T) {
	l := limit(1000)
	l.Quota = &limiter.QuotaTerms{Notify: [limiter.NotifyMax]uint8{50, 80, 100}}
	n := newNode(t, l, nil)
	told := func() (marks []uint8) {
		for {
			select {
			case c := <-n.Crossings():
				if c.Limit != l || c.Key.Lo != 1 || c.Used < 10*uint64(c.Percent) {
					t.Errorf("%+v", c)
				}
				marks = append(marks, c.Percent)
			default:
				return marks
			}
		}
	}
	for _, step := range []struct {
		op   limiter.Op
		cost uint64
		want []uint8
	}{
		{limiter.OpCharge, 499, nil},
		{limiter.OpPeek, 0, nil},
		{limiter.OpCharge, 1, []uint8{50}},
		{limiter.OpGiveBack, 100, nil},
		{limiter.OpCharge, 100, nil},
		{limiter.OpCharge, 500, []uint8{80, 100}},
		{limiter.OpCharge, 1, nil},
	} {
		n.ask(step.op, 1, step.cost)
		if got := told(); !slices.Equal(got, step.want) {
			t.Errorf("after op %d of %d: %v, want %v", step.op, step.cost, got, step.want)
		}
	}
	n.restart(t, l, func(c *holdings.Config) { c.Tenure = 2 })
	n.ask(limiter.OpCharge, 1, 1)
	if got := told(); got != nil {
		t.Errorf("after a restart %v are told again", got)
	}
	n.now = n.now.Add(24 * time.Hour)
	n.ask(limiter.OpCharge, 1, 1000)
	if got := told(); len(got) != 3 || n.Stats().Crossed != 3 || n.Stats().Missed != 0 {
		t.Errorf("the next day: %v, %+v", got, n.Stats())
	}
}
