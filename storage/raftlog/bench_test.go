package raftlog_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/raftlog"
)

// BenchmarkStoreLogs appends entries of 128 bytes, synced, to a real disk:
// writers at once, each to a log of its own, as groups do.
func BenchmarkStoreLogs(b *testing.B) {
	for _, writers := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			db, err := storage.Open(storage.Default(b.TempDir()))
			if err != nil {
				b.Fatal(err)
			}
			logs := make([]*raftlog.Log, writers)
			for i := range logs {
				if logs[i], err = raftlog.Open(db, storage.Group(i), nil); err != nil {
					b.Fatal(err)
				}
			}
			data := make([]byte, 128)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for _, log := range logs {
				wg.Go(func() {
					for i := uint64(1); left.Add(-1) >= 0; i++ {
						if err := log.StoreLog(&raft.Log{Index: i, Term: 1, Data: data}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
