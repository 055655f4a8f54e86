package ledger

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/limiter/quota"
)

// Apply applies one entry: see ApplyBatch.
func (l *Ledger) Apply(entry *raft.Log) any { return l.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch applies committed entries, in their order, and writes what they did
// and the index of the last one in one batch. For each entry it returns
// []quota.Result, one for each command, or an error; nil for one that is not a
// command or was applied before.
func (l *Ledger) ApplyBatch(entries []*raft.Log) []any {
	answers := make([]any, len(entries))
	if err := l.apply(entries, answers); err != nil {
		for i := range answers {
			answers[i] = err
		}
	}
	return answers
}

// apply fails if nothing of entries counts.
func (l *Ledger) apply(entries []*raft.Log, answers []any) error {
	if err := l.Err(); err != nil {
		return err
	}
	// The database is written before anybody sees the new time and tenures.
	w := &l.work
	defer w.clear()
	l.mu.RLock()
	w.group, w.head, w.stats = l.group, l.head, l.stats
	l.mu.RUnlock()
	last := w.head.applied
	for i, entry := range entries {
		if entry.Index <= last {
			continue
		}
		w.head.applied = entry.Index
		if entry.Type != raft.LogCommand {
			continue
		}
		if err := quota.DecodeBatch(entry.Data, &w.entry); err != nil {
			err = fmt.Errorf("ledger: group %d: entry %d: %w", l.config.Group, entry.Index, err)
			if errors.Is(err, quota.ErrVersion) {
				return l.stop(err) // nodes that know it go another way
			}
			answers[i] = err
			continue
		}
		results, err := w.commands()
		if err != nil {
			return l.stop(fmt.Errorf("entry %d: %w", entry.Index, err))
		}
		answers[i] = results
	}
	if w.head.applied == last {
		return nil
	}
	if err := w.write(); err != nil {
		return l.stop(err)
	}
	l.mu.Lock()
	l.group, l.head, l.stats = w.group, w.head, w.stats
	l.mu.Unlock()
	if l.config.Grown != nil && len(w.grown) > 0 {
		l.config.Grown(w.grown)
	}
	return nil
}
