package storagetest_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/storagetest"
)

func nowhere() int { return 0 }

func TestWritesAndSyncsOfAFileThatIsReusedAreSeenAndCanFail(t *testing.T) {
	operations := map[string]func(vfs.File) error{
		"write":     func(f vfs.File) error { _, err := f.Write([]byte("line")); return err },
		"sync":      vfs.File.Sync,
		"sync data": vfs.File.SyncData,
		"sync to":   func(f vfs.File) error { _, err := f.SyncTo(1); return err },
	}
	for name, do := range operations {
		t.Run(name, func(t *testing.T) {
			rec := storagetest.NewRecorder(vfs.NewCrashableMem(), 1, nowhere, nowhere)
			rec.FailAt(3, false) // the creation, the reuse, the operation
			file, err := rec.FS().Create("used", vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
			file, err = rec.FS().ReuseForWrite("used", "again", vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			if err := do(file); !errors.Is(err, errorfs.ErrInjected) {
				t.Errorf("the third operation returned %v, not the injected error", err)
			}
			if err := do(file); err != nil {
				t.Errorf("the fourth: %v", err)
			}
			// Of writes, some are drawn.
			if n := len(rec.Draw(rand.New(rand.NewPCG(1, 1)), 2)); n != 2 && name != "write" {
				t.Errorf("%d crashes were kept of two syncs", n)
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Also when Pebble writes its log to a file that it has used before.
func TestThereIsACrashAtEachSyncedCommitOfAStore(t *testing.T) {
	rec := storagetest.NewRecorder(vfs.NewCrashableMem(), 1, nowhere, nowhere)
	db, err := storage.Open(storage.Config{
		Dir: "store", FS: rec.FS(), CacheBytes: storage.CacheBytesMin, MemTableBytes: storage.MemTableBytesMin, BallastBytes: -1, SlowAfter: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	const commits = 60 // of 50 kB each: several logs
	rng, unseen := rand.New(rand.NewPCG(1, 1)), 0
	for i := range commits {
		rec.Draw(rng, 0)
		b := db.NewBatch()
		if err := b.Set([]byte{2, byte(i)}, make([]byte, 50_000), nil); err != nil {
			t.Fatal(err)
		}
		if err := db.Commit(b, pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if len(rec.Draw(rng, 1)) == 0 {
			unseen++
		}
	}
	if unseen > 0 {
		t.Errorf("there is no crash at %d of %d commits", unseen, commits)
	}
	rec.End()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
