package holdings_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// usedUp returns a node on which both units of the counter 1 are charged, and a window
// of the day.
func usedUp(t *testing.T) (*node, quota.Window) {
	t.Helper()
	n := newNode(t, limit(2), nil)
	n.wants(t, limiter.Allowed, limiter.Allowed, limiter.Denied)
	day := int64(start) / int64(time.Second) / 86_400 * 86_400
	return n, quota.Window{Start: day, End: day + 86_400}
}

func (n *node) wants(t *testing.T, verdicts ...limiter.Verdict) {
	t.Helper()
	for _, want := range verdicts {
		if d := n.ask(limiter.OpCharge, 1, 1); d.Verdict != want {
			t.Fatalf("%+v, want %v", d, want)
		}
	}
}

func TestAnExhaustedCounterThatGrewAsksAgain(t *testing.T) {
	n, day := usedUp(t)
	n.today(1).Apply(1, &quota.Command{Op: quota.OpAdjust, Correction: 1})
	n.wants(t, limiter.Denied) // it has not heard of it
	n.Grow(limiter.Key{Lo: 1}, day, 1)
	n.Grow(limiter.Key{Lo: 9}, day, 1) // nobody remembers it
	n.wants(t, limiter.Allowed, limiter.Denied)
}

func TestARefusalThatIsOlderThanWhatBecameFreeIsNotBelieved(t *testing.T) {
	n := newNode(t, limit(2), nil)
	n.ask(limiter.OpCharge, 1, 2)
	call := n.call(limiter.OpCharge, 1, 1)
	if n.Decide(n.now, call) {
		t.Fatalf("%+v", call.Charges()[0].Decision)
	}
	asked := n.ledger.take(0)
	refusal := n.ledger.apply(asked.c)
	day := int64(start) / int64(time.Second) / 86_400 * 86_400
	n.today(1).Apply(1, &quota.Command{Op: quota.OpAdjust, Correction: 1})
	n.Grow(limiter.Key{Lo: 1}, quota.Window{Start: day, End: day + 86_400}, 1)
	asked.done(&asked.c, refusal, nil) // it was on its way all the time
	n.ledger.run()
	if d := call.Charges()[0].Decision; n.done != 2 || d.Verdict != limiter.Allowed {
		t.Errorf("%d calls were answered: %+v", n.done, d)
	}
	n.wants(t, limiter.Denied)
}

func TestWhatWasUsedUpIsDoubtedInItsGroupAlone(t *testing.T) {
	n, _ := usedUp(t) // a key of group 0
	n.today(1).Apply(1, &quota.Command{Op: quota.OpAdjust, Correction: 1})
	doubt := func(groups uint8) {
		for i := range holdings.Parts {
			n.Doubt(i, groups)
		}
	}
	doubt(0b11111110)
	n.wants(t, limiter.Denied)
	doubt(1)
	before := n.ledger.count
	n.wants(t, limiter.Allowed, limiter.Denied, limiter.Denied)
	if asked := n.ledger.count - before; asked > 2 {
		t.Errorf("the ledger was asked %d times: once for the unit, and once that there is no other", asked)
	}
}

func TestAQuotaThatRollsHearsOfUnitsOfAnEarlierWindow(t *testing.T) {
	l := limit(2)
	l.Quota = &limiter.QuotaTerms{Schedule: limiter.Schedule{Rolling: 3}}
	n := newNode(t, l, nil)
	n.wants(t, limiter.Allowed, limiter.Allowed, limiter.Denied)
	day := int64(start) / int64(time.Second) / 86_400 * 86_400
	w := quota.Window{Start: day, End: day + 86_400, Rolling: 3}
	n.today(1).Apply(1, &quota.Command{Op: quota.OpAdjust, Correction: 1})
	n.Grow(limiter.Key{Lo: 1}, w.Near(1), 1) // a later one
	n.Grow(limiter.Key{Lo: 1}, w.Near(-4), 1)
	n.wants(t, limiter.Denied)
	n.Grow(limiter.Key{Lo: 1}, w.Near(-3), 1)
	n.wants(t, limiter.Allowed, limiter.Denied)
}
