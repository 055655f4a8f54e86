package consensus_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/raftlog"
)

// ends is where the snapshot of the leader ends, and its term.
const ends, endsTerm = 8, 2

// A follower that has entries of a leader that was lost is sent a snapshot, and has to
// take what comes after it. How far its own log reaches must not matter, nor a crash
// before the log was emptied for the snapshot, nor a disk that refuses that once.
func TestAFollowerGoesOnAfterASnapshotWhereverItsLogEnds(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]uint64{"before the snapshot's end": 7, "at it": 8, "behind it": 10} {
		for where, meets := range map[string]func(*testing.T, *consensus.Stores){
			"":                                     func(*testing.T, *consensus.Stores) {},
			", and crashed as it had the snapshot": hasSnapshot,
			", and its disk is full at first":      isFullOnce,
		} {
			t.Run(name+where, func(t *testing.T) {
				t.Parallel()
				follower := goesOnOnThree(t, last, meets)
				first, err := follower.FirstIndex()
				var end, next raft.Log
				err = errors.Join(err, follower.GetLog(ends, &end), follower.GetLog(ends+1, &next))
				if err != nil || first < ends || end.Term != endsTerm || next.Term <= endsTerm {
					t.Errorf("the log begins with %d, has term %d at the snapshot's end and %d behind it: %v", first, end.Term, next.Term, err)
				}
			})
		}
	}
}

// goesOnOnThree starts two voters that have the snapshot alone and a third one with entries
// of term 1 up to last, and returns the third one's log when it has applied an entry.
func goesOnOnThree(t *testing.T, last uint64, meets func(*testing.T, *consensus.Stores)) raft.LogStore {
	t.Helper()
	n := consensustest.New()
	ms := map[string]*machine{}
	for _, id := range []string{"a", "b", "c"} {
		m := newMachine(n, id, 1)
		m.cfg.Heartbeat, m.cfg.Lease = 200*time.Millisecond, 100*time.Millisecond
		m.stores[0] = storesOnDisk(t)
		if id == "c" {
			behind(t, m.stores[0], last)
			meets(t, &m.stores[0])
		} else {
			hasSnapshot(t, &m.stores[0])
			if err := m.stores[0].Stable.SetUint64([]byte("CurrentTerm"), endsTerm); err != nil {
				t.Fatal(err)
			}
		}
		ms[id] = m
	}
	for _, m := range ms {
		m.begin(t, n)
	}
	defer haltAll(t, list(ms)...)
	leader := leaderOf(t, 0, list(ms)...)
	propose(t, leader, 0, "y")
	eventually(t, "the third one has the snapshot and what came after it", func() bool {
		got := ms["c"].journals[0].all()
		return len(got) == 2 && got[0] == "x" && got[1] == "y"
	})
	return ms["c"].stores[0].Log
}

// voters are the three that there are.
func voters() (all raft.Configuration) {
	for _, id := range []string{"a", "b", "c"} {
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id + ":1")})
	}
	return all
}

// storesOnDisk returns empty stores of a node's group.
func storesOnDisk(t *testing.T) consensus.Stores {
	t.Helper()
	db, err := storage.Open(storage.Config{
		Dir: "store", FS: vfs.NewMem(), CacheBytes: storage.CacheBytesMin, MemTableBytes: storage.MemTableBytesMin, SlowAfter: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	snapshots := raft.NewInmemSnapshotStore()
	log, err := raftlog.Open(db, 0, snapshots)
	if err != nil {
		t.Fatal(err)
	}
	return consensus.Stores{Log: log, Stable: log, Snapshots: snapshots}
}

// behind gives a voter entries of term 1 that no other has.
func behind(t *testing.T, s consensus.Stores, last uint64) {
	t.Helper()
	entries := []*raft.Log{{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(voters())}}
	for i := uint64(2); i <= last; i++ {
		entries = append(entries, &raft.Log{Index: i, Term: 1, Data: []byte("lost")})
	}
	if err := errors.Join(s.Log.StoreLogs(entries), s.Stable.SetUint64([]byte("CurrentTerm"), 1)); err != nil {
		t.Fatal(err)
	}
}

// hasSnapshot gives a voter the leader's snapshot.
func hasSnapshot(t *testing.T, s *consensus.Stores) {
	t.Helper()
	_, trans := raft.NewInmemTransport("")
	sink, err := s.Snapshots.Create(raft.SnapshotVersionMax, ends, endsTerm, voters(), 1, trans)
	if err != nil {
		t.Fatal(err)
	}
	if err := snapshot([]string{"x"}).Persist(sink); err != nil {
		t.Fatal(err)
	}
}

// isFullOnce lets a voter have no room when its log is cut for the first time.
func isFullOnce(t *testing.T, s *consensus.Stores) {
	t.Helper()
	s.Log = &fullOnce{Log: s.Log.(*raftlog.Log)}
}

// A fullOnce log can't be cut the first time.
type fullOnce struct {
	*raftlog.Log
	tried atomic.Bool
}

func (f *fullOnce) DeleteRange(low, high uint64) error {
	if !f.tried.Swap(true) {
		return storage.ErrFull
	}
	return f.Log.DeleteRange(low, high)
}
