package holdings_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/limiter/quota/calendar"
)

// step has the ledger answer the next command, if one waits.
func (s *several) step() {
	if s.ledger.waiting() > 0 {
		a := s.ledger.take(0)
		a.done(&a.c, s.ledger.apply(a.c), nil)
	}
}

// crash ends the process: what waits for the ledger is lost.
func (s *several) crash(tb testing.TB) {
	tb.Helper()
	s.ledger.queue = nil
	s.start(tb)
}

// A group that has to catch up remembers requests for longer than that of the arbiter. What
// is asked then is another call, and touches nothing that the first was charged.
func TestACallThatItsArbiterHasForgottenIsAnother(t *testing.T) {
	for _, first := range []limiter.Verdict{limiter.Allowed, limiter.Denied} {
		s := newSeveral(t, 20, 20, 30)
		s.ledger.behind = map[uint64]int64{secondKey: (5 * time.Minute).Milliseconds()}
		s.rest = limiter.Allowed
		s.verdict(s.one(1, limiter.OpCharge, 4))
		s.now = s.now.Add(11 * time.Minute)
		s.rest = first
		if got := s.verdict(s.one(1, limiter.OpCharge, 4)); got != first {
			t.Errorf("eleven minutes later: %v, want %v", got, first)
		}
		want := [2]uint64{4, 4}
		if first == limiter.Allowed {
			want = [2]uint64{8, 8}
		}
		if got := s.charged(); got != want {
			t.Errorf("eleven minutes later, %v: %v are charged, want %v", first, got, want)
		}
	}
}

// However often in a row a process ends before it has said at the other exact quota that a
// call was let go: who asks in the end finds everything charged, or nothing.
func TestCrashesInARowLeaveNothingToWhoAsksInTheEnd(t *testing.T) {
	for crashes := range 4 {
		for _, last := range []limiter.Verdict{limiter.Allowed, limiter.Denied} {
			s := newSeveral(t, 10, 20, 30)
			for range crashes {
				s.rest = limiter.Denied
				s.Decide(s.now, s.one(1, limiter.OpCharge, 4))
				for s.ledger.waiting() > 0 {
					if a := s.ledger.take(0); a.c.Key.Lo != secondKey || a.c.Cost > 0 {
						a.done(&a.c, s.ledger.apply(a.c), nil)
					}
				}
				s.crash(t)
			}
			s.rest = last
			got, want := s.verdict(s.one(1, limiter.OpCharge, 4)), [2]uint64{}
			if got == limiter.Allowed {
				want = [2]uint64{4, 4}
			}
			if c := s.charged(); got != last || c != want {
				t.Errorf("%d crashes, then %v: %v, %v are charged, want %v", crashes, last, got, c, want)
			}
		}
	}
}

// What the arbiter itself denies when it is asked again, for want of units, is taken back
// from the others too.
func TestWhatTheArbiterDeniesAgainIsTakenBackFromTheOthers(t *testing.T) {
	s := newSeveral(t, 10, 20, 30)
	s.rest = limiter.Allowed
	s.verdict(s.one(9, limiter.OpCharge, 1)) // so that units are here
	s.rest = limiter.Denied
	s.Decide(s.now, s.one(1, limiter.OpCharge, 4))
	for s.step(); s.charged()[0] > 1; s.step() { // until it was let go
	}
	s.crash(t)
	s.rest = limiter.Allowed
	if got := s.verdict(s.one(2, limiter.OpCharge, 8)); got != limiter.Allowed {
		t.Fatal("another call did not pass")
	}
	if got := s.verdict(s.one(1, limiter.OpCharge, 4)); got != limiter.Denied {
		t.Fatal("there are no units, and it passed")
	}
	if got := s.charged(); got != [2]uint64{9, 9} {
		t.Errorf("%v are charged, want 9 of each", got)
	}
}

func TestAnIDWithAnotherCostAtAnyExactQuotaIsAnotherCall(t *testing.T) {
	s := newSeveral(t, 20, 20, 30)
	s.rest = limiter.Allowed
	s.verdict(s.one(1, limiter.OpCharge, 4))
	c := s.one(1, limiter.OpCharge, 4)
	c.Charges()[2].Cost = 15
	if s.verdict(c); !c.Reused {
		t.Errorf("it costs 15 at the second quota instead of 4: %+v", c.Charges()[2].Decision)
	}
	if got := s.charged(); got != [2]uint64{4, 4} {
		t.Errorf("%v are charged", got)
	}
}

// A call that was matched before the policy changed its arbiter to escrow is not decided by
// it, and charges nothing.
func TestAnArbiterThatIsNotExactAnyMoreDecidesNothing(t *testing.T) {
	s := newSeveral(t, 20, 20, 30)
	s.rest = limiter.Allowed
	c := s.one(1, limiter.OpCharge, 4)
	now := *s.limits[0]
	now.Quota, now.Def = nil, now.Def+100
	s.Install(9, []holdings.Quota{{Limit: &now, When: daily(t)}, s.quotas[1], s.quotas[2]})
	if got := s.verdict(c); got != limiter.Denied || c.Charges()[1].Decision.Degraded != limiter.Unavailable {
		t.Errorf("%v, %+v", got, c.Charges()[1].Decision)
	}
	if st := s.Stats(); st.Spent != st.Refunded {
		t.Errorf("%+v", st)
	}
}

// A call that has passed is asked again when the period of one of its quotas is over, but not
// that of its arbiter: the new period is charged once, and what is let go there leaves the old
// one alone.
func TestAPeriodThatEndsBetweenTheLegsIsChargedOnce(t *testing.T) {
	s := newSeveral(t, 20, 20, 30)
	monthly, err := calendar.New(limiter.Schedule{Unit: limiter.PerMonth}, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	s.quotas[0].When = monthly
	s.Install(9, s.quotas)
	day := func(d int64) uint64 {
		midnight := int64(start)/int64(24*time.Hour)*86_400 + d*86_400
		return s.ledger.pool(limiter.Key{Lo: secondKey}, quota.Window{Start: midnight}).Exact.Charged
	}
	s.now = s.now.Add(12*time.Hour - time.Minute)
	s.rest = limiter.Allowed
	s.verdict(s.one(1, limiter.OpCharge, 4))
	s.rest = limiter.Denied
	s.verdict(s.one(2, limiter.OpCharge, 3))
	s.now = s.now.Add(2 * time.Minute)
	for range 2 {
		if got := s.verdict(s.one(1, limiter.OpCharge, 4)); got != limiter.Allowed || day(0) != 4 || day(1) != 4 {
			t.Errorf("asked again after midnight: %v, %d and %d are charged", got, day(0), day(1))
		}
		if got := s.verdict(s.one(2, limiter.OpCharge, 3)); got != limiter.Denied || day(0) != 4 || day(1) != 4 {
			t.Errorf("denied again after midnight: %v, %d and %d are charged", got, day(0), day(1))
		}
	}
}
