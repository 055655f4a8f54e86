package ledger

import "github.com/headgate/headgate/limiter/quota"

// Stats count what a ledger has applied since it was opened. Every node of a group
// counts the same entries.
type Stats struct {
	Entries  uint64 // with commands
	Commands uint64

	// Units that moved between pools and whoever may spend them.
	Granted  uint64 // to holders
	Returned uint64 // by holders
	Charged  uint64 // to requests of exact mode
	Credited uint64 // to those, when they were settled for less
}

// Stats returns the figures of this moment.
func (l *Ledger) Stats() Stats {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.stats
}

// moved counts what a command has done to what is outstanding of its pool.
func (s *Stats) moved(op quota.Op, before, after uint64) {
	more, less := after-min(after, before), before-min(after, before)
	if exact(op) {
		s.Charged += more
		s.Credited += less
		return
	}
	s.Granted += more
	s.Returned += less
}
