package raftlog_test

import (
	"flag"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/raftlog"
	"github.com/headgate/headgate/storage/storagetest"
)

// A node is a store with the logs of its groups.
type node struct {
	db   *storage.DB
	logs map[int]*raftlog.Log
}

func config(fs vfs.FS) storage.Config {
	return storage.Config{
		Dir: "store", FS: fs, CacheBytes: storage.CacheBytesMin, MemTableBytes: storage.MemTableBytesMin, SlowAfter: -1,
	}
}

func open(fs vfs.FS) (storagetest.Logs, error) {
	db, err := storage.Open(config(fs))
	if err != nil {
		return nil, err
	}
	return &node{db, map[int]*raftlog.Log{}}, nil
}

func (n *node) Group(group int) (storagetest.LogStore, error) {
	if log, ok := n.logs[group]; ok {
		return log, nil
	}
	log, err := raftlog.Open(n.db, storage.Group(group), nil)
	if err != nil {
		return nil, err
	}
	n.logs[group] = log
	return log, nil
}

func (n *node) Close() error { return n.db.Close() }

func TestLogsAreWhatRaftReliesOn(t *testing.T) {
	storagetest.TestLogs(t, open)
}

var (
	histories = flag.Int("histories", 24, "random histories of each crash test")
	seed      = flag.Uint64("seed", 0, "another one of other histories")
)

func TestNoCrashLosesAnEntryOrAVote(t *testing.T) {
	crash(t, storagetest.Plan{Seed: 1, Histories: *histories, Ops: 40, CrashesMax: 30})
}

func TestNoErrorOfTheDiskLosesAnEntryOrAVote(t *testing.T) {
	crash(t, storagetest.Plan{Seed: 2, Histories: 2 * *histories, Ops: 30, CrashesMax: 8, Faults: true})
}

func crash(t *testing.T, plan storagetest.Plan) {
	t.Helper()
	crashSubject(t, storagetest.LogSubject(open), plan)
}

func crashSubject(t *testing.T, subject storagetest.Subject[storagetest.Logs], plan storagetest.Plan) {
	t.Helper()
	start := time.Now()
	plan.Seed += *seed << 8
	if testing.Short() {
		plan.Histories = (plan.Histories + 4) / 5
	}
	report, err := storagetest.Crash(subject, plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d: %+v in %s", plan.Seed, report, time.Since(start).Round(time.Millisecond))
	if report.Crashes < plan.Histories || (plan.Faults && report.Faults < plan.Histories/2) {
		t.Fatalf("too few: %+v", report)
	}
}
