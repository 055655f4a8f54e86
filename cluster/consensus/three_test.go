package consensus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
)

// list returns the machines in the order of their names.
func list(ms map[string]*machine) []*machine {
	var all []*machine
	for _, id := range slices.Sorted(func(yield func(string) bool) {
		for id := range ms {
			if !yield(id) {
				return
			}
		}
	}) {
		all = append(all, ms[id])
	}
	return all
}

// others returns the machines but one.
func others(ms map[string]*machine, but *machine) []*machine {
	return slices.DeleteFunc(list(ms), func(m *machine) bool { return m == but })
}

func haltAll(t *testing.T, ms ...*machine) {
	t.Helper()
	var wg sync.WaitGroup
	for _, m := range ms {
		wg.Go(func() { m.halt(t) })
	}
	wg.Wait()
}

func TestThreeNodesElectOneLeaderAndAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		ms := cluster(t, n, 8, nil, "a", "b", "c")
		for g := range uint32(8) {
			leader := leaderOf(t, g, list(ms)...)
			for i := range 5 {
				propose(t, leader, g, fmt.Sprint(g, i))
			}
			if err := leader.Verify(t.Context(), g); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second)
		for _, m := range list(ms) {
			for g := range uint32(8) {
				if got := len(m.journals[g].all()); got != 5 {
					t.Errorf("%s applied %d entries of group %d", m.cfg.ID, got, g)
				}
			}
		}
		haltAll(t, list(ms)...)
	})
}

func TestFollowersAreToldOfEntriesAndTheLeaderIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		var mu sync.Mutex // guards told
		told := map[string]int{}
		ms := cluster(t, n, 1, func(c *consensus.Config) {
			id := c.ID
			c.Events.Followed = func(group uint32) {
				mu.Lock()
				defer mu.Unlock()
				told[id] += 1 + int(group)
			}
		}, "a", "b", "c")
		leader := leaderOf(t, 0, list(ms)...)
		time.Sleep(time.Second)
		mu.Lock()
		clear(told) // who leads now has followed before, perhaps
		mu.Unlock()
		for i := range 5 {
			propose(t, leader, 0, fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		mu.Lock()
		for _, m := range list(ms) {
			if n := told[m.cfg.ID]; (m == leader) != (n == 0) {
				t.Errorf("%s, of which %s leads, was told of entries %d times", m.cfg.ID, leader.cfg.ID, n)
			}
		}
		mu.Unlock()
		haltAll(t, list(ms)...)
	})
}

func TestAFollowerNamesTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		ms := cluster(t, n, 1, nil, "a", "b", "c")
		leader := leaderOf(t, 0, list(ms)...)
		for _, m := range others(ms, leader) {
			_, err := m.Propose(t.Context(), 0, nil)
			var to *consensus.NotLeaderError
			if !errors.Is(err, consensus.ErrNotLeader) || !errors.As(err, &to) || to.Leader.ID != leader.cfg.ID || to.Leader.Addr != leader.cfg.Addr {
				t.Errorf("%s: %v", m.cfg.ID, err)
			}
			if err := m.Verify(t.Context(), 0); !errors.Is(err, consensus.ErrNotLeader) {
				t.Errorf("%s verifies: %v", m.cfg.ID, err)
			}
			if err := m.Barrier(t.Context(), 0); !errors.Is(err, consensus.ErrNotLeader) {
				t.Errorf("%s has a barrier: %v", m.cfg.ID, err)
			}
			if s := m.Stats().Groups[0]; s.Role != consensus.Follower || s.LeaderID != leader.cfg.ID || s.Voters != 3 || s.SinceLeader < 0 || s.SinceLeader > time.Second || s.Proposals.NotLeader != 1 {
				t.Errorf("%s: stats %+v", m.cfg.ID, s)
			}
		}
		haltAll(t, list(ms)...)
	})
}

func TestALostLeaderIsReplacedAndCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		ms := cluster(t, n, 1, nil, "a", "b", "c")
		old := leaderOf(t, 0, list(ms)...)
		propose(t, old, 0, "before")

		n.Isolate(old.cfg.Addr)
		_, err := old.Propose(t.Context(), 0, []byte("cut off"))
		if !errors.Is(err, consensus.ErrUnknown) || errors.Is(err, consensus.ErrDeadline) {
			t.Errorf("cut off: %v", err)
		}
		if err := old.Verify(t.Context(), 0); !errors.Is(err, consensus.ErrNotLeader) {
			t.Errorf("the old leader verifies: %v", err)
		}
		began := time.Now()
		fresh := leaderOf(t, 0, others(ms, old)...)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("re-elected after %s", took)
		}
		propose(t, fresh, 0, "after")

		n.Heal(old.cfg.Addr)
		eventually(t, "the old leader follows", func() bool { l, _ := old.Leader(0); return l.ID == fresh.cfg.ID })
		eventually(t, "it has what it missed, and not what only it had", func() bool {
			return strings.Join(old.journals[0].all(), ",") == "before,after"
		})
		haltAll(t, list(ms)...)
	})
}

// TestANewLeaderIsNotCurrentBeforeItsFirstEntry holds that nothing is said to be up to
// date that may lack what another leader committed, or an entry of one's own.
func TestANewLeaderIsNotCurrentBeforeItsFirstEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		ms := cluster(t, n, 1, nil, "a", "b", "c")
		old := leaderOf(t, 0, list(ms)...)
		if old.Current(0) {
			t.Error("current before its first entry")
		}
		propose(t, old, 0, "x")
		if !old.Current(0) || old.Current(1) {
			t.Error("not current after an entry was applied, or in a group that there is not")
		}
		n.Isolate(old.cfg.Addr)
		fresh := leaderOf(t, 0, others(ms, old)...)
		if old.Current(0) || fresh.Current(0) {
			t.Errorf("current: the old leader %v, the new one %v", old.Current(0), fresh.Current(0))
		}
		if err := fresh.Barrier(t.Context(), 0); err != nil || !fresh.Current(0) {
			t.Errorf("after a barrier: %v", err)
		}
		n.Heal(old.cfg.Addr)
		eventually(t, "the old leader follows", func() bool { l, _ := old.Leader(0); return l.ID == fresh.cfg.ID })

		release := fresh.journals[0].hold() // an entry whose end is not known
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := fresh.Propose(ctx, 0, []byte("y")); !errors.Is(err, consensus.ErrUnknown) || fresh.Current(0) {
			t.Errorf("an entry is under way (%v), and the state is current: %v", err, fresh.Current(0))
		}
		release()
		propose(t, fresh, 0, "z")
		if !fresh.Current(0) {
			t.Error("not current after the next entry")
		}
		haltAll(t, list(ms)...)
	})
}

// TestAnIsolatedFollowerDisturbsNobody holds that pre-vote survives the mux: a
// node that was cut off comes back with the term that it left with.
func TestAnIsolatedFollowerDisturbsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		ms := cluster(t, n, 4, nil, "a", "b", "c")
		for g := range uint32(4) {
			leaderOf(t, g, list(ms)...)
		}
		cut := others(ms, leaderOf(t, 0, list(ms)...))[0]
		before := leaderOf(t, 0, list(ms)...).Stats().Groups[0]
		n.Isolate(cut.cfg.Addr)
		time.Sleep(time.Minute)
		if s := cut.Stats().Groups[0]; s.Role != consensus.Candidate || s.Term != before.Term {
			t.Errorf("cut off: %s in term %d, which was %d", s.Role, s.Term, before.Term)
		}
		n.Heal(cut.cfg.Addr)
		leader := leaderOf(t, 0, list(ms)...)
		if s := leader.Stats().Groups[0]; s.Term != before.Term || s.LeaderID != before.LeaderID {
			t.Errorf("after a minute: %s leads in term %d, before it was %s in %d", s.LeaderID, s.Term, before.LeaderID, before.Term)
		}
		haltAll(t, list(ms)...)
	})
}

func TestAGracefulStopHandsLeadershipOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		ms := cluster(t, n, 4, nil, "a", "b", "c")
		for g := range uint32(4) {
			if leader := leaderOf(t, g, list(ms)...); leader != ms["a"] {
				if err := leader.Transfer(t.Context(), g, consensus.Server{ID: "a", Addr: "a:1"}); err != nil {
					t.Fatal(err)
				}
			}
			leaderOf(t, g, list(ms)...)
		}
		began := time.Now()
		ms["a"].halt(t)
		took := time.Since(began)
		for g := range uint32(4) {
			leaderOf(t, g, ms["b"], ms["c"])
		}
		if led := time.Since(began); took > 200*time.Millisecond || led > 200*time.Millisecond {
			t.Errorf("stopped in %s, led again in %s: an election takes longer", took, led)
		}
		haltAll(t, ms["b"], ms["c"])
	})
}

func TestAStopWithoutAMajorityEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		ms := cluster(t, n, 2, nil, "a", "b", "c")
		leader := leaderOf(t, 0, list(ms)...)
		for _, m := range others(ms, leader) {
			n.Isolate(m.cfg.Addr)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := leader.Propose(t.Context(), 0, nil); !errors.Is(err, consensus.ErrUnknown) {
					t.Errorf("without a majority: %v", err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		leader.halt(t)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("stopped in %s", took)
		}
		wg.Wait()
		haltAll(t, others(ms, leader)...)
	})
}

func TestVotersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		a := newMachine(n, "a", 1, "a")
		a.begin(t, n)
		leaderOf(t, 0, a)
		propose(t, a, 0, "alone")
		b := newMachine(n, "b", 1) // it waits until it is added
		b.begin(t, n)
		time.Sleep(10 * time.Second)
		if _, known := b.Leader(0); known {
			t.Error("b follows somebody who has not added it")
		}
		if err := b.AddVoter(t.Context(), 0, consensus.Server{ID: "b", Addr: "b:1"}); !errors.Is(err, consensus.ErrNotLeader) {
			t.Errorf("b adds itself: %v", err)
		}
		if err := a.AddLearner(t.Context(), 0, consensus.Server{ID: "b", Addr: "b:1"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "b has caught up", func() bool { return len(b.journals[0].all()) == 1 })
		if got := a.Voters(0); len(got) != 1 {
			t.Errorf("voters %v, and b is a learner", got)
		}
		if err := a.AddVoter(t.Context(), 0, consensus.Server{ID: "b", Addr: "b:1"}); err != nil {
			t.Fatal(err)
		}
		propose(t, a, 0, "both")
		eventually(t, "b applies it", func() bool { return len(b.journals[0].all()) == 2 })
		if got := b.Voters(0); len(got) != 2 {
			t.Errorf("voters %v", got)
		}
		if err := a.RemoveServer(t.Context(), 0, "a"); err != nil {
			t.Fatal(err)
		}
		leaderOf(t, 0, b)
		if got := propose(t, b, 0, "the other one"); got != 3 {
			t.Errorf("answer %v", got)
		}
		haltAll(t, a, b)
	})
}

func TestANewVoterGetsTheSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		a := newMachine(n, "a", 1, "a")
		a.cfg.SnapshotThreshold, a.cfg.TrailingLogs, a.cfg.SnapshotInterval = 20, 5, time.Second
		a.begin(t, n)
		leaderOf(t, 0, a)
		for i := range 100 {
			propose(t, a, 0, fmt.Sprint(i))
		}
		time.Sleep(5 * time.Second)
		b := newMachine(n, "b", 1)
		b.begin(t, n)
		if err := a.AddVoter(t.Context(), 0, consensus.Server{ID: "b", Addr: "b:1"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "b has everything", func() bool { return slices.Equal(a.journals[0].all(), b.journals[0].all()) })
		if snaps, err := b.stores[0].Snapshots.List(); err != nil || len(snaps) != 1 {
			t.Errorf("snapshots of b: %v, %v", snaps, err)
		}
		if s := a.Stats().Groups[0]; s.Machine.Snapshots == 0 || s.Machine.SnapshotsFailed != 0 || s.FirstIndex < 50 || s.FirstIndex > s.LastIndex {
			t.Errorf("stats of a: %+v", s)
		}
		if s := b.Stats().Groups[0]; s.Machine.Restores != 1 || s.Machine.Snapshots != 0 {
			t.Errorf("stats of b: %+v", s)
		}
		haltAll(t, a, b)
	})
}

func TestANodeIsFoundWhereItMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		var moved sync.Map
		resolve := func(id string) (string, bool) {
			addr, ok := moved.Load(id)
			if !ok {
				return "", false
			}
			return addr.(string), true
		}
		ms := cluster(t, n, 1, func(c *consensus.Config) { c.Resolve = resolve }, "a", "b", "c")
		leaderOf(t, 0, list(ms)...)
		ms["c"].halt(t)
		ms["c"].cfg.Addr, ms["c"].cfg.Dial = "elsewhere:1", n.Dialer("elsewhere:1")
		moved.Store("c", "elsewhere:1")
		ms["c"].begin(t, n)
		leader := leaderOf(t, 0, list(ms)...)
		propose(t, leader, 0, "x")
		eventually(t, "c applies it", func() bool { return len(ms["c"].journals[0].all()) == 1 })
		haltAll(t, list(ms)...)
	})
}

func TestEventsSayWhoLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		var mu sync.Mutex
		told := map[string]consensus.Server{}
		lines := 0
		ms := cluster(t, n, 1, func(c *consensus.Config) {
			id := c.ID
			c.Events.Leader = func(_ uint32, leader consensus.Server) {
				mu.Lock()
				defer mu.Unlock()
				told[id] = leader
			}
			c.Events.Log = func(group uint32, _ consensus.Severity, msg string, attrs []any) {
				mu.Lock()
				defer mu.Unlock()
				lines++
				if group != 0 || msg == "" || len(attrs)%2 != 0 {
					t.Errorf("log of group %d: %q %v", group, msg, attrs)
				}
			}
		}, "a", "b", "c")
		leader := leaderOf(t, 0, list(ms)...)
		synctest.Wait()
		agree := func(who ...*machine) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			for _, m := range who {
				if told[m.cfg.ID] != (consensus.Server{ID: leader.cfg.ID, Addr: leader.cfg.Addr}) {
					t.Errorf("%s was told %v, and %s leads", m.cfg.ID, told[m.cfg.ID], leader.cfg.ID)
				}
			}
		}
		agree(list(ms)...)
		old := leader
		n.Isolate(old.cfg.Addr)
		leader = leaderOf(t, 0, others(ms, old)...)
		synctest.Wait()
		agree(others(ms, old)...)
		mu.Lock()
		if told[old.cfg.ID] != (consensus.Server{}) {
			t.Errorf("the old leader was told %v", told[old.cfg.ID])
		}
		if lines == 0 {
			t.Error("raft said nothing")
		}
		mu.Unlock()
		haltAll(t, list(ms)...)
	})
}

func TestLeadershipIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		var mu sync.Mutex
		moves, ending := 0, false // ending: somebody stops, and a move may fail
		ms := cluster(t, n, 8, func(c *consensus.Config) {
			c.SpreadInterval, c.CommitInterval = 10*time.Second, time.Second
			c.Events.Handed = func(group uint32, to consensus.Server, err error) {
				mu.Lock()
				defer mu.Unlock()
				moves++
				if err != nil && !ending {
					t.Errorf("group %d to %s: %v", group, to.ID, err)
				}
			}
		}, "a", "b", "c")
		for g := range uint32(8) {
			leaderOf(t, g, list(ms)...)
		}
		led := func() (counts []int) {
			for _, m := range list(ms) {
				c := 0
				for g := range uint32(8) {
					if m.Leads(g) {
						c++
					}
				}
				counts = append(counts, c)
			}
			slices.Sort(counts)
			return counts
		}
		even := []int{2, 3, 3}
		time.Sleep(2 * time.Minute)
		if got := led(); !slices.Equal(got, even) {
			t.Errorf("after two minutes they lead %v", got)
		}
		quiet := func(is bool) {
			mu.Lock()
			defer mu.Unlock()
			ending = is
		}
		quiet(true) // until its heartbeats are missed, somebody may want to give c a group
		ms["c"].halt(t)
		time.Sleep(30 * time.Second)
		quiet(false)
		ms["c"].begin(t, n)
		time.Sleep(2 * time.Minute)
		if got := led(); !slices.Equal(got, even) {
			t.Errorf("two minutes after a restart they lead %v", got)
		}
		mu.Lock()
		if moves == 0 {
			t.Error("nothing was moved, and c came back leading nothing")
		}
		settled := moves
		mu.Unlock()
		time.Sleep(5 * time.Minute)
		mu.Lock()
		if moves != settled {
			t.Errorf("%d moves where nothing was to even out", moves-settled)
		}
		ending = true // they stop at the same time: nobody is left to take anything
		mu.Unlock()
		haltAll(t, list(ms)...)
	})
}

func TestASilentNodeIsGivenNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		var mu sync.Mutex
		given := map[string]int{}
		ms := cluster(t, n, 8, func(c *consensus.Config) {
			c.SpreadInterval, c.CommitInterval = time.Second, time.Second
			c.Events.Handed = func(_ uint32, to consensus.Server, _ error) {
				mu.Lock()
				defer mu.Unlock()
				given[to.ID]++
			}
		}, "a", "b", "c")
		for g := range uint32(8) {
			leaderOf(t, g, list(ms)...)
		}
		ms["c"].halt(t)
		time.Sleep(10 * time.Second)
		mu.Lock()
		clear(given)
		mu.Unlock()
		time.Sleep(2 * time.Minute)
		mu.Lock()
		if given["c"] != 0 {
			t.Errorf("c was given %d groups while it was down", given["c"])
		}
		mu.Unlock()
		haltAll(t, ms["a"], ms["b"])
	})
}

// TestNothingAcknowledgedIsLost runs proposers against leaders that come and go,
// and compares what they were promised with what every node has.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		ms := cluster(t, n, 2, nil, "a", "b", "c")
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		acknowledged := [2][]string{}
		var wg sync.WaitGroup
		for p := range 6 {
			wg.Go(func() {
				g := uint32(p % 2)
				for i := 0; ctx.Err() == nil; i++ {
					entry := fmt.Sprintf("%d-%d", p, i)
					if _, err := list(ms)[i%3].Propose(ctx, g, []byte(entry)); err == nil {
						mu.Lock()
						acknowledged[g] = append(acknowledged[g], entry)
						mu.Unlock()
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		for i := range 12 {
			time.Sleep(5 * time.Second)
			m := list(ms)[i%3]
			n.Isolate(m.cfg.Addr)
			time.Sleep(5 * time.Second)
			n.Heal(m.cfg.Addr)
		}
		cancel()
		wg.Wait()
		for g := range uint32(2) {
			leader := leaderOf(t, g, list(ms)...)
			if err := leader.Barrier(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			all := leader.journals[g].all()
			has := map[string]bool{}
			for _, e := range all {
				if has[e] {
					t.Errorf("%s was applied twice, and proposed once", e)
				}
				has[e] = true
			}
			for _, e := range acknowledged[g] {
				if !has[e] {
					t.Errorf("%s was acknowledged and is lost", e)
				}
			}
			if len(acknowledged[g]) < 100 {
				t.Errorf("only %d acknowledged", len(acknowledged[g]))
			}
			for _, m := range list(ms) {
				eventually(t, "every node has the same", func() bool { return slices.Equal(m.journals[g].all(), all) })
			}
		}
		haltAll(t, list(ms)...)
	})
}
