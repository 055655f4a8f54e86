package ledger

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
)

// A Config says whose ledger it is.
type Config struct {
	// DB is the node's database.
	DB *storage.DB
	// Group is the group, whose entries and no other's are applied.
	Group storage.Group
	// Stopped is told, once and from the goroutine that applies, why the ledger
	// stopped: the node should leave the group. It may be nil.
	Stopped func(error)
	// Grown is told in which pools units became free, or an adjustment left fewer, after the entries that did it
	// were applied and before anybody is answered. Replaced is told that a snapshot
	// has taken the place of all pools: units may be free in any of them. Each may be
	// nil. They are called from the goroutine that applies, and must return soon; the
	// list is not theirs to keep.
	Grown    func([]Growth)
	Replaced func()
}

// A Growth is a pool that has more free units than before, or fewer since an operator
// has lowered the amount.
type Growth struct {
	Key    limiter.Key
	Window quota.Window // of a quota that rolls, those beside it have more too
	Free   uint64       // units that can be granted now
}

// A Ledger is the state of one group.
type Ledger struct {
	config   Config
	work     work // owned by the goroutine in which raft applies
	pools    cache
	recorded recorded

	mu      sync.RWMutex // guards the rest; never held while the disk works
	group   quota.Group
	head    head
	stats   Stats
	state   byte  // which of the two states counts
	known   known // the requests that there are
	stopped error
}

// Open returns the ledger of a group as the database has it, and clears away what
// a crash left of a snapshot that was being restored.
func Open(c Config) (*Ledger, error) {
	l := &Ledger{config: c}
	l.work.init(l)
	if err := errors.Join(l.load(), l.clear(1-l.state)); err != nil {
		return nil, fmt.Errorf("ledger: open group %d: %w", c.Group, err)
	}
	return l, nil
}

// load reads everything but the pools, and of requests which there are.
func (l *Ledger) load() error {
	var state byte
	_, err := l.config.DB.Get(stateKey(l.config.Group), func(value []byte) (err error) {
		state, err = parseStateByte(value)
		return err
	})
	if err != nil {
		return err
	}
	h := head{}
	group := quota.Group{}
	lower := appendState(nil, l.config.Group, state)
	upper := append(appendState(nil, l.config.Group, state), recordPool) // all before the pools
	it, err := l.config.DB.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for valid := it.First(); valid && err == nil; valid = it.Next() {
		err = readRecord(it.Key()[len(lower):], it.Value(), &h, &group)
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return err
	}
	requests, numbers, err := l.requestsOf(state)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.group, l.head, l.state, l.known = group, h, state, requests
	l.work.numbers = numbers
	l.pools.clear()
	l.recorded.clear()
	return nil
}

// requestsOf returns which requests a state has, and where, and what number the next block
// of each due has.
func (l *Ledger) requestsOf(state byte) (k known, numbers map[int64]uint64, err error) {
	numbers = map[int64]uint64{}
	lower := append(appendState(nil, l.config.Group, state), recordRequest)
	_, upper := stateSpan(l.config.Group, state)
	it, err := l.config.DB.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return k, numbers, err
	}
	valid := it.First()
	for ; valid && err == nil && it.Key()[len(lower)-1] == recordRequest; valid = it.Next() {
		var n requestName
		if n, err = parseRequestName(it.Key()[len(lower):]); err == nil {
			k.add(place{hash: n.hash()})
		}
	}
	lower[len(lower)-1] = recordBlock
	for valid = valid && it.SeekGE(lower); valid && err == nil; valid = it.Next() {
		number := parseBlockKey(it.Key())
		numbers[dueOf(number)] = number&sequenceMax + 1 // they come in order
		err = eachInBlock(it.Value(), func(i *blockItem) error {
			k.add(place{i.name.hash(), number})
			return nil
		})
	}
	return k, numbers, errors.Join(err, it.Error(), it.Close())
}

// clear deletes a state that does not count.
func (l *Ledger) clear(state byte) error {
	lower, upper := stateSpan(l.config.Group, state)
	it, err := l.config.DB.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	found := it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil || !found {
		return err
	}
	b := l.config.DB.NewBatch()
	if err := b.DeleteRange(lower, upper, nil); err != nil {
		return errors.Join(err, b.Close())
	}
	return l.config.DB.Commit(b, pebble.NoSync)
}

// Applied returns the index of the last entry that was applied. After a crash raft
// has to apply from there on; see Covers.
func (l *Ledger) Applied() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.head.applied
}

// Time returns the group's time, in Unix milliseconds.
func (l *Ledger) Time() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.group.Time()
}

// Clock returns what the clock of the group's leader showed when it made the last
// entry, in Unix milliseconds; never less than Time.
func (l *Ledger) Clock() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.group.Clock()
}

// Frozen reports whether nothing is granted from a window any more: see quota.OpFreeze.
func (l *Ledger) Frozen(w quota.Window) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.group.Frozen(w)
}

// Tenure returns the highest tenure that was seen of any partition; 0 if none was.
func (l *Ledger) Tenure() (highest uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for p := range limiter.Partition(limiter.PartitionCount) {
		highest = max(highest, l.group.Tenure(p))
	}
	return highest
}

// Err returns why the ledger stopped, or nil.
func (l *Ledger) Err() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.stopped
}

// stop ends the ledger: it can't apply, so it must not go on.
func (l *Ledger) stop(err error) error {
	err = fmt.Errorf("ledger: group %d stopped: %w", l.config.Group, err)
	l.mu.Lock()
	l.stopped = err
	l.mu.Unlock()
	if l.config.Stopped != nil {
		l.config.Stopped(err)
	}
	return err
}
