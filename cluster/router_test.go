package cluster_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/cluster"
	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/limiter/quota/calendar"
	"github.com/headgate/headgate/limiter/table"
)

const now = limiter.Instant(1_800_000_000) * limiter.Instant(time.Second)

// A fixture is a router whose ledger answers when it is told to.
type fixture struct {
	router      cluster.Router
	quota, rate *limiter.Limit
	pool        quota.Pool
	queue       []func()
	finished    int
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{quota: &limiter.Limit{Spec: limiter.Spec{Kind: limiter.KindQuota, Amount: 3, Def: 1}}}
	var err error
	if f.rate, err = limiter.NewLimit(limiter.Spec{Name: "rate", Kind: limiter.KindFixed, Amount: 2, Period: time.Minute, Def: 2}); err != nil {
		t.Fatal(err)
	}
	if f.router.Table, err = table.New(table.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.router.Table.Clear)
	f.router.Table.Install([]*limiter.Limit{f.quota, f.rate})
	quotas, err := holdings.New(holdings.Config{
		Submit: func(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
			f.queue = append(f.queue, func() { done(&c, f.pool.Apply(0, &c), nil) })
			return nil
		},
		Rest:   func(now limiter.Instant, c *limiter.Call) { f.router.Table.Decide(now, c) },
		Now:    func() limiter.Instant { return now },
		Tenure: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	daily, err := calendar.New(limiter.Schedule{Unit: limiter.PerDay}, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	f.router.Serve(quotas)
	quotas.Install(1, []holdings.Quota{{Limit: f.quota, When: daily}})
	return f
}

// decide decides a call of one unit of each limit.
func (f *fixture) decide(mode limiter.Mode, limits ...*limiter.Limit) *limiter.Call {
	c := &limiter.Call{Mode: mode, Done: func(*limiter.Call) { f.finished++ }}
	for _, l := range limits {
		c.Add(limiter.Charge{Key: limiter.Key{Lo: uint64(l.Kind)}, Limit: l, Cost: 1})
	}
	done := f.router.Decide(now, c)
	for !done && len(f.queue) > 0 {
		answer := f.queue[0]
		f.queue = f.queue[1:]
		answer()
	}
	return c
}

func TestACallOfOtherKindsNeverWaits(t *testing.T) {
	f := newFixture(t)
	c := f.decide(limiter.AllOrNothing, f.rate)
	if v, _ := c.Verdict(); v != limiter.Allowed || f.finished != 0 {
		t.Errorf("%v, finished later %d times", v, f.finished)
	}
}

func TestAQuotaAndAWindowInOneCall(t *testing.T) {
	for _, tt := range []struct {
		name        string
		mode        limiter.Mode
		quotaFirst  bool
		quota, rate uint64 // what remains after five calls: three units and two
	}{
		{"each on its own, quota first", limiter.ChargeAll, true, 0, 0},
		{"each on its own, window first", limiter.ChargeAll, false, 0, 0},
		{"all or nothing, quota first", limiter.AllOrNothing, true, 1, 0},
		{"all or nothing, window first", limiter.AllOrNothing, false, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			limits := []*limiter.Limit{f.rate, f.quota}
			at := 1
			if tt.quotaFirst {
				limits, at = []*limiter.Limit{f.quota, f.rate}, 0
			}
			allowed := 0
			var last *limiter.Call
			for range 5 {
				last = f.decide(tt.mode, limits...)
				if v, _ := last.Verdict(); v == limiter.Allowed {
					allowed++
				}
			}
			if allowed != 2 {
				t.Errorf("%d passed, want 2", allowed)
			}
			if q, r := last.Charges()[at].Decision.Remaining, last.Charges()[1-at].Decision.Remaining; q != tt.quota || r != tt.rate {
				t.Errorf("%d of the quota and %d of the window remain, want %d and %d", q, r, tt.quota, tt.rate)
			}
		})
	}
}

func TestADeniedQuotaLeavesTheWindowAlone(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		f.decide(limiter.AllOrNothing, f.quota)
	}
	for _, order := range [][]*limiter.Limit{{f.quota, f.rate}, {f.rate, f.quota}} {
		c := f.decide(limiter.AllOrNothing, order...)
		if v, _ := c.Verdict(); v != limiter.Denied {
			t.Fatalf("%v, want a denial by the quota", v)
		}
	}
	if d := f.decide(limiter.AllOrNothing, f.rate).Charges()[0].Decision; d.Remaining != 1 {
		t.Errorf("after one charge %d of the window remain, want 1", d.Remaining)
	}
}
