package holdings_test

import (
	"slices"
	"testing"
	"time"
	_ "time/tzdata" // the same rules on every machine that has none

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/limiter/quota/calendar"
)

// TestAMonthKeepsItsPoolWhenItsZoneGetsOtherRules restarts a node in a month whose
// end its new time zone database moves by an hour: what was spent stays spent.
func TestAMonthKeepsItsPoolWhenItsZoneGetsOtherRules(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	month := func(rules *time.Location) *calendar.Calendar {
		c, err := calendar.New(limiter.Schedule{Unit: limiter.PerMonth}, rules)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	winter, summer := month(time.FixedZone("CET", 3600)), month(berlin)
	n := newNode(t, limit(10), nil)
	n.now = limiter.Instant(time.Date(2027, time.March, 10, 12, 0, 0, 0, time.UTC).UnixNano())
	if a, b := winter.Window(int64(n.now/1e9)), summer.Window(int64(n.now/1e9)); a.Start != b.Start || a.End != b.End+3600 {
		t.Fatalf("the rules make the windows %v and %v", a, b)
	}

	var windows []quota.Window
	tenure := uint64(1)
	watch := func(c *holdings.Config) {
		c.Submit = func(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
			windows = append(windows, c.Window)
			return n.ledger.submit(c, done)
		}
		tenure++
		c.Tenure = tenure
	}
	for i, rules := range []*calendar.Calendar{winter, summer} {
		n.restart(t, n.quotas[0].Limit, watch)
		n.Install(1, []holdings.Quota{{Limit: n.quotas[0].Limit, When: rules}})
		if d := n.ask(limiter.OpCharge, 1, 10); (d.Verdict == limiter.Allowed) != (i == 0) {
			t.Errorf("start %d: %+v", i+1, d)
		}
	}
	if windows = slices.Compact(windows); len(windows) != 1 {
		t.Errorf("the ledger was asked for the windows %v", windows)
	}
}
