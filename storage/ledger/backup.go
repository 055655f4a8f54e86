package ledger

import (
	"errors"
	"fmt"
	"io"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
)

// A Summary says what a snapshot has.
type Summary struct {
	Group    storage.Group `json:"group"`
	Applied  uint64        `json:"applied"`  // the index of the last entry that is in it
	Clock    int64         `json:"clock_ms"` // what its leader's clock showed then, in Unix milliseconds
	Tenure   uint64        `json:"tenure"`   // the highest of any partition; 0 if none was seen
	Counters int64         `json:"counters"` // keys and windows with a record
	Requests int64         `json:"requests"` // of exact mode, that are remembered
}

// A tally makes a Summary of records, all of which it reads.
type tally struct {
	head               head
	group              quota.Group
	counters, requests int64
}

func (t *tally) add(key, value []byte) error {
	if err := readRecord(key, value, &t.head, &t.group); err != nil {
		return err
	}
	switch key[0] {
	case recordPool:
		t.counters++
	case recordRequest:
		t.requests++
	case recordBlock:
		return eachInBlock(value, func(*blockItem) error { t.requests++; return nil })
	default:
	}
	return nil
}

func (t *tally) summary(group storage.Group) Summary {
	s := Summary{Group: group, Applied: t.head.applied, Clock: t.group.Clock(), Counters: t.counters, Requests: t.requests}
	for p := range limiter.Partition(limiter.PartitionCount) {
		s.Tenure = max(s.Tenure, t.group.Tenure(p))
	}
	return s
}

// agrees reports whether what a snapshot says of itself is what is in it.
func (t *tally) agrees(h streamHead) error {
	if t.head.applied != h.applied || t.head.requests != t.requests {
		return fmt.Errorf("it says that %d was applied, and its records %d; it has %d requests, and says %d",
			h.applied, t.head.applied, t.requests, t.head.requests)
	}
	return nil
}

// Export writes a snapshot of the state as it is at one moment, for a backup, while
// entries are applied.
func (l *Ledger) Export(to io.Writer) (Summary, error) {
	t, err := l.export(to)
	if err != nil {
		return Summary{}, fmt.Errorf("ledger: group %d: export: %w", l.config.Group, err)
	}
	return t.summary(l.config.Group), nil
}

func (l *Ledger) export(to io.Writer) (*tally, error) {
	if err := l.Err(); err != nil {
		return nil, err
	}
	v, err := l.look()
	if err != nil {
		return nil, err
	}
	t := new(tally)
	err = v.each([]byte{recordHead}, t.add) // what was applied, by this view
	var w *streamWriter
	if err == nil {
		w, err = newStreamWriter(to, streamHead{l.config.Group, t.head.applied})
	}
	if err == nil {
		err = v.each(nil, func(key, value []byte) error { return errors.Join(t.add(key, value), w.add(key, value)) })
	}
	if err == nil {
		err = w.end()
	}
	return t, errors.Join(err, v.close())
}

// Examine reads a snapshot to its end, and fails as Restore would.
func Examine(from io.Reader) (Summary, error) {
	var t tally
	r, h, err := newStreamReader(from)
	if err == nil {
		err = r.each(t.add)
	}
	if err == nil {
		err = t.agrees(h)
	}
	if err != nil {
		return Summary{}, fmt.Errorf("ledger: snapshot: %w", err)
	}
	return t.summary(h.group), nil
}

// Import is Restore for a group whose log begins anew: of the snapshot's entries none
// counts as applied. It is for a ledger that nobody uses yet, and has no entries.
func (l *Ledger) Import(from io.Reader) (Summary, error) {
	t, err := l.restoreFrom(from, true)
	if err != nil {
		return Summary{}, fmt.Errorf("ledger: group %d: import: %w", l.config.Group, err)
	}
	return t.summary(l.config.Group), nil
}
