package grants_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/limiter/quota/calendar"
	"github.com/headgate/headgate/storage/ledger"
)

// A site is a node with everything that quotas need: Raft, its disk, the driver, and
// what it holds.
type site struct {
	*station
	held  *holdings.Holdings
	limit *limiter.Limit
	index int
	every time.Duration // the quota's period; 0: a day
}

// idle is when a balance goes back: later than a node that spent it would fetch more.
const idle = 1100 * time.Millisecond

// newSites starts three nodes under a quota of amount a day, each as change makes it.
func newSites(t *testing.T, n *consensustest.Network, amount uint64, change func(*site)) []*site {
	t.Helper()
	limit := &limiter.Limit{Spec: limiter.Spec{ID: limiter.LimitID{1}, Def: 1, Kind: limiter.KindQuota, Amount: amount}}
	var voters []consensus.Server
	for _, id := range []string{"a", "b", "c"} {
		voters = append(voters, consensus.Server{ID: id, Addr: id})
	}
	sites := make([]*site, len(voters))
	for i, v := range voters {
		s := &site{station: newStation(v.ID), limit: limit, index: i}
		change(s)
		schedule := limiter.Schedule{Unit: limiter.PerDay}
		if s.every > 0 {
			schedule = limiter.Schedule{Unit: limiter.PerSpan, Every: s.every}
		}
		when, err := calendar.New(schedule, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		s.held, err = holdings.New(holdings.Config{
			Submit: func(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
				return s.driver.Submit(c, done)
			},
			Rest:   func(limiter.Instant, *limiter.Call) {},
			Now:    s.now,
			Tenure: 1,
			Idle:   idle,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.held.Install(1, []holdings.Quota{{Limit: limit, When: when}})
		s.grown = func(list []ledger.Growth) {
			for _, g := range list {
				s.held.Grow(g.Key, g.Window, g.Free)
			}
		}
		s.start(t, n, voters)
		sites[i] = s
	}
	return sites
}

func (s *site) now() limiter.Instant { return limiter.Instant(time.Now().Add(s.offset).UnixNano()) }

// ask charges a counter, or gives back, and waits for the answer.
func (s *site) ask(op limiter.Op, key limiter.Key, cost uint64) limiter.Verdict {
	answered := make(chan struct{})
	c := &limiter.Call{Done: func(*limiter.Call) { close(answered) }}
	c.Add(limiter.Charge{Key: key, Limit: s.limit, Cost: cost, Op: op, Partition: limiter.Partition(s.index)})
	if !s.held.Decide(s.now(), c) {
		<-answered
	}
	return c.Charges()[0].Decision.Verdict
}

// tend gives back all that is held beyond what is used.
func (s *site) tend() {
	for range holdings.Parts {
		s.held.Tend(s.now())
	}
}

// TestUnitsThatComeBackAtOneNodeAreSpentAtAnotherWithinASecond uses up quotas at three
// nodes, which all go on asking. What one of them gives back reaches the others, whoever
// leads, and they have not asked the ledger meanwhile.
func TestUnitsThatComeBackAtOneNodeAreSpentAtAnotherWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const amount = 50
		n := consensustest.New()
		sites := newSites(t, n, amount, func(*site) {})
		for g := range uint32(quota.Groups) { // they are led
			sites[0].granted(t, g, 99, 1)
		}
		asked := func() (commands uint64) {
			for _, s := range sites {
				for _, l := range s.driver.Stats() {
					commands += l.Commands + l.Applied
				}
			}
			return commands
		}
		for round := range 6 {
			giver, taker := sites[round%3], sites[(round+1+round/3)%3]
			for g := range uint32(quota.Groups) {
				key := of(g, round)
				for range amount {
					if giver.ask(limiter.OpCharge, key, 1) != limiter.Allowed {
						t.Fatal("units are missing")
					}
				}
				for _, s := range sites {
					if s.ask(limiter.OpCharge, key, 1) != limiter.Denied {
						t.Fatal("there are too many units")
					}
				}
			}
			before := asked()
			for range 1000 { // from memory
				for g := range uint32(quota.Groups) {
					if taker.ask(limiter.OpCharge, of(g, round), 1) != limiter.Denied {
						t.Fatal("there are too many units")
					}
				}
			}
			if n := asked() - before; n > 0 {
				t.Errorf("round %d: the ledger was asked %d times for what is used up", round, n)
			}
			for g := range uint32(quota.Groups) {
				giver.ask(limiter.OpGiveBack, of(g, round), 10)
			}
			giver.tend()
			began := time.Now()
			var slowest time.Duration
			for g := range uint32(quota.Groups) {
				for taker.ask(limiter.OpCharge, of(g, round), 1) != limiter.Allowed {
					time.Sleep(time.Millisecond)
					if time.Since(began) > 10*time.Second {
						t.Fatalf("round %d: group %d: nothing came back", round, g)
					}
				}
				slowest = max(slowest, time.Since(began))
			}
			t.Logf("round %d: spent again after %s, and %d questions to the ledger", round, slowest, asked()-before)
			if slowest > time.Second {
				t.Errorf("round %d: it took %s", round, slowest)
			}
			if n := asked() - before; n > 10*quota.Groups {
				t.Errorf("round %d: the ledger was asked %d times", round, n)
			}
		}
		for _, s := range sites {
			s.stop(t)
		}
	})
}

// TestNoNodeGoesOnBelievingThatAUnitIsSpent has three nodes ask for the only unit and
// give it back, twenty times each, so that refusals and what becomes free cross each other.
func TestNoNodeGoesOnBelievingThatAUnitIsSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		sites := newSites(t, n, 1, func(*site) {})
		key := of(0, 1)
		sites[0].granted(t, 0, 99, 1)
		var admitted atomic.Int64
		done := make(chan struct{})
		for _, s := range sites {
			go func() {
				defer func() { done <- struct{}{} }()
				for range 20 {
					for s.ask(limiter.OpCharge, key, 1) != limiter.Allowed {
						time.Sleep(time.Millisecond)
					}
					if admitted.Add(1) > 1 {
						t.Error("the unit was spent twice")
					}
					time.Sleep(3 * time.Millisecond)
					admitted.Add(-1)
					s.ask(limiter.OpGiveBack, key, 1)
					time.Sleep(idle)
					s.tend()
				}
			}()
		}
		for range sites {
			<-done
		}
		for _, s := range sites {
			s.stop(t)
		}
	})
}
