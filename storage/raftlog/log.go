package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/storage"
)

// ErrKeyNotFound is what Get and GetUint64 return for a key that was never set.
// raft knows it by its text.
var ErrKeyNotFound = errors.New("not found")

// A Log is the log and the stable store of one group.
type Log struct {
	db        *storage.DB
	group     storage.Group
	snapshots raft.SnapshotStore // the group's; it is only listed

	mu          sync.RWMutex // guards the rest; never held while the disk works
	first, last uint64       // what is stored: [first, last]; 0, 0 is nothing
}

// Open returns the log of group in db. The caller sees to it that there is one
// for each group. Snapshots are the group's, which the log looks at when raft has
// installed one; nil if raft will never do that.
func Open(db *storage.DB, group storage.Group, snapshots raft.SnapshotStore) (*Log, error) {
	l := &Log{db: db, group: group, snapshots: snapshots}
	lower, upper := storage.Span(group, storage.KindLog)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("raftlog: open group %d: %w", group, err)
	}
	if it.First() {
		l.first = indexOf(it.Key())
	}
	if it.Last() {
		l.last = indexOf(it.Key())
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, fmt.Errorf("raftlog: open group %d: %w", group, err)
	}
	return l, nil
}

// IsMonotonic says that indexes have no gap: raft then empties the log where it
// would leave one.
func (l *Log) IsMonotonic() bool { return true }

// FirstIndex returns the index of the oldest entry, 0 if there is none.
func (l *Log) FirstIndex() (uint64, error) {
	first, _ := l.bounds()
	return first, nil
}

// LastIndex returns the index of the newest entry, 0 if there is none.
func (l *Log) LastIndex() (uint64, error) {
	_, last := l.bounds()
	return last, nil
}

func (l *Log) bounds() (first, last uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.first, l.last
}

// stored notes that [low, high] has been appended.
func (l *Log) stored(low, high uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == 0 {
		l.first = low
	}
	l.last = high
}

// deleted notes that [low, high], which reaches to an end, is gone. Meanwhile
// entries may have been appended.
func (l *Log) deleted(low, high uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case high < l.first || low > l.last:
	case low <= l.first && high >= l.last:
		l.first, l.last = 0, 0
	case low <= l.first:
		l.first = high + 1
	default:
		l.last = low - 1
	}
}

// GetLog reads the entry with the index into entry, or returns exactly
// raft.ErrLogNotFound. See before for the one before the first.
func (l *Log) GetLog(index uint64, entry *raft.Log) error {
	first, last := l.bounds()
	if index > 0 && (last == 0 || index+1 == first) {
		return l.before(index, entry)
	}
	if index == 0 || index < first || index > last {
		return raft.ErrLogNotFound
	}
	found, err := l.db.Get(l.entryKey(index), func(value []byte) error {
		return decodeEntry(value, index, entry)
	})
	if err != nil {
		return fmt.Errorf("raftlog: group %d: entry %d: %w", l.group, index, err)
	}
	if !found {
		return raft.ErrLogNotFound
	}
	return nil
}

// StoreLog appends one entry and returns when it would outlive a power cut.
func (l *Log) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs appends entries, all or none, and returns when they would outlive a
// power cut. Their indexes follow each other and the last one that is stored;
// the first entries of an empty log may have any.
func (l *Log) StoreLogs(entries []*raft.Log) error {
	if len(entries) == 0 {
		return nil
	}
	_, last := l.bounds()
	if last == 0 {
		last = entries[0].Index - 1
	}
	b := l.db.NewBatch()
	var buf []byte
	for _, entry := range entries {
		if last++; entry.Index != last || last == 0 {
			err := fmt.Errorf("raftlog: group %d: store entry %d: must be %d: indexes begin at 1 and have no gap", l.group, entry.Index, last)
			return errors.Join(err, b.Close())
		}
		buf = appendEntry(buf[:0], entry)
		if err := b.Set(l.entryKey(entry.Index), buf, nil); err != nil {
			return errors.Join(err, b.Close())
		}
	}
	if err := l.db.Commit(b, pebble.Sync); err != nil {
		return fmt.Errorf("raftlog: group %d: store entries %d to %d: %w", l.group, entries[0].Index, last, err)
	}
	l.stored(entries[0].Index, last)
	return nil
}

// DeleteRange deletes the entries with indexes in [low, high], one record
// whatever their number. They must reach to an end of the log, so that no gap is
// left; entries that are not there don't matter. See inside for what is left when
// raft empties the log.
func (l *Log) DeleteRange(low, high uint64) error {
	first, last := l.bounds()
	if last == 0 || low > high || high < first || low > last {
		return nil
	}
	if low > first && high < last {
		return fmt.Errorf("raftlog: group %d: delete entries %d to %d of %d to %d: would leave a gap", l.group, low, high, first, last)
	}
	if s, err := l.inside(low, high); err != nil {
		return fmt.Errorf("raftlog: group %d: list snapshots: %w", l.group, err)
	} else if s != nil {
		return l.keepFrom(s)
	}
	b := l.db.NewBatch()
	var end []byte
	if high == math.MaxUint64 {
		_, end = storage.Span(l.group, storage.KindLog)
	} else {
		end = l.entryKey(high + 1)
	}
	if err := b.DeleteRange(l.entryKey(low), end, nil); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := l.db.Commit(b, pebble.Sync); err != nil {
		return fmt.Errorf("raftlog: group %d: delete entries %d to %d: %w", l.group, low, high, err)
	}
	l.deleted(low, high)
	return nil
}

func (l *Log) entryKey(index uint64) []byte {
	key := make([]byte, 0, storage.PrefixBytes+8)
	return binary.BigEndian.AppendUint64(storage.AppendPrefix(key, l.group, storage.KindLog), index)
}

// indexOf is the inverse of entryKey.
func indexOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[storage.PrefixBytes:]) }
