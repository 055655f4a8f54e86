package grants_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/consensus/consensustest"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// A windowed is a counter in one window.
type windowed struct {
	key   limiter.Key
	start int64
}

const windowAmount = 200

// overWindows has clients at three nodes charge and give back over some windows of a minute,
// and returns the most that was spent in each at any moment. Clocks are up to ten seconds
// apart; nodes and cables are cut off, also as a window ends; logs are slow; and those that
// come back are sent snapshots.
func overWindows(t *testing.T, seed uint64, windows int, change func(*site)) (most map[windowed]uint64, snapshots int32) {
	t.Helper()
	most = map[windowed]uint64{}
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 3))
		n := consensustest.New()
		sites := newSites(t, n, windowAmount, func(s *site) {
			s.every = time.Minute
			s.offset = time.Duration(s.index-1) * 10 * time.Second
			s.slow = slowly(seed + uint64(s.index))
			change(s)
		})
		var mu sync.Mutex
		spent := map[windowed]uint64{}
		note := func(at windowed, units uint64, back bool) {
			mu.Lock()
			defer mu.Unlock()
			if back {
				spent[at] -= units
				return
			}
			spent[at] += units
			most[at] = max(most[at], spent[at])
		}
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for _, s := range sites {
			for i := range 2 {
				own := rand.New(rand.NewPCG(rng.Uint64(), 0))
				clients.Go(func() { s.client(ctx, of(uint32(i), 0), own, note) })
			}
			clients.Go(func() {
				for ctx.Err() == nil {
					s.held.Tend(s.now())
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		for ends := time.Now().Add(time.Duration(windows) * time.Minute); time.Now().Before(ends); {
			cut(n, rng, sites)
		}
		cancel()
		clients.Wait()
		for _, s := range sites {
			snapshots += s.installed.Load()
			s.stop(t)
		}
	})
	return most, snapshots
}

// cut cuts a node off for a while, or two from each other, now and then as windows end.
func cut(n *consensustest.Network, rng *rand.Rand, sites []*site) {
	i := rng.IntN(3)
	id, other := sites[i].id, sites[(i+1)%3].id
	if rng.IntN(3) == 0 {
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(58 * time.Second)))
	}
	span := time.Duration(500+rng.IntN(6000)) * time.Millisecond
	if rng.IntN(2) == 0 {
		n.Isolate(id)
		time.Sleep(span)
		n.Heal(id)
	} else {
		n.Sever(id, other)
		time.Sleep(span)
		n.Mend(id, other)
	}
	time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
}

// client spends units of a counter until ctx ends, and gives one in four back.
func (s *site) client(ctx context.Context, key limiter.Key, rng *rand.Rand, note func(windowed, uint64, bool)) {
	for ctx.Err() == nil {
		cost := 1 + rng.Uint64N(4)
		if at, ok := s.spend(key, cost); ok {
			note(at, cost, false)
			if rng.IntN(4) == 0 && int64(s.now())/int64(time.Minute)*60 == at.start {
				note(at, cost, true) // from now on they may be spent again
				s.ask(limiter.OpGiveBack, key, cost)
			}
		}
		time.Sleep(time.Duration(40+rng.IntN(80)) * time.Millisecond)
	}
}

// TestNoWindowAdmitsTooMuchWhileNodesAreCutOff holds I1 for each window, whatever is cut.
func TestNoWindowAdmitsTooMuchWhileNodesAreCutOff(t *testing.T) {
	windows := 2
	if testing.Short() {
		windows = 1
	}
	for seed := *firstSeed; seed <= *firstSeed+uint64(*histories)/10; seed++ {
		most, snapshots := overWindows(t, seed, windows, func(*site) {})
		full := 0
		for at, units := range most {
			if units > windowAmount {
				t.Errorf("seed %d: %d of %d units of group %d were spent in the window from %d", seed, units, windowAmount, quota.GroupOf(at.key), at.start)
			}
			if units == windowAmount {
				full++
			}
		}
		t.Logf("seed %d: %d windows, %d of them spent to the last unit; %d snapshots were sent", seed, len(most), full, snapshots)
		if full == 0 || snapshots == 0 {
			t.Errorf("seed %d: %d windows were spent to the last unit, %d snapshots sent: that shows nothing", seed, full, snapshots)
		}
	}
}

// TestTheCheckOfWindowsFindsALedgerThatLetsTooMuchIn plants one.
func TestTheCheckOfWindowsFindsALedgerThatLetsTooMuchIn(t *testing.T) {
	if testing.Short() {
		t.Skip("what the check is worth is shown without the race detector")
	}
	for seed := range uint64(4) {
		most, _ := overWindows(t, seed, 1, func(s *site) {
			s.machine = func(l raft.BatchingFSM) raft.FSM {
				return faulty{
					l, func(_ uint64, c *quota.Command) { c.Limit++ },
					func(uint64, *quota.Command, *quota.Result) {},
				}
			}
		})
		for _, units := range most {
			if units > windowAmount {
				return
			}
		}
	}
	t.Error("nobody noticed")
}

// spend charges a counter, and returns the window that was charged.
func (s *site) spend(key limiter.Key, cost uint64) (windowed, bool) {
	answered := make(chan struct{})
	c := &limiter.Call{Done: func(*limiter.Call) { close(answered) }}
	c.Add(limiter.Charge{Key: key, Limit: s.limit, Cost: cost, Op: limiter.OpCharge, Partition: limiter.Partition(s.index)})
	if !s.held.Decide(s.now(), c) {
		<-answered
	}
	ch := &c.Charges()[0]
	return windowed{key, int64(ch.Was) - 1}, ch.Decision.Verdict == limiter.Allowed
}
