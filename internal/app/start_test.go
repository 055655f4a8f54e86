package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/ledger"
	"github.com/headgate/headgate/storage/raftlog"
)

var manyCounters = flag.Int("counters", 20_000, "of the test that a node with many counters starts in time")

const (
	// startMax is how long a node may take to start, however many counters it has.
	startMax = 5 * time.Second
	// entriesAfter is how many entries a group's log has after its last snapshot, at
	// most: then comes the next.
	entriesAfter = 8000
)

// A node whose ledger has many counters, a snapshot of each group and a long log after
// it, is ready in time.
func TestANodeWithManyCountersStartsInTime(t *testing.T) {
	c := patientConfig(t, yearly(1_000_000))
	dir := filepath.Join(c.DataDir, quotasName)
	claim(t, c.DataDir) // as a node does, before it makes the store
	began := time.Now()
	fill(t, dir, *manyCounters, quota.CommandsMax)
	takeSnapshots(t, dir)
	fill(t, dir, min(*manyCounters/100, quota.Groups*entriesAfter), 1)
	t.Logf("%d counters were made in %s", *manyCounters, time.Since(began).Round(time.Millisecond))

	cpu := func() int64 { return 0 }
	if c := processCPU(); c != nil {
		cpu = c
	}
	began, used := time.Now(), cpu()
	n := startNode(t, c)
	took := time.Since(began)
	t.Logf("ready after %s, %s of them on a processor", took.Round(time.Millisecond), time.Duration(cpu()-used).Round(time.Millisecond))
	if took > startMax {
		t.Errorf("ready after %s, want %s at most:\n%s", took, startMax, n.log)
	}
	allow(t, n, "alice", true)
}

// fill has the groups of the store in dir grant some units of each counter, in entries
// of so many commands.
func fill(t *testing.T, dir string, counters, perEntry int) {
	t.Helper()
	ctx := t.Context()
	s, err := openQuotaStore(dir, false, slog.New(slog.DiscardHandler), new(quotaGrowth))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.lead(ctx); err != nil {
		t.Fatal(err)
	}
	const proposers = 4 // of each group
	var next atomic.Int64
	var wg sync.WaitGroup
	for p := range quota.Groups * proposers {
		wg.Go(func() {
			for from := next.Add(int64(perEntry)) - int64(perEntry); from < int64(counters); from = next.Add(int64(perEntry)) - int64(perEntry) {
				group := uint32(p % quota.Groups)
				e := grantsFrom(group, uint64(from), uint64(min(int64(perEntry), int64(counters)-from)))
				for {
					_, err := s.groups.Propose(ctx, group, e)
					if err == nil {
						break
					} else if !errors.Is(err, consensus.ErrUnknown) { // a disk that can't keep up
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if err := s.close(context.WithoutCancel(ctx)); err != nil {
		t.Fatal(err)
	}
}

// grantsFrom returns an entry with a grant of each of n counters of the group. Keys are
// spread as hashes are.
func grantsFrom(group uint32, first, n uint64) []byte {
	now := time.Now()
	b := quota.Batch{At: now.UnixMilli()}
	year := time.Date(now.Year(), 1, 1, 0, 0, 0, 0, time.UTC)
	for i := first; i < first+n; i++ {
		rng := rand.New(rand.NewPCG(i, 0))
		k := limiter.Key{Hi: rng.Uint64()>>3 | uint64(group)<<61, Lo: rng.Uint64()}
		b.Commands = append(b.Commands, quota.Command{
			Op: quota.OpEnsure, Key: k, Version: 1, Limit: 1_000_000,
			Window: quota.Window{Start: year.Unix(), End: year.AddDate(1, 0, 0).Unix()},
			Holder: quota.Holder{Partition: k.Partition(), Tenure: 1}, Floor: 1, Target: 1 + rng.Uint64N(5000),
		})
	}
	return b.AppendTo(nil)
}

// takeSnapshots makes a snapshot of each group, as raft does now and then.
func takeSnapshots(t *testing.T, dir string) {
	t.Helper()
	db, err := storage.Open(storage.Default(filepath.Join(dir, "store")))
	if err != nil {
		t.Fatal(err)
	}
	id := db.Identity().Store
	self := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(fmt.Sprintf("%x", id)), Address: lonelyAddr}}}
	_, trans := raft.NewInmemTransport(lonelyAddr)
	var wg sync.WaitGroup
	for g := range quota.Groups {
		wg.Go(func() {
			if err := takeSnapshot(db, filepath.Join(dir, "snapshots", strconv.Itoa(g)), g, self, trans); err != nil {
				t.Errorf("group %d: %v", g, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(db.Close(), trans.Close()); err != nil {
		t.Fatal(err)
	}
}

func takeSnapshot(db *storage.DB, path string, group int, members raft.Configuration, trans raft.Transport) error {
	l, err := ledger.Open(ledger.Config{DB: db, Group: storage.Group(group)})
	if err != nil {
		return err
	}
	logs, err := raftlog.Open(db, storage.Group(group), nil)
	if err != nil {
		return err
	}
	var last raft.Log
	if err := logs.GetLog(l.Applied(), &last); err != nil {
		return err
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(path, snapshotsKept, hclog.NewNullLogger())
	if err != nil {
		return err
	}
	sink, err := snapshots.Create(raft.SnapshotVersionMax, last.Index, last.Term, members, 1, trans)
	if err != nil {
		return err
	}
	snap, err := l.Snapshot()
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	defer snap.Release()
	if err := snap.Persist(sink); err != nil {
		return err
	}
	first, err := logs.FirstIndex()
	if err != nil {
		return err
	}
	return logs.DeleteRange(first, last.Index)
}

// TestATenureMovesNeitherTimeNorClock: a group whose time is behind its clock has the same
// windows open after a node has taken its tenure.
func TestATenureMovesNeitherTimeNorClock(t *testing.T) {
	s, err := openQuotaStore(t.TempDir(), false, slog.New(slog.DiscardHandler), new(quotaGrowth))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.lead(t.Context()); err != nil {
		t.Fatal(err)
	}
	entry := quota.Batch{At: 1_800_000_000_000, Ahead: 86_400_000}
	if _, err := s.groups.Propose(t.Context(), 0, entry.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.takeTenure(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if at, clock := s.ledgers[0].Time(), s.ledgers[0].Clock(); at != entry.At || clock != entry.At+entry.Ahead {
		t.Errorf("the time is %d, want %d, the clock %d, want %d", at, entry.At, clock, entry.At+entry.Ahead)
	}
	if err := s.close(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}
