package grants_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/cluster/consensus/consensustest"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// decide charges a unit of a counter, and returns the decision and how long it took.
func (s *site) decide(key limiter.Key) (limiter.Decision, time.Duration) {
	answered, began := make(chan struct{}), time.Now()
	c := &limiter.Call{Done: func(*limiter.Call) { close(answered) }}
	c.Add(limiter.Charge{Key: key, Limit: s.limit, Cost: 1, Op: limiter.OpCharge, Partition: limiter.Partition(s.index)})
	if !s.held.Decide(s.now(), c) {
		<-answered
	}
	return c.Charges()[0].Decision, time.Since(began)
}

// TestAGracefulStopFailsNoDecision stops one node after the other, each of which leads some
// groups, while calls at the others are charged in all groups: of counters in use, and of
// new ones, whose calls wait for an entry. Every call is admitted, within a second though
// disks stall for up to 100 ms.
func TestAGracefulStopFailsNoDecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		sites := newSites(t, n, 100_000, func(s *site) { s.slow = slowly(uint64(s.index)) })
		for g := range uint32(quota.Groups) {
			sites[0].granted(t, g, 99, 1)
			lead(t, []*station{sites[0].station, sites[1].station, sites[2].station}, sites[g%3].station, g)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		var calls, failed, slowest atomic.Int64
		for _, s := range sites[1:] {
			for g := range uint32(quota.Groups) {
				for fresh := range 4 {
					callers.Go(func() {
						for i := 1; ctx.Err() == nil; i++ {
							d, took := s.decide(of(g, 1000+fresh*100_000+i*min(fresh, 1)))
							calls.Add(1)
							if d.Verdict != limiter.Allowed {
								failed.Add(1)
								t.Errorf("%s, group %d: %+v after %s", s.id, g, d, took)
							}
							if took > time.Duration(slowest.Load()) {
								slowest.Store(int64(took))
							}
							time.Sleep(time.Duration(10+fresh) * time.Millisecond)
						}
					})
				}
			}
		}
		time.Sleep(time.Second)
		slowest.Store(0)
		before := calls.Load()
		ending, done := context.WithTimeout(context.Background(), 20*time.Second)
		defer done()
		if err := sites[0].held.Leave(ending); err != nil {
			t.Error(err)
		}
		sites[0].stop(t)
		time.Sleep(time.Second)
		during, longest := calls.Load()-before, time.Duration(slowest.Load())
		cancel()
		callers.Wait()
		again := uint64(0)
		for _, s := range sites[1:] {
			for _, l := range s.driver.Stats() {
				again += l.Again
			}
		}
		t.Logf("%d calls while a node stopped, the slowest took %s; %d commands were sent again", during, longest, again)
		if during < 500 || failed.Load() > 0 || longest > time.Second {
			t.Errorf("%d calls, of which %d failed, and one took %s", during, failed.Load(), longest)
		}
		for _, s := range sites[1:] {
			s.stop(t)
		}
	})
}
