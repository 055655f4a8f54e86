package storage

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	dto "github.com/prometheus/client_model/go"
)

func TestStatsTellOfTheDisk(t *testing.T) {
	mem := vfs.NewMem()
	dsk := &disk{fails: func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync }}
	d := mustOpen(t, small(errorfs.Wrap(mem, dsk)))
	syncs := func(s Stats) (n uint64) {
		for _, c := range s.SyncCounts {
			n += c
		}
		return n
	}
	before := d.Stats()
	for range 10 {
		if err := put(d, "\x02a", "1", pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	s := d.Stats()
	if got := syncs(s) - syncs(before); got < 10 || len(s.SyncCounts) != len(s.SyncBounds)+1 || s.SyncSum <= before.SyncSum {
		t.Errorf("%d syncs: %+v", got, s)
	}
	if s.Full || s.Failed || s.Bytes == 0 || s.LogBytes == 0 {
		t.Errorf("%+v", s)
	}
	broken := error(syscall.EIO)
	dsk.err.Store(&broken)
	_ = put(d, "\x02b", "1", pebble.Sync)
	if s := d.Stats(); !s.Failed || s.Full || s.Bytes != 0 {
		t.Errorf("after the disk has failed: %+v", s)
	}
}

func TestAFullDiskAndSlowOnesAreCounted(t *testing.T) {
	h := newHealth(Config{Dir: "d", FS: vfs.NewMem()})
	for _, took := range []time.Duration{time.Second, 2 * time.Second, time.Second} {
		h.slowness(vfs.DiskSlowInfo{Path: "x", OpType: vfs.OpTypeSync, Duration: took})
	}
	h.listener().WriteStallBegin(pebble.WriteStallBeginInfo{})
	h.full(syscall.ENOSPC)
	var s Stats
	h.stats(&s)
	if !s.Full || s.Failed || s.Slow != 2 || s.Stalls != 1 {
		t.Errorf("%+v", s)
	}
	h.fail(syscall.EIO)
	h.stats(&s)
	if s.Full || !s.Failed {
		t.Errorf("%+v", s)
	}
}

func TestAHistogramIsFoldedToFewerBounds(t *testing.T) {
	h := &dto.Histogram{SampleCount: new(uint64(10))}
	for _, b := range []struct {
		bound float64
		total uint64
	}{{1e5, 1}, {1.5e5, 3}, {2e5, 6}, {7e5, 8}} {
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: new(b.bound), CumulativeCount: new(b.total)})
	}
	got := fold(h, []time.Duration{100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond})
	if want := []uint64{1, 5, 0, 4}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
