package raftlog

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// What raft does when it has installed a snapshot, and why the log then keeps
// something.
//
// A follower that is sent a snapshot may have entries beyond its index, of
// another leader, that were never committed. raft then empties a log like this
// one, but goes on to believe in the last entry that was there; and it leaves
// other logs alone, with an entry of another term at the snapshot's index. Either
// way it refuses all that follows and is sent the snapshot again, for ever
// (hashicorp/raft#697). So when raft empties the log, what is left is the
// snapshot's last entry, as a head of that term, and what came after it: raft
// finds the former to match and the latter to be replaced.

// And a snapshot that ends where the log begins leaves no entry to compare with: if the
// answer to what was sent first after it is lost, that is sent again, refused, and so for
// ever. So the log answers for the end of such a snapshot (before), and what came after it
// stays if the snapshot is installed again.

// before reads the entry before the first of the log, or any entry of an empty one: it is
// there if the newest snapshot ends with it. Only its term is known.
func (l *Log) before(index uint64, entry *raft.Log) error {
	if l.snapshots == nil {
		return raft.ErrLogNotFound
	}
	list, err := l.snapshots.List()
	if err != nil {
		return fmt.Errorf("raftlog: group %d: list snapshots: %w", l.group, err)
	}
	if len(list) == 0 || list[0].Index != index {
		return raft.ErrLogNotFound
	}
	*entry = raft.Log{Index: index, Term: list[0].Term, Type: raft.LogNoop}
	return nil
}

// inside returns the newest snapshot if raft empties the log by deleting
// [low, high], and that snapshot ends inside or right before it, with an entry after it.
// Nothing else is such a range: what raft compacts ends at the snapshot or before, and what
// it replaces begins after it.
//
// The index has to be above 1: the entry at the head of a log is compared and
// never sent to others, unless it is the first of all.
func (l *Log) inside(low, high uint64) (*raft.SnapshotMeta, error) {
	first, last := l.bounds()
	if l.snapshots == nil || low > first || high < last {
		return nil, nil
	}
	list, err := l.snapshots.List()
	if err != nil || len(list) == 0 {
		return nil, err
	}
	if s := list[0]; s.Index > 1 && s.Index+1 >= first && s.Index < last {
		return s, nil
	}
	return nil, nil
}

// keepFrom makes the end of s the first entry of the log, unless it begins right after it.
func (l *Log) keepFrom(s *raft.SnapshotMeta) error {
	first, _ := l.bounds()
	if s.Index < first {
		return nil
	}
	var head raft.Log
	if err := l.GetLog(s.Index, &head); err != nil {
		return err
	}
	b := l.db.NewBatch()
	err := b.DeleteRange(l.entryKey(first), l.entryKey(s.Index), nil)
	if err == nil && head.Term != s.Term {
		value := appendEntry(nil, &raft.Log{Term: s.Term, Type: raft.LogNoop})
		err = b.Set(l.entryKey(s.Index), value, nil)
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	if err := l.db.Commit(b, pebble.Sync); err != nil {
		return fmt.Errorf("raftlog: group %d: keep what follows snapshot %d: %w", l.group, s.Index, err)
	}
	l.deleted(first, s.Index-1)
	return nil
}
