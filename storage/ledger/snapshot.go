package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// restoreBytes is how much of a snapshot is written at once.
const restoreBytes = 1 << 20

// A snapshot is a view of the state that raft may write out while entries are
// applied.
type snapshot struct {
	view *view
	head streamHead
}

// Snapshot returns the state as it is; it copies nothing.
func (l *Ledger) Snapshot() (raft.FSMSnapshot, error) {
	if err := l.Err(); err != nil {
		return nil, err
	}
	v, err := l.look()
	if err != nil {
		return nil, fmt.Errorf("ledger: group %d: snapshot: %w", l.config.Group, err)
	}
	return &snapshot{v, streamHead{l.config.Group, l.Applied()}}, nil
}

// Persist writes the state to sink as a stream, and closes or cancels sink.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.writeTo(sink); err != nil {
		return errors.Join(fmt.Errorf("ledger: group %d: write snapshot: %w", s.head.group, err), sink.Cancel())
	}
	return sink.Close()
}

func (s *snapshot) writeTo(to io.Writer) error {
	w, err := newStreamWriter(to, s.head)
	if err != nil {
		return err
	}
	if err := s.view.each(nil, w.add); err != nil {
		return err
	}
	return w.end()
}

// Release lets the database overwrite what the snapshot showed.
func (s *snapshot) Release() { _ = s.view.close() }

// Covers reports whether the ledger has everything that is in a snapshot of it, of
// which it reads only the beginning. If it has, and only then, raft need not restore
// the snapshot when it starts: what was applied is in the database, but is not
// synced, and a crash may have taken more of it than of the snapshot.
func (l *Ledger) Covers(snapshot io.Reader) (bool, error) {
	_, h, err := newStreamReader(snapshot)
	if err == nil && h.group != l.config.Group {
		err = fmt.Errorf("it is of group %d", h.group)
	}
	if err != nil {
		return false, fmt.Errorf("ledger: group %d: read snapshot: %w", l.config.Group, err)
	}
	return h.applied <= l.Applied(), nil
}

// Restore replaces the state by that of a snapshot, which it reads to the end and
// closes. A snapshot that is damaged, of another group or of a newer version
// changes nothing; after a crash in between, the state is the old one.
func (l *Ledger) Restore(from io.ReadCloser) error {
	err := l.Err()
	if err == nil {
		err = l.restore(from)
	}
	if err := errors.Join(err, from.Close()); err != nil {
		return fmt.Errorf("ledger: group %d: restore snapshot: %w", l.config.Group, err)
	}
	if l.config.Replaced != nil {
		l.config.Replaced()
	}
	return nil
}

func (l *Ledger) restore(from io.Reader) error {
	_, err := l.restoreFrom(from, false)
	return err
}

// restoreFrom replaces the state. Anew, none of its entries counts as applied.
func (l *Ledger) restoreFrom(from io.Reader, anew bool) (*tally, error) {
	r, sh, err := newStreamReader(from)
	if err != nil {
		return nil, err
	}
	if sh.group != l.config.Group {
		return nil, fmt.Errorf("it is of group %d", sh.group)
	}
	next := 1 - l.state
	if err := l.clear(next); err != nil {
		return nil, err
	}
	w := &restorer{ledger: l, anew: anew, prefix: appendState(nil, l.config.Group, next), batch: l.config.DB.NewBatch()}
	err = r.each(w.add)
	if err == nil {
		err = w.tally.agrees(sh)
	}
	if err == nil {
		old, end := stateSpan(l.config.Group, l.state)
		err = errors.Join(w.batch.DeleteRange(old, end, nil), w.batch.Set(stateKey(l.config.Group), []byte{next}, nil))
	}
	if err != nil {
		return nil, errors.Join(err, w.batch.Close())
	}
	if err := l.config.DB.Commit(w.batch, pebble.Sync); err != nil {
		return nil, err
	}
	if err := l.load(); err != nil {
		return nil, l.stop(err) // what is in memory is of the state that is gone
	}
	return &w.tally, nil
}

// A restorer writes the records of a snapshot to the state that does not count.
type restorer struct {
	ledger *Ledger
	anew   bool
	prefix []byte
	batch  *pebble.Batch
	last   []byte
	tally  tally
}

func (w *restorer) add(key, value []byte) error {
	if bytes.Compare(key, w.last) <= 0 {
		return fmt.Errorf("key %x is not above %x", key, w.last)
	}
	if err := w.tally.add(key, value); err != nil {
		return err
	}
	if w.anew && key[0] == recordHead {
		h := w.tally.head
		h.applied = 0
		value = appendHead(nil, h, &w.tally.group)
	}
	w.last = append(w.last[:0], key...)
	full := append(append(make([]byte, 0, keyBytesMax), w.prefix...), key...)
	if err := w.batch.Set(full, value, nil); err != nil {
		return err
	}
	if w.batch.Len() < restoreBytes {
		return nil
	}
	b := w.batch
	w.batch = w.ledger.config.DB.NewBatch()
	return w.ledger.config.DB.Commit(b, pebble.NoSync)
}
