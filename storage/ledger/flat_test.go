package ledger

import (
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/raftlog"
)

var daily = flag.Int("counters", 2000, "of the test that a store stays as large as it is")

const (
	hour       = 3_600_000 // in milliseconds
	hoursOfDay = 24
	grantsADay = 3
	// settledDays is how many days it takes until a day is forgotten for each that
	// begins: a window is kept for 48 hours. measuredDays come then.
	settledDays, measuredDays = 4, 3
)

// Days of daily quotas pass, by the group's time, of which each counter takes some
// units each day. The store is as large at the end as it was when the first day was
// forgotten.
func TestAStoreStaysAsLargeAsItIs(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine writes for ten seconds")
	}
	dir := t.TempDir()
	c := storage.Default(dir)
	c.BallastBytes = -1
	if *daily < 10_000 { // so that this little data is written more than once, too
		c.MemTableBytes = storage.MemTableBytesMin
	}
	db, err := storage.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	log, err := raftlog.Open(db, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(Config{DB: db, Group: 0})
	if err != nil {
		t.Fatal(err)
	}
	var most [settledDays + measuredDays]int64 // bytes, by day
	for h := range hoursOfDay * len(most) {
		pass(t, l, log, h)
		day := h / hoursOfDay
		most[day] = max(most[day], bytesOf(t, dir))
		if (h+1)%hoursOfDay == 0 {
			t.Logf("day %d: %d bytes at most, %d bytes a counter", day+1, most[day], most[day]/int64(*daily))
		}
	}
	records := 0
	if err := l.Each(func(*Counter) error { records++; return nil }); err != nil {
		t.Fatal(err)
	}
	if records > 4**daily {
		t.Errorf("%d records are kept of %d counters a day", records, *daily)
	}
	// The most of one day depends on when the database gets to compact, so that a day may
	// take less than the one before.
	settled := slices.Max(most[:settledDays])
	for day, bytes := range most[settledDays:] {
		if bytes > settled+settled/2 {
			t.Errorf("day %d takes %d bytes, the first %d took %d", settledDays+day+1, bytes, settledDays, settled)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// pass has the counters take units in an hour, each in grantsADay hours of a day.
func pass(t *testing.T, l *Ledger, log *raftlog.Log, h int) {
	t.Helper()
	const perEntry, trailing = 100, 100
	at := int64(now/(hoursOfDay*hour)*hoursOfDay*hour + h*hour)
	day := at / 1000 / 86_400 * 86_400
	batch := quota.Batch{At: at}
	propose := func() {
		last, _ := log.LastIndex()
		e := &raft.Log{Index: last + 1, Term: 1, Type: raft.LogCommand, Data: batch.AppendTo(nil)}
		if err := log.StoreLog(e); err != nil {
			t.Fatal(err)
		}
		if err := applyAll(l, []*raft.Log{e}); err != nil {
			t.Fatal(err)
		}
		batch.Commands = batch.Commands[:0]
		if first, _ := log.FirstIndex(); last > first+2*trailing {
			if err := log.DeleteRange(first, last-trailing); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range uint64(*daily) {
		part := (h + int(i)) % (hoursOfDay / grantsADay)
		if part != 0 {
			continue
		}
		rng := rand.New(rand.NewPCG(i, 0)) // the same ones each day, spread as hashes are
		k := limiter.Key{Hi: rng.Uint64() >> 3, Lo: rng.Uint64()}
		floor := uint64(1 + h%hoursOfDay)
		batch.Commands = append(batch.Commands, quota.Command{
			Op: quota.OpEnsure, Key: k, Window: quota.Window{Start: day, End: day + 86_400}, Version: 1, Limit: 1_000_000,
			Holder: quota.Holder{Partition: k.Partition(), Tenure: 1, Life: 1}, Floor: floor, Target: floor,
		})
		if len(batch.Commands) == perEntry {
			propose()
		}
	}
	propose()
}

// bytesOf returns what all files in dir take.
func bytesOf(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return ignoreGone(err)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// ignoreGone returns err, but not that a file was deleted meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
