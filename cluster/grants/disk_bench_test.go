package grants_test

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/raftlog"
)

// diskStores opens the log of a group, which is synced to db, and its snapshots below dir.
func diskStores(db *storage.DB, dir string) func(group uint32) (consensus.Stores, error) {
	return func(g uint32) (consensus.Stores, error) {
		snapshots, err := raft.NewFileSnapshotStoreWithLogger(filepath.Join(dir, "snapshots", strconv.Itoa(int(g))), 2, hclog.NewNullLogger())
		if err != nil {
			return consensus.Stores{}, err
		}
		log, err := raftlog.Open(db, storage.Group(g), snapshots)
		return consensus.Stores{Log: log, Stable: log, Snapshots: snapshots}, err
	}
}

// askFor submits c and waits for the answer, which is to be as right says. told has room for
// one error.
func askFor(d *grants.Driver, c quota.Command, told chan error, right func(*quota.Result) bool) error {
	err := d.Submit(c, func(_ *quota.Command, r quota.Result, err error) {
		if err == nil && !right(&r) {
			err = errors.New(r.Code.String())
		}
		told <- err
	})
	if err != nil {
		return err
	}
	return <-told
}

// onDisk starts a lone voter whose logs are synced to dir; its ledger is in memory.
func onDisk(b *testing.B, dir string) (*consensus.Node, *grants.Driver, func()) {
	b.Helper()
	db, err := storage.Open(storage.Config{Dir: dir, BallastBytes: -1})
	if err != nil {
		b.Fatal(err)
	}
	n, ls := consensustest.New(), newLedgers()
	node, err := consensus.Start(consensus.Config{
		ID: "a", Addr: "a", Groups: quota.Groups, Listener: n.Listen("a"), Dial: n.Dialer("a"),
		Bootstrap: []consensus.Server{{ID: "a", Addr: "a"}},
		Stores:    diskStores(db, dir),
		FSM:       func(g uint32) (raft.FSM, error) { return ls[g], nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	d, err := grants.Start(grants.Config{
		ID: "a", Groups: node, Ledger: ls,
		Now:  func() limiter.Instant { return limiter.Instant(time.Since(began)) + 1 },
		Wall: func() int64 { return time.Now().UnixMilli() },
	})
	if err != nil {
		b.Fatal(err)
	}
	return node, d, func() {
		if err := errors.Join(d.Stop(context.Background()), node.Stop(context.Background()), db.Close()); err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkEnsureOnDisk is what a grant costs on one node, each a command that has
// to be synced, over all groups: one caller waits for its sync alone, many share it.
func BenchmarkEnsureOnDisk(b *testing.B) {
	for _, callers := range []int{1, 64, 512, 4096} {
		b.Run(strconv.Itoa(callers), func(b *testing.B) {
			node, d, stop := onDisk(b, b.TempDir())
			defer stop()
			for g := range uint32(quota.Groups) {
				for node.Barrier(b.Context(), g) != nil {
					runtime.Gosched()
				}
			}
			window := today()
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					told := make(chan error, 1)
					k := of(uint32(i%quota.Groups), i)
					for n := uint64(1); left.Add(-1) >= 0; n++ {
						c := quota.Command{
							Op: quota.OpEnsure, Key: k, Window: window, Version: 1, Limit: 1 << 40,
							Holder: quota.Holder{Partition: k.Partition(), Tenure: 1}, Floor: n, Target: n,
						}
						if err := askFor(d, c, told, func(r *quota.Result) bool { return r.Code == quota.OK && r.Granted == n }); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			entries, commands := uint64(0), uint64(0)
			for _, s := range d.Stats() {
				entries, commands = entries+s.Entries, commands+s.Commands
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "grants/s")
			b.ReportMetric(float64(commands)/float64(entries), "grants/entry")
		})
	}
}

// BenchmarkStartOnDisk is how long a lone voter takes from Start until it leads
// every group, the database being open.
func BenchmarkStartOnDisk(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		node, _, stop := onDisk(b, dir)
		for g := range uint32(quota.Groups) {
			for node.Barrier(b.Context(), g) != nil {
				time.Sleep(100 * time.Microsecond)
			}
		}
		b.StopTimer()
		stop()
		b.StartTimer()
	}
}
