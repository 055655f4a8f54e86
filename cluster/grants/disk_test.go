package grants_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/ledger"
	"github.com/headgate/headgate/storage/raftlog"
)

// A forward is grants.Config's.
type forward = func(ctx context.Context, to consensus.Server, parts []*grants.Part)

// A station is one node on a disk that loses what is not synced when it crashes.
// Its snapshots are never lost.
type station struct {
	id        string
	fs        *vfs.MemFS
	db        *storage.DB
	snapshots [quota.Groups]snapshots
	ledgers   [quota.Groups]*ledger.Ledger
	raft      *consensus.Node
	driver    *grants.Driver
	installed atomic.Int32  // snapshots that the leader sent
	offset    time.Duration // of its wall clock
	grown     func([]ledger.Growth)
	tell      atomic.Pointer[grants.Driver] // who is told of leaders

	// What a test puts between the station and its logs, its state machines and its groups.
	slow    func(*raftlog.Log) raft.LogStore
	machine func(raft.BatchingFSM) raft.FSM
	groups  func(*consensus.Node) grants.Groups
	forward func(forward) forward
}

// newStation returns one that is not started.
func newStation(id string) *station { return &station{id: id, fs: vfs.NewCrashableMem()} }

// Time and Answer are a grants.Ledger.

func (s *station) Time(group uint32) int64 { return s.ledgers[group].Time() }

func (s *station) Clock(group uint32) int64 { return s.ledgers[group].Clock() }

func (s *station) Answer(group uint32, c *quota.Command) (quota.Result, bool) {
	r, ok, err := s.ledgers[group].Answer(c)
	return r, ok && err == nil
}

// start starts the station with the voters, compacting early.
func (s *station) start(t *testing.T, n *consensustest.Network, voters []consensus.Server) {
	t.Helper()
	var err error
	if s.db, err = storage.Open(storage.Config{Dir: "store", FS: s.fs, BallastBytes: -1, SlowAfter: -1}); err != nil {
		t.Fatal(err)
	}
	s.raft, err = consensus.Start(consensus.Config{
		ID: s.id, Addr: s.id, Listener: n.Listen(s.id), Dial: n.Dialer(s.id), Bootstrap: voters,
		SnapshotInterval: 20 * time.Millisecond, SnapshotThreshold: 20, TrailingLogs: 5,
		Heartbeat: 300 * time.Millisecond, Lease: 200 * time.Millisecond,
		Stores: func(g uint32) (consensus.Stores, error) {
			log, err := raftlog.Open(s.db, storage.Group(g), &s.snapshots[g])
			if err != nil {
				return consensus.Stores{}, err
			}
			s.ledgers[g], err = ledger.Open(ledger.Config{DB: s.db, Group: storage.Group(g), Grown: s.grown})
			stores := consensus.Stores{Log: log, Stable: log, Snapshots: &s.snapshots[g]}
			if s.slow != nil {
				stores.Log = s.slow(log)
			}
			return stores, err
		},
		FSM: func(g uint32) (raft.FSM, error) {
			if s.machine != nil {
				return s.machine(s.ledgers[g]), nil
			}
			return s.ledgers[g], nil
		},
		Events: consensus.Events{Log: func(_ uint32, _ consensus.Severity, msg string, _ []any) {
			if msg == "Installed remote snapshot" {
				s.installed.Add(1)
			}
		}, Followed: func(group uint32) {
			if d := s.tell.Load(); d != nil {
				d.Followed(group)
			}
		}, Leader: func(group uint32, _ consensus.Server) {
			if d := s.tell.Load(); d != nil {
				d.LeaderChanged(group)
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	began, remote, groups := time.Now(), grants.Remote{Caller: s.raft}, grants.Groups(s.raft)
	if s.groups != nil {
		groups = s.groups(s.raft)
	}
	send := remote.Forward
	if s.forward != nil {
		send = s.forward(send)
	}
	s.driver, err = grants.Start(grants.Config{
		ID: s.id, Groups: groups, Ledger: s, Forward: send, Clock: remote.Clock,
		Now:  func() limiter.Instant { return limiter.Instant(time.Since(began)) + 1 },
		Wall: func() int64 { return time.Now().Add(s.offset).UnixMilli() },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.raft.Handle(s.driver.Handle)
	s.tell.Store(s.driver)
}

func (s *station) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := errors.Join(s.driver.Stop(ctx), s.raft.Stop(ctx), s.db.Close()); err != nil {
		t.Error(err)
	}
}

// granted raises what a counter was granted, whatever it takes.
func (s *station) granted(t *testing.T, group uint32, counter int, total uint64) {
	t.Helper()
	c := ensure(of(group, counter), total, total)
	c.Limit, c.Window = 1_000_000, quota.Window{Start: 0, End: quota.TimeMax}
	for end := time.Now().Add(30 * time.Second); ; {
		a := ask(t, s.driver, c)
		if a.err == nil && a.r.Code == quota.OK && a.r.Granted == total {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: group %d, counter %d: %+v", s.id, group, counter, a)
		}
	}
}

// compacted waits until the station has a snapshot of the group up to index or later.
func (s *station) compacted(t *testing.T, group uint32, index uint64) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		list, err := s.snapshots[group].List()
		if err == nil && len(list) > 0 && list[0].Index >= index {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: group %d: snapshots %v, %v", s.id, group, list, err)
		}
	}
}

// pools returns a station's pools of a group, without when they were changed.
func (s *station) pools(t *testing.T, group uint32) map[string]uint64 {
	t.Helper()
	all := map[string]uint64{}
	err := s.ledgers[group].Each(func(c *ledger.Counter) error {
		all[fmt.Sprint(c.Key, c.Window)] = c.Pool.Outstanding()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestANodeThatLostPowerIsSentASnapshot cuts the power of one of three nodes whose
// logs and ledgers are on disks. The others go on, and compact their logs; the one
// that comes back is sent what it lost, over the groups' port, and can lead then.
func TestANodeThatLostPowerIsSentASnapshot(t *testing.T) {
	n := consensustest.New()
	var voters []consensus.Server
	for _, id := range []string{"a", "b", "c"} {
		voters = append(voters, consensus.Server{ID: id, Addr: id})
	}
	stations := make([]*station, len(voters))
	for i, v := range voters {
		stations[i] = newStation(v.ID)
		stations[i].start(t, n, voters)
	}
	a, b, c := stations[0], stations[1], stations[2]
	const groups, counters = 2, 3 // of the eight; the others are idle
	round := func(s *station, total uint64) {
		for g := range uint32(groups) {
			for i := range counters {
				s.granted(t, g, i, total)
			}
		}
	}
	for total := range uint64(10) {
		round(stations[total%3], total+1)
	}

	lost := c.fs.CrashClone(vfs.CrashCloneCfg{})
	c.stop(t)
	for total := uint64(10); total < 60; total++ {
		round(stations[total%2], total+1)
	}
	for g := range uint32(groups) { // what c lacks is not in their logs any more
		a.compacted(t, g, 100)
		b.compacted(t, g, 100)
	}
	c.fs = lost
	c.start(t, n, voters)
	round(c, 61)
	for g := range uint32(groups) {
		var want map[string]uint64
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			want = a.pools(t, g)
			if reflect.DeepEqual(b.pools(t, g), want) && reflect.DeepEqual(c.pools(t, g), want) && len(want) == counters {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("group %d: a has %v, b %v, c %v", g, want, b.pools(t, g), c.pools(t, g))
			}
		}
		for counter, units := range want {
			if units != 61 {
				t.Errorf("group %d: %s has %d units outstanding, not 61", g, counter, units)
			}
		}
		lead(t, stations, c, g)
	}
	if c.installed.Load() == 0 {
		t.Error("c was sent no snapshot")
	}
	round(a, 62)
	for _, s := range stations {
		s.stop(t)
	}
}

// lead has a station lead the group.
func lead(t *testing.T, stations []*station, to *station, group uint32) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !to.raft.Leads(group); time.Sleep(10 * time.Millisecond) {
		for _, s := range stations {
			if s.raft.Leads(group) && s != to {
				_ = s.raft.Transfer(t.Context(), group, consensus.Server{ID: to.id, Addr: to.id})
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not lead group %d", to.id, group)
		}
	}
}
