package ledger

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
)

// onDisk opens a ledger on a real disk.
func onDisk(b *testing.B, dir string) (*storage.DB, *Ledger) {
	b.Helper()
	c := storage.Default(dir)
	c.BallastBytes = -1
	db, err := storage.Open(c)
	if err != nil {
		b.Fatal(err)
	}
	l, err := Open(Config{DB: db, Group: 0})
	if err != nil {
		b.Fatal(err)
	}
	return db, l
}

// entryOf returns an entry with a grant of each of n counters, from the first on:
// at least floor, and what differs from counter to counter. Keys are spread as
// hashes are.
func entryOf(index uint64, first, n, floor uint64) *raft.Log {
	batch := quota.Batch{At: now + int64(first)}
	for i := first; i < first+n; i++ {
		rng := rand.New(rand.NewPCG(i, 0))
		c := ensure(now, 1, floor+rng.Uint64N(5000)).Commands[0]
		c.Limit, c.Key = 1_000_000, limiter.Key{Hi: rng.Uint64() >> 3, Lo: rng.Uint64()}
		c.Holder = quota.Holder{Partition: c.Key.Partition(), Tenure: 1 + uint64(c.Key.Partition()%100), Life: 1}
		batch.Commands = append(batch.Commands, c)
	}
	return log(index, &batch)
}

// BenchmarkApply applies entries of 256 grants; it counts grants.
func BenchmarkApply(b *testing.B) {
	for _, counters := range []uint64{256, 100_000} {
		b.Run(fmt.Sprintf("counters=%d", counters), func(b *testing.B) {
			db, l := onDisk(b, b.TempDir())
			b.ReportAllocs()
			b.ResetTimer()
			index, floor := uint64(0), uint64(1)
			for done := uint64(0); done < uint64(b.N); done += 256 {
				index++
				if first := done % counters; first+256 <= counters {
					l.ApplyBatch([]*raft.Log{entryOf(index, first, 256, floor)})
				} else {
					floor++
				}
			}
			b.StopTimer()
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkSize writes counters, each in one period with one holder, and reports
// what they take on the disk, and how long the store takes to open.
func BenchmarkSize(b *testing.B) {
	for _, counters := range []uint64{100_000, 1_000_000} {
		if testing.Short() && counters > 100_000 {
			continue // ten seconds
		}
		b.Run(fmt.Sprintf("counters=%d", counters), func(b *testing.B) {
			for range b.N {
				dir := b.TempDir()
				db, l := onDisk(b, dir)
				for i := uint64(0); i < counters; i += 250 {
					if err := applyAll(l, []*raft.Log{entryOf(i/250+1, i, 250, 5)}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(db.Metrics().DiskSpaceUsage())/float64(counters), "B/counter-open")
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				db, l = onDisk(b, dir)
				b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms-to-open")
				if l.Applied() != counters/250 {
					b.Fatal(l.Applied())
				}

				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(sizeOf(b, dir))/float64(counters), "B/counter")
			}
		})
	}
}

func sizeOf(b *testing.B, dir string) (n int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(d.Name()) == ".sst" {
			info, err := d.Info()
			if err != nil {
				return err
			}
			n += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}
