package holdings_test

import (
	"slices"
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/limiter/quota/calendar"
)

// rolls has the node go by a quota of any three days, and returns the sub-window of a
// moment.
func (n *node) rolls(t *testing.T, amount uint64) func(limiter.Instant) quota.Window {
	t.Helper()
	schedule := limiter.Schedule{Unit: limiter.PerSpan, Every: 72 * time.Hour, Rolling: 3}
	when, err := calendar.New(schedule, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	l := limit(amount)
	l.Quota = &limiter.QuotaTerms{Schedule: schedule}
	n.quotas = []holdings.Quota{{Limit: l, When: when}}
	n.Install(2, n.quotas)
	return func(at limiter.Instant) quota.Window {
		w := when.Window(int64(at) / int64(time.Second))
		return quota.Window{Start: w.Start, End: w.End, Rolling: 3}
	}
}

func TestARollingQuotaHearsOfUnitsThatCameBackToAnEarlierSubWindow(t *testing.T) {
	n := newNode(t, limit(10), nil)
	window := n.rolls(t, 10)
	earlier := window(n.now)
	first := n.ledger.pool(limiter.Key{Lo: 1}, earlier)
	for range 10 {
		n.ask(limiter.OpCharge, 1, 1)
	}
	n.now = n.now.Add(24 * time.Hour)
	if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Denied || d.Degraded != 0 {
		t.Fatalf("used up the day before: %+v", d)
	}
	sent := n.ledger.count
	for range 100 {
		n.ask(limiter.OpCharge, 1, 1)
	}
	if got := n.ledger.count - sent; got != 0 {
		t.Errorf("%d commands for 100 calls of what is used up", got)
	}

	first.Shares[0].Returned += 4 // by another holder, say
	n.Grow(limiter.Key{Lo: 1}, earlier, 4)
	allowed := 0
	for range 6 {
		if n.ask(limiter.OpCharge, 1, 1).Verdict == limiter.Allowed {
			allowed++
		}
	}
	if allowed != 4 {
		t.Errorf("%d calls pass for 4 units that came back", allowed)
	}
}

func TestAPostPaidQuotaThatIsUsedUpLetsPeeksPassAsItDoesCharges(t *testing.T) {
	l := limit(3)
	l.Quota = &limiter.QuotaTerms{PostPaid: true, MaxDebt: 1}
	n := newNode(t, l, nil)
	for range 6 {
		if d := n.ask(limiter.OpPeek, 1, 2); d.Verdict != limiter.Allowed {
			t.Errorf("a peek: %+v", d)
		}
		if d := n.ask(limiter.OpCharge, 1, 2); d.Verdict != limiter.Allowed {
			t.Errorf("a charge: %+v", d)
		}
	}
}

func TestAMarkThatAPolicyAddsIsToldOnce(t *testing.T) {
	n := newNode(t, limit(1000), nil)
	version := uint64(1)
	install := func(amount uint64, marks ...uint8) {
		l := limit(amount)
		l.Quota = &limiter.QuotaTerms{}
		copy(l.Quota.Notify[:], marks)
		n.quotas = []holdings.Quota{{Limit: l, When: daily(t)}}
		version++
		n.Install(version, n.quotas)
	}
	told := func() (marks []uint8) {
		for {
			select {
			case c := <-n.Crossings():
				marks = append(marks, c.Percent)
			default:
				return marks
			}
		}
	}
	step := func(name string, cost uint64, want ...uint8) {
		t.Helper()
		for range 2 {
			n.ask(limiter.OpCharge, 1, cost)
			if got := told(); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
			cost, want = 0, nil // and then no more
		}
	}
	install(1000, 50)
	step("the first", 500, 50)
	install(1000, 20, 50, 80)
	step("one below what was reached, and one above", 0, 20)
	step("the one above", 300, 80)
	install(1000, 80)
	step("fewer", 0)
	install(1000, 10, 80, 90)
	step("another one below", 0, 10)
	step("the rest", 200, 90)
	install(1000, 100)
	if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != limiter.Denied {
		t.Errorf("%+v", d)
	}
	if got := told(); !slices.Equal(got, []uint8{100}) {
		t.Errorf("by a call that is denied: %v", got)
	}
}
