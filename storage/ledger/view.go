package ledger

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
)

// A view is a group's state at one moment.
type view struct {
	group    storage.Group
	snapshot *storage.Snapshot
	state    byte
}

// look returns the state as it is now; close it.
func (l *Ledger) look() (*view, error) {
	snapshot, err := l.config.DB.NewSnapshot()
	if err != nil {
		return nil, err
	}
	v := &view{group: l.config.Group, snapshot: snapshot}
	value, closer, err := v.snapshot.Get(stateKey(v.group))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return v, nil
	case err == nil:
		v.state, err = parseStateByte(value)
		err = errors.Join(err, closer.Close())
	}
	if err != nil {
		return nil, errors.Join(err, v.snapshot.Close())
	}
	return v, nil
}

func (v *view) close() error { return v.snapshot.Close() }

// each calls use with every record whose key begins with prefix, of which key is
// what follows the state's byte. Both are valid until use returns.
func (v *view) each(prefix []byte, use func(key, value []byte) error) error {
	return v.eachFrom(prefix, nil, use)
}

// eachFrom is each from where prefix goes on with from.
func (v *view) eachFrom(prefix, from []byte, use func(key, value []byte) error) error {
	state := appendState(nil, v.group, v.state)
	lower := append(append(appendState(nil, v.group, v.state), prefix...), from...)
	_, upper := stateSpan(v.group, v.state)
	if len(prefix) > 0 {
		upper = append(appendState(nil, v.group, v.state), prefix...)
		upper[len(upper)-1]++ // a prefix ends with the kind of a record
	}
	it, err := v.snapshot.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for valid := it.First(); valid && err == nil; valid = it.Next() {
		err = use(it.Key()[len(state):], it.Value())
	}
	return errors.Join(err, it.Error(), it.Close())
}

// A Counter is one key in one window, and its pool.
type Counter struct {
	Key    limiter.Key
	Window quota.Window
	Pool   quota.Pool
}

// Each calls use with every counter that is not forgotten, as they were at one
// moment, in the order in which their windows will be forgotten, then of key. The
// Counter is used again for the next one. An error of use ends it.
func (l *Ledger) Each(use func(*Counter) error) error { return l.eachFrom(nil, use) }

// EachAfter is Each for those that come after a key in a window, which need not be
// there. The window must be a possible one: 0 ≤ Start < End ≤ quota.TimeMax.
func (l *Ledger) EachAfter(k limiter.Key, w quota.Window, use func(*Counter) error) error {
	return l.eachFrom(append(appendName(nil, poolName{k, w}), 0), use)
}

func (l *Ledger) eachFrom(name []byte, use func(*Counter) error) error {
	v, err := l.look()
	if err == nil {
		var c Counter
		err = v.eachFrom([]byte{recordPool}, name, func(key, value []byte) error {
			n, err := parseName(key[1:])
			if err != nil {
				return err
			}
			c.Key, c.Window = n.key, n.window
			if err := quota.DecodePool(value, &c.Pool); err != nil {
				return fmt.Errorf("pool of %s: %w", c.Key.Fingerprint(), err)
			}
			return use(&c)
		})
		err = errors.Join(err, v.close())
	}
	if err != nil {
		return fmt.Errorf("ledger: group %d: list: %w", l.config.Group, err)
	}
	return nil
}
