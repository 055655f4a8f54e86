package consensus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
)

func TestALoneVoterLeadsItsGroupsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		m := newMachine(n, "a", 8, "a")
		for range 2 { // empty, and again with what it stored
			began := time.Now()
			m.begin(t, n)
			for g := range uint32(8) {
				leaderOf(t, g, m)
				propose(t, m, g, "x")
			}
			if took := time.Since(began); took > 100*time.Millisecond {
				t.Errorf("took %s, and nobody else could have led", took)
			}
			m.halt(t)
		}
	})
}

func TestANodeWithoutAPortIsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(consensustest.New(), "a", 2, "a")
		m.cfg.Dial = nil
		m.journals = []*journal{{}, {}}
		node, err := consensus.Start(m.cfg)
		if err != nil {
			t.Fatal(err)
		}
		m.Node = node
		leaderOf(t, 1, m)
		if got := propose(t, m, 1, "x"); got != 1 {
			t.Errorf("answer %v", got)
		}
		if _, err := m.Call(t.Context(), consensus.Server{ID: "b", Addr: "b:1"}, 0, nil); err == nil {
			t.Error("it calls another node")
		}
		if err := m.AddVoter(t.Context(), 1, consensus.Server{ID: "b", Addr: "b:1"}); err == nil {
			t.Error("it adds a voter that it can't reach")
		}
		propose(t, m, 1, "y")
		m.halt(t)
	})
}

func TestAProposalIsAppliedAndAnsweredByTheStateMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		m := cluster(t, n, 2, nil, "a")["a"]
		leaderOf(t, 0, m)
		leaderOf(t, 1, m)
		for i := 1; i <= 3; i++ {
			if got := propose(t, m, 1, fmt.Sprint(i)); got != i {
				t.Errorf("answer %v to entry %d", got, i)
			}
		}
		if got := strings.Join(m.journals[1].all(), ","); got != "1,2,3" {
			t.Errorf("group 1 applied %q", got)
		}
		if got := m.journals[0].all(); len(got) != 0 {
			t.Errorf("group 0 applied %q", got)
		}
		if err := errors.Join(m.Barrier(t.Context(), 1), m.Verify(t.Context(), 1)); err != nil {
			t.Error(err)
		}
		s := m.Stats().Groups[1]
		if s.Role != consensus.Leader || s.LeaderID != "a" || s.Voters != 1 || s.Proposals.Applied != 3 || s.Inflight != 0 || s.Term == 0 || s.AppliedIndex < 3 {
			t.Errorf("stats %+v", s)
		}
		for what, l := range map[string]consensus.Latencies{"proposed": s.Proposals.Latencies, "applied": s.Machine.Applies} {
			n := uint64(0)
			for _, c := range l.Buckets {
				n += c
			}
			if n < 3 || n > 5 {
				t.Errorf("%d times were measured of 3 entries %s", n, what)
			}
		}
		m.halt(t)
	})
}

func TestARestartAppliesTheLogAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		m := cluster(t, n, 1, func(c *consensus.Config) {
			c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = 20, 5, time.Second
		}, "a")["a"]
		leaderOf(t, 0, m)
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprint(i))
			propose(t, m, 0, want[i])
		}
		time.Sleep(5 * time.Second) // the log is compacted meanwhile
		if first, err := m.stores[0].Log.FirstIndex(); err != nil || first < 50 {
			t.Errorf("the log still begins at %d, %v", first, err)
		}
		m.halt(t)
		m.begin(t, n)
		leaderOf(t, 0, m)
		if err := m.Barrier(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got := m.journals[0].all(); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("after the restart: %q", got)
		}
		m.halt(t)
	})
}

func TestCallsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		m := cluster(t, n, 1, func(c *consensus.Config) { c.InflightMax = 4 }, "a")["a"]
		leaderOf(t, 0, m)
		release := m.journals[0].hold()
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { propose(t, m, 0, fmt.Sprint(i)) })
		}
		synctest.Wait()
		if _, err := m.Propose(t.Context(), 0, nil); !errors.Is(err, consensus.ErrOverloaded) || errors.Is(err, consensus.ErrUnknown) {
			t.Errorf("the fifth: %v", err)
		}
		if s := m.Stats().Groups[0]; s.Inflight != 4 || s.Proposals.Overloaded != 1 {
			t.Errorf("stats %+v", s)
		}
		release()
		wg.Wait()
		propose(t, m, 0, "again")
		m.halt(t)
	})
}

func TestProposalsThatWaitAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		m := cluster(t, n, 1, nil, "a")["a"]
		leaderOf(t, 0, m)
		release := m.journals[0].hold()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { propose(t, m, 0, fmt.Sprint(i)) })
		}
		synctest.Wait()
		release()
		wg.Wait()
		if got := len(m.journals[0].batches); got > 50 {
			t.Errorf("100 entries were applied in %d batches", got)
		}
		m.halt(t)
	})
}

func TestADeadlineSaysWhetherTheEntryMayBeApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		m := cluster(t, n, 1, nil, "a")["a"]
		leaderOf(t, 0, m)

		over, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		if _, err := m.Propose(over, 0, []byte("never")); !errors.Is(err, consensus.ErrDeadline) || errors.Is(err, consensus.ErrUnknown) {
			t.Errorf("with no time left: %v", err)
		}
		release := m.journals[0].hold()
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := m.Propose(soon, 0, []byte("late")); !errors.Is(err, consensus.ErrDeadline) || !errors.Is(err, consensus.ErrUnknown) {
			t.Errorf("in flight: %v", err)
		}
		began := time.Now()
		if _, err := m.Propose(context.Background(), 0, []byte("later")); !errors.Is(err, consensus.ErrUnknown) || time.Since(began) != consensus.Default().CallTimeout {
			t.Errorf("without a deadline: %v after %s", err, time.Since(began))
		}
		release()
		if err := m.Barrier(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(m.journals[0].all(), ","); got != "late,later" {
			t.Errorf("applied %q", got)
		}
		if s := m.Stats().Groups[0].Proposals; s.Deadline != 1 || s.Unknown != 2 {
			t.Errorf("stats %+v", s)
		}
		m.halt(t)
	})
}

func TestWhatCanNotBeProposedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		m := cluster(t, n, 1, func(c *consensus.Config) { c.EntryBytesMax = 10 }, "a")["a"]
		leaderOf(t, 0, m)
		if _, err := m.Propose(t.Context(), 1, nil); !errors.Is(err, consensus.ErrNoGroup) {
			t.Errorf("group 1 of 1: %v", err)
		}
		if _, err := m.Propose(t.Context(), 0, make([]byte, 11)); !errors.Is(err, consensus.ErrTooLarge) {
			t.Errorf("11 bytes: %v", err)
		}
		propose(t, m, 0, "ten bytes.")
		m.halt(t)
		if _, err := m.Propose(t.Context(), 0, nil); !errors.Is(err, consensus.ErrStopped) {
			t.Errorf("stopped: %v", err)
		}
	})
}

func TestStopAnswersWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		m := cluster(t, n, 1, nil, "a")["a"]
		leaderOf(t, 0, m)
		release := m.journals[0].hold()
		var wg sync.WaitGroup
		wg.Go(func() { propose(t, m, 0, "last") })
		synctest.Wait()
		wg.Go(func() { m.halt(t) })
		synctest.Wait()
		if _, err := m.Propose(t.Context(), 0, nil); !errors.Is(err, consensus.ErrStopped) {
			t.Errorf("while it stops: %v", err)
		}
		release()
		wg.Wait()
		if got := strings.Join(m.journals[0].all(), ","); got != "last" {
			t.Errorf("applied %q", got)
		}
	})
}

func TestStopEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		m := cluster(t, n, 1, nil, "a")["a"]
		leaderOf(t, 0, m)
		release := m.journals[0].hold() // a disk that hangs
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := m.Propose(t.Context(), 0, []byte("x")); err != nil && !errors.Is(err, consensus.ErrUnknown) {
				t.Error(err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if err := m.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 of 1 groups") {
			t.Errorf("Stop: %v", err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("Stop took %s of 3 s", took)
		}
		release()
		wg.Wait()
	})
}
