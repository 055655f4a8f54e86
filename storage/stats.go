package storage

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	dto "github.com/prometheus/client_model/go"
)

// Stats are a DB's figures at one moment. Those of what is on the disk are 0 once
// the store has failed.
type Stats struct {
	Full, Failed bool   // why writes are refused, if they are
	Stalls       uint64 // times that writes waited since flushing or compacting was behind
	Slow         uint64 // operations that took longer than Config.SlowAfter

	Bytes       uint64 // of all files of the database; the ballast is none of them
	LogBytes    uint64 // of what is in the write-ahead log
	DebtBytes   uint64 // that compactions have yet to rewrite, about
	Flushes     uint64
	Compactions uint64

	// Syncs are the times that the write-ahead log took to be synced: SyncCounts[i]
	// of at most SyncBounds[i], and more than the bound before. The last has no
	// bound.
	SyncBounds []time.Duration
	SyncCounts []uint64
	SyncSum    time.Duration
}

// Stats returns the figures of this moment.
func (d *DB) Stats() (s Stats) {
	d.health.stats(&s)
	if s.Failed {
		return s
	}
	// Pebble may never return once it has failed: see Fatalf.
	read := make(chan *pebble.Metrics, 1)
	go func() { read <- d.pebble.Metrics() }()
	select {
	case m := <-read:
		s.fill(m)
	case <-d.health.failed:
		s.Failed = true
	}
	return s
}

// fill takes over what Pebble measures.
func (s *Stats) fill(m *pebble.Metrics) {
	s.Bytes, s.LogBytes, s.DebtBytes = m.DiskSpaceUsage(), m.WAL.Size, m.Compact.EstimatedDebt
	s.Flushes, s.Compactions = uint64(m.Flush.Count), uint64(m.Compact.Count)
	var syncs dto.Metric
	if m.LogWriter.FsyncLatency == nil || m.LogWriter.FsyncLatency.Write(&syncs) != nil {
		return
	}
	s.SyncBounds = syncBounds()
	s.SyncCounts, s.SyncSum = fold(syncs.GetHistogram(), s.SyncBounds), time.Duration(syncs.GetHistogram().GetSampleSum())
}

// syncBounds returns the bounds of Stats.SyncCounts, which are among Pebble's own 100
// up to 5 ms, and 17 % or less above one of them beyond.
func syncBounds() []time.Duration {
	const ms = time.Millisecond
	return []time.Duration{
		ms / 10, ms / 5, ms / 2, ms, 2 * ms, 3 * ms, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms, 250 * ms, 500 * ms, time.Second, 10 * time.Second,
	}
}

// fold sums up a histogram in nanoseconds by fewer bounds. A bucket that reaches over
// a bound counts above it.
func fold(h *dto.Histogram, bounds []time.Duration) []uint64 {
	counts := make([]uint64, len(bounds)+1)
	at, before := 0, uint64(0)
	for _, b := range h.GetBucket() {
		for at < len(bounds) && b.GetUpperBound() > float64(bounds[at])*(1+1e-9) {
			at++
		}
		counts[at] += b.GetCumulativeCount() - before
		before = b.GetCumulativeCount()
	}
	counts[len(bounds)] += h.GetSampleCount() - before
	return counts
}
