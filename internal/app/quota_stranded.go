package app

import (
	"errors"
	"log/slog"

	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage/ledger"
)

// errEnding ends the reading of a store that is about to be closed.
var errEnding = errors.New("app: the store is being closed")

// stranded returns what a pool counts as spent though the processes before that of
// tenure, which were lost, have not told to have spent it.
func stranded(p *quota.Pool, tenure uint64) uint64 {
	return p.Stranded(func(h quota.Holder) bool { return h.Tenure < tenure })
}

// countStranded adds up what is stranded of periods that last. That changes when a
// process is lost, so it is counted once, behind the first decisions.
func (q *quotas) countStranded(ledgers ledger.Set, tenure uint64) {
	var units, counters uint64
	for _, l := range ledgers {
		now := l.Time() / 1000
		err := l.Each(func(c *ledger.Counter) error {
			select {
			case <-q.ending:
				return errEnding
			default:
			}
			if n := stranded(&c.Pool, tenure); n > 0 && now < c.Window.End {
				units += n
				counters++
			}
			return nil
		})
		if err != nil {
			if !errors.Is(err, errEnding) {
				q.log.Error("what is stranded of quotas can't be counted", slog.String("error", err.Error()))
			}
			return
		}
	}
	q.stranded.Store(units)
	if units > 0 {
		q.log.Warn("units of quotas count as spent until their periods end: a process that held them was lost",
			slog.Uint64("units", units), slog.Uint64("counters", counters))
	}
}
