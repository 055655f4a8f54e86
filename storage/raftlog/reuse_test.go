package raftlog_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/storage/storagetest"
)

// A reuses is a disk that counts the files that are reused.
type reuses struct {
	vfs.FS
	n *atomic.Int64
}

func (r reuses) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	r.n.Add(1)
	return r.FS.ReuseForWrite(from, to, category)
}

// A crowded node has others write so much between its entries that Pebble begins a new
// log before most of them, and writes it to a file that it has used before.
type crowded struct{ *node }

func (c crowded) Group(group int) (storagetest.LogStore, error) {
	log, err := c.node.Group(group)
	return crowdedLog{log, c.node}, err
}

type crowdedLog struct {
	storagetest.LogStore
	node *node
}

func (l crowdedLog) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

func (l crowdedLog) StoreLogs(entries []*raft.Log) error {
	b := l.node.db.NewBatch()
	err := b.Set([]byte{2}, make([]byte, 200_000), nil) // of a memtable of 256 KiB
	return errors.Join(err, l.node.db.Commit(b, pebble.NoSync), l.LogStore.StoreLogs(entries))
}

func TestNoCrashLosesAnEntryThatIsWrittenToAReusedFile(t *testing.T) {
	var reused atomic.Int64
	subject := storagetest.LogSubject(func(fs vfs.FS) (storagetest.Logs, error) {
		n, err := open(reuses{fs, &reused})
		if err != nil {
			return nil, err
		}
		return crowded{n.(*node)}, nil
	})
	// Without faults: Pebble ends the process when it can't end a log or begin one.
	crashSubject(t, subject, storagetest.Plan{Seed: 7, Histories: (*histories + 3) / 4, Ops: 30, CrashesMax: 20})
	if reused.Load() == 0 {
		t.Error("no file was reused")
	}
	t.Logf("%d files were reused", reused.Load())
}
