package raftlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/raftlog"
)

func openLog(t *testing.T, fs vfs.FS, snapshots raft.SnapshotStore) *raftlog.Log {
	t.Helper()
	db, err := storage.Open(config(fs))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil && !errors.Is(err, storage.ErrFailed) {
			t.Error(err)
		}
	})
	log, err := raftlog.Open(db, 0, snapshots)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// A follower with uncommitted entries of an older term is sent a snapshot that
// ends among them. If it can't compare with the snapshot's last entry, it refuses
// everything that follows, and is sent the snapshot again, for ever.
// https://github.com/hashicorp/raft/issues/697
func TestAFollowerGoesOnAfterASnapshotThatEndsAmongItsEntries(t *testing.T) {
	itself := func(l *raftlog.Log) raft.LogStore { return l }
	for name, tt := range map[string]struct {
		logs  func(*raftlog.Log) raft.LogStore
		known bool   // the log knows the snapshots
		term  uint64 // of the snapshot; the follower's entries have 1
		want  bool
	}{
		"of another term":                           {itself, true, 2, true},
		"of the same term":                          {itself, true, 1, true},
		"under raft's cache":                        {cached, true, 2, true},
		"not if the log does not know the snapshot": {itself, false, 2, false},
		"nor then of the same term":                 {itself, false, 1, false},
		"nor if it keeps all it has, as others do":  {func(l *raftlog.Log) raft.LogStore { return gappy{l} }, false, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			snapshots := raft.NewInmemSnapshotStore()
			log := openLog(t, vfs.NewMem(), nil)
			if tt.known {
				log = openLog(t, vfs.NewMem(), snapshots)
			}
			if got := goesOn(t, log, tt.logs(log), snapshots, tt.term); got != tt.want {
				t.Fatalf("entries after the snapshot were accepted: %v, want %v", got, tt.want)
			}
			if !tt.want {
				return
			}
			first, _ := log.FirstIndex()
			last, _ := log.LastIndex()
			var head, tail raft.Log
			if err := errors.Join(log.GetLog(8, &head), log.GetLog(9, &tail)); err != nil || first != 8 || last != 9 {
				t.Fatalf("[%d, %d], %v", first, last, err)
			}
			if head.Term != tt.term || (tt.term == 1) != (string(head.Data) == "old") || tail.Term != 2 || string(tail.Data) != "new" {
				t.Fatalf("%+v, %+v", head, tail)
			}
		})
	}
}

func cached(l *raftlog.Log) raft.LogStore {
	c, err := raft.NewLogCache(64, l)
	if err != nil {
		panic(err)
	}
	return c
}

// gappy hides that the log has no gaps.
type gappy struct{ log *raftlog.Log }

func (g gappy) FirstIndex() (uint64, error)        { return g.log.FirstIndex() }
func (g gappy) LastIndex() (uint64, error)         { return g.log.LastIndex() }
func (g gappy) GetLog(i uint64, e *raft.Log) error { return g.log.GetLog(i, e) }
func (g gappy) StoreLog(e *raft.Log) error         { return g.log.StoreLog(e) }
func (g gappy) StoreLogs(e []*raft.Log) error      { return g.log.StoreLogs(e) }
func (g gappy) DeleteRange(low, high uint64) error { return g.log.DeleteRange(low, high) }

// goesOn plays the leader of term 2 to a real follower, which has ten entries, and
// gets a snapshot of eight and one more entry.
func goesOn(t *testing.T, stable raft.StableStore, logs raft.LogStore, snapshots raft.SnapshotStore, term uint64) bool {
	t.Helper()
	f := follow(t, 10, stable, logs, snapshots)
	f.install(8, term)
	return f.append(8, term, 9)
}

// A follower is a real one, to which a test plays the leader of term 2.
type follower struct {
	t       *testing.T
	addr    raft.ServerAddress
	leader  *raft.InmemTransport
	header  raft.RPCHeader
	members raft.Configuration
}

// follow starts a follower with so many entries, of term 1.
func follow(t *testing.T, entries uint64, stable raft.StableStore, logs raft.LogStore, snapshots raft.SnapshotStore) *follower {
	t.Helper()
	addr, trans := raft.NewInmemTransport("follower")
	leaderAddr, leader := raft.NewInmemTransport("leader")
	trans.Connect(leaderAddr, leader)
	leader.Connect(addr, trans)

	c := raft.DefaultConfig()
	c.LocalID, c.Logger = "follower", hclog.NewNullLogger()
	members := raft.Configuration{Servers: []raft.Server{{ID: "follower", Address: addr}, {ID: "leader", Address: leaderAddr}}}
	if err := raft.BootstrapCluster(c, logs, stable, snapshots, trans, members); err != nil {
		t.Fatal(err)
	}
	for i := uint64(2); i <= entries; i++ {
		if err := logs.StoreLog(&raft.Log{Index: i, Term: 1, Data: []byte("old")}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := raft.NewRaft(c, blank{}, logs, stable, snapshots, trans)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Shutdown().Error(); err != nil {
			t.Error(err)
		}
	})
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("leader"), Addr: []byte(leaderAddr)}
	return &follower{t: t, addr: addr, leader: leader, header: header, members: members}
}

// install sends a snapshot that ends with an entry of a term.
func (f *follower) install(index, term uint64) {
	f.t.Helper()
	var installed raft.InstallSnapshotResponse
	err := f.leader.InstallSnapshot("follower", f.addr, &raft.InstallSnapshotRequest{
		RPCHeader: f.header, SnapshotVersion: 1, Term: 2, LastLogIndex: index, LastLogTerm: term,
		Configuration: raft.EncodeConfiguration(f.members), ConfigurationIndex: 1, Size: 4,
	}, &installed, bytes.NewReader([]byte("snap")))
	if err != nil || !installed.Success {
		f.t.Fatal(installed, err)
	}
}

// append sends entries of term 2 up to last, after one of a term, and returns whether they
// are accepted.
func (f *follower) append(prev, term, last uint64) bool {
	f.t.Helper()
	var entries []*raft.Log
	for i := prev + 1; i <= last; i++ {
		entries = append(entries, &raft.Log{Index: i, Term: 2, Data: []byte("new")})
	}
	var appended raft.AppendEntriesResponse
	err := f.leader.AppendEntries("follower", f.addr, &raft.AppendEntriesRequest{
		RPCHeader: f.header, Term: 2, PrevLogEntry: prev, PrevLogTerm: term, Entries: entries,
	}, &appended)
	if err != nil {
		f.t.Fatal(err)
	}
	return appended.Success
}

// What follows a snapshot may have to be sent again, if the answer was lost: also if the
// snapshot is sent again first.
func TestAFollowerTakesWhatFollowsASnapshotASecondTime(t *testing.T) {
	for name, entries := range map[string]uint64{"the snapshot is far ahead": 3, "it ends behind the last entry": 7} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, and is sent again: %v", name, again), func(t *testing.T) {
				snapshots := raft.NewInmemSnapshotStore()
				log := openLog(t, vfs.NewMem(), snapshots)
				f := follow(t, entries, log, cached(log), snapshots)
				f.install(8, 2)
				if !f.append(8, 2, 10) {
					t.Fatal("what follows is refused")
				}
				if again {
					f.install(8, 2)
				}
				if !f.append(8, 2, 11) || !f.append(11, 2, 12) {
					t.Fatal("what follows is refused the second time")
				}
				for i := uint64(9); i <= 12; i++ {
					var e raft.Log
					if err := log.GetLog(i, &e); err != nil || e.Term != 2 || string(e.Data) != "new" {
						t.Errorf("entry %d: %+v, %v", i, e, err)
					}
				}
			})
		}
	}
}

// blank is a state machine without a state.
type blank struct{}

func (blank) Apply(*raft.Log) any                 { return nil }
func (blank) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("no") }
func (blank) Restore(r io.ReadCloser) error       { return r.Close() }

// raft appends in one goroutine and compacts in another.
func TestAppendingAndCompactingAtOnceKeepTheBounds(t *testing.T) {
	log := openLog(t, vfs.NewMem(), nil)
	const entries = 400
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := uint64(1); i <= entries; i++ {
			if err := log.StoreLog(&raft.Log{Index: i}); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for done := uint64(0); done < entries; {
			last, err := log.LastIndex()
			if err != nil {
				t.Error(err)
			}
			if last > 0 { // all that is there, so that it is empty time and again
				if err := log.DeleteRange(1, last); err != nil {
					t.Error(err)
				}
				done = last
			}
		}
	})
	wg.Wait()
	first, _ := log.FirstIndex()
	last, _ := log.LastIndex()
	if first != 0 || last != 0 {
		t.Fatalf("[%d, %d] is left", first, last)
	}
}

func TestAFullDiskLeavesTheLogAsItWas(t *testing.T) {
	var full bool
	log := openLog(t, errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full && op.Kind == errorfs.OpFileWrite {
			full = false // the ballast makes room
			return syscall.ENOSPC
		}
		return nil
	})), nil)
	if err := log.StoreLog(&raft.Log{Index: 1}); err != nil {
		t.Fatal(err)
	}
	full = true
	if err := log.StoreLog(&raft.Log{Index: 2}); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{log.StoreLog(&raft.Log{Index: 3}), log.DeleteRange(1, 1), log.SetUint64([]byte("k"), 1)} {
		if !errors.Is(err, storage.ErrFull) {
			t.Fatal(err)
		}
	}
	first, _ := log.FirstIndex()
	last, _ := log.LastIndex()
	if first != 1 || last != 2 {
		t.Fatalf("[%d, %d]", first, last)
	}
}
