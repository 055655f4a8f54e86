package raftlog_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/storage/raftlog"
	"github.com/headgate/headgate/storage/storagetest"
)

// Pebble ends the process when it can't end a log or begin one. Whether the power fails
// too or not: a new process has all that was acknowledged, and what it has outlives the
// next power cut, though the one that ended had not synced it.
func TestANewProcessHasWhatOneKnewThatEndedAtItsLog(t *testing.T) {
	kinds := map[errorfs.OpKind]int{}
	for n := 1; n <= *histories; n++ {
		disk := vfs.NewCrashableMem()
		var started, durable atomic.Int64
		at := func(n *atomic.Int64) func() int { return func() int { return int(n.Load()) } }
		rec := storagetest.NewRecorder(disk, uint64(n)+*seed<<8, at(&durable), at(&started))
		rec.End()
		gone := rec.StopAt(n)
		go fill(rec, &started, &durable)
		<-gone
		kinds[rec.StoppedAt()]++
		for _, percent := range []int{0, 50, 50, 100} {
			rec.Take(percent)
		}
		for _, m := range rec.Draw(rand.New(rand.NewPCG(1, 1)), 4) {
			has(t, m.FS, m.Low, m.High)
		}
		low := int(durable.Load())
		shown := has(t, unlocked{disk}, low, int(started.Load()))
		has(t, disk.CrashClone(vfs.CrashCloneCfg{}), shown, shown)
		if t.Failed() {
			t.Fatalf("the process ended at operation %d of its logs", n)
		}
	}
	t.Logf("it ended at %v", kinds)
	for _, kind := range []errorfs.OpKind{errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpFileSync, errorfs.OpFileSyncData} {
		if kinds[kind] == 0 {
			t.Errorf("it never ended at operation %d: %v", kind, kinds)
		}
	}
}

// fill appends entries to a log until the process ends; after each, its number is the term.
func fill(rec *storagetest.Recorder, started, durable *atomic.Int64) {
	rec.Opening(true)
	logs, err := open(rec.FS())
	rec.Opening(false)
	if err != nil {
		panic(err)
	}
	log, err := crowded{logs.(*node)}.Group(0)
	if err != nil {
		panic(err)
	}
	step := func(n uint64, err error) {
		if err != nil {
			panic(err)
		}
		durable.Store(int64(n))
		started.Store(int64(n + 1))
	}
	step(0, nil)
	for i := uint64(1); ; i++ {
		step(2*i-1, log.StoreLog(&raft.Log{Index: i, Term: i, Data: fmt.Appendf(nil, "entry %d", i)}))
		step(2*i, log.SetUint64([]byte("CurrentTerm"), i))
	}
}

// has opens what a process left and returns how many steps of it are there, which must be
// low to high, and what was written.
func has(t *testing.T, fs vfs.FS, low, high int) int {
	t.Helper()
	logs, err := open(fs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = logs.Close() }) // later: it would sync what is there
	log, err := logs.Group(0)
	if err != nil {
		t.Fatal(err)
	}
	last, err := log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	term, err := log.GetUint64([]byte("CurrentTerm"))
	if err != nil && err.Error() != raftlog.ErrKeyNotFound.Error() {
		t.Fatal(err)
	}
	steps := int(last + term)
	if steps < low || steps > high || term > last || term+1 < last {
		t.Errorf("%d entries and term %d, which should be %d to %d steps", last, term, low, high)
	}
	for i := uint64(1); i <= last; i++ {
		var e raft.Log
		if err := log.GetLog(i, &e); err != nil || e.Term != i || string(e.Data) != fmt.Sprintf("entry %d", i) {
			t.Errorf("entry %d is %+v: %v", i, e, err)
		}
	}
	return steps
}

// unlocked is a disk whose locks ended with the process that had them.
type unlocked struct{ vfs.FS }

func (unlocked) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }
