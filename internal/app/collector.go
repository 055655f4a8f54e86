package app

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"

	"github.com/headgate/headgate/internal/config"
)

// collectorEvery is how often the collector is set to the size of the live heap.
const collectorEvery = time.Second

// A collector sets Go's garbage collector: to the percentage that the settings say, or to
// less where that would leave more memory unused than they allow. Counters of quotas are on
// Go's heap, those of other limits are not.
type collector struct {
	percent  int    // the setting
	headroom uint64 // the setting, in bytes; 0: no bound
	now      int    // what it is set to
}

// newCollector sets the collector unless the operator did by Go's own variables; then it is nil.
func newCollector(c *config.Runtime, log *slog.Logger) *collector {
	if os.Getenv("GOMEMLIMIT") == "" && c.MemoryLimit > 0 {
		debug.SetMemoryLimit(int64(c.MemoryLimit))
		log.Debug("soft memory limit", slog.String("bytes", c.MemoryLimit.String()))
	}
	if os.Getenv("GOGC") != "" {
		return nil
	}
	debug.SetGCPercent(c.GCPercent)
	return &collector{percent: c.GCPercent, headroom: uint64(c.GCHeadroom), now: c.GCPercent}
}

// run sets the collector anew while the live heap grows and shrinks.
func (c *collector) run(ctx context.Context) {
	if c == nil || c.headroom == 0 {
		return
	}
	tick := time.NewTicker(collectorEvery)
	defer tick.Stop()
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			runtimemetrics.Read(live)
			if next, changed := c.next(live[0].Value.Uint64()); changed {
				debug.SetGCPercent(next)
			}
		}
	}
}

// next returns what the collector is to be set to for so many live bytes, and whether that
// is worth a change, which stops the world for a moment.
func (c *collector) next(live uint64) (percent int, changed bool) {
	percent = c.percent
	if live > 0 && c.headroom < live*uint64(c.percent)/100 {
		percent = min(c.percent, max(100, int(c.headroom*100/live)))
	}
	if 10*max(percent-c.now, c.now-percent) <= c.now && percent != c.percent {
		return c.now, false
	}
	changed = percent != c.now
	c.now = percent
	return percent, changed
}
