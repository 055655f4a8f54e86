package ledger

import (
	"fmt"
	"slices"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// Pool returns the pool of a counter in a window as it is applied here; found is
// false if there is none.
func (l *Ledger) Pool(k limiter.Key, w quota.Window) (p quota.Pool, found bool, err error) {
	found, err = l.readPool(poolName{k, w}, &p)
	if err != nil {
		return quota.Pool{}, false, fmt.Errorf("ledger: group %d: pool of %s: %w", l.config.Group, k.Fingerprint(), err)
	}
	return p, found, nil
}

// Answer returns what c would be answered if it changes nothing: a leader may
// then answer without a log entry. It may be out of date, and then denies what has
// become free since; it never speaks of units that were not granted. ok is false if
// c has to go through the log, as an OpSpend or OpHold has that there are units for. One
// beyond quota.RequestsMax is answered quota.Busy.
func (l *Ledger) Answer(c *quota.Command) (r quota.Result, ok bool, err error) {
	l.mu.RLock()
	code, now, requests := l.group.Refuses(c), l.group.Time(), l.head.requests
	l.mu.RUnlock()
	if code != quota.OK {
		return quota.Result{Code: code}, true, nil
	}
	if c.Op != quota.OpEnsure && !exact(c.Op) {
		return quota.Result{}, false, nil
	}
	p, err := l.poolOf(c)
	if err != nil {
		return quota.Result{}, false, err
	}
	if !exact(c.Op) {
		r, ok = p.Answer(c)
		return r, ok, nil
	}
	if c.Op.Begins() && !looks(c) && c.Cost <= p.Free() && requests < quota.RequestsMax {
		// It will be decided by its entry, which looks the request up. That it was made
		// before is rare, and then costs an entry that changes nothing.
		return quota.Result{}, false, nil
	}
	q, found, err := l.request(requestName{poolName{c.Key, c.Window}, c.Request})
	if err != nil {
		return quota.Result{}, false, fmt.Errorf("ledger: group %d: request of %s: %w", l.config.Group, c.Key.Fingerprint(), err)
	}
	r, ok = p.Foresee(now, c, q)
	if c.Op.Begins() && !ok && !found && requests >= quota.RequestsMax {
		return quota.Result{Code: quota.Busy}, true, nil
	}
	return r, ok, nil
}

// poolOf returns the pool that c is about, with what is beside it.
func (l *Ledger) poolOf(c *quota.Command) (p quota.Pool, err error) {
	if err = l.pool(poolName{c.Key, c.Window}, &p); err == nil {
		p.Beside, err = beside(c, func(n poolName) (uint64, error) {
			var near quota.Pool
			err := l.pool(n, &near)
			return near.Use(), err
		})
	}
	if err != nil {
		err = fmt.Errorf("ledger: group %d: pool of %s: %w", l.config.Group, c.Key.Fingerprint(), err)
	}
	return p, err
}

// pool sets p, whose room it uses, to a pool; the zero Pool if there is none. It is read
// from the database if it was not asked for lately.
func (l *Ledger) pool(n poolName, p *quota.Pool) error {
	writes, ok := l.pools.get(n, p)
	if ok {
		return nil
	}
	if _, err := l.readPool(n, p); err != nil {
		return err
	}
	l.pools.fill(writes, n, p)
	return nil
}

// request returns what is recorded of a request, if anything is.
func (l *Ledger) request(n requestName) (q quota.Request, found bool, err error) {
	return l.find(n, l.places(n))
}

// find is request where it was at these places a moment ago.
func (l *Ledger) find(n requestName, places []place) (q quota.Request, found bool, err error) {
	for len(places) > 0 {
		for _, at := range places {
			if q, found, err = l.readAt(n, at); found || err != nil {
				return q, found, err
			}
		}
		// It was taken out of a block meanwhile, unless another one has its hash. Whoever
		// applies says where it goes before it is there, and forgets where it was after.
		before := places
		if places = l.places(n); slices.Equal(places, before) {
			break
		}
	}
	return q, false, nil
}

// places returns where a request may have its record.
func (l *Ledger) places(n requestName) []place {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.known.of(n.hash())
}

// readAt returns what is recorded of a request at a place, if it is there.
func (l *Ledger) readAt(n requestName, at place) (q quota.Request, found bool, err error) {
	if at.block == 0 {
		return l.readRequest(n)
	}
	_, err = l.readBlock(at.block, func(value []byte) (err error) {
		q, found, err = requestInBlock(value, n)
		return err
	})
	return q, found, err
}

// readBlock calls use with a block; found is false if it is not there.
func (l *Ledger) readBlock(number uint64, use func(value []byte) error) (found bool, err error) {
	return l.config.DB.Get(l.blockKey(number), use)
}

// looks reports whether c only asks.
func looks(c *quota.Command) bool { return c.Op == quota.OpSpend && c.Cost == 0 }

// exact reports whether the operation is one of exact mode.
func exact(o quota.Op) bool { return o >= quota.OpSpend && o <= quota.OpJoin }

// beside returns what the windows around that of c use, as use tells it.
func beside(c *quota.Command, use func(poolName) (uint64, error)) (uint64, error) {
	var failed error
	used := func(w quota.Window) uint64 {
		n, err := use(poolName{c.Key, w})
		if err != nil {
			failed = err
		}
		return n
	}
	return quota.Beside(c.Window, used), failed
}

// key returns the key of a record of the state that counts, to be appended to.
func (l *Ledger) key(kind byte) []byte {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return append(appendState(make([]byte, 0, keyBytesMax), l.config.Group, l.state), kind)
}

func (l *Ledger) readPool(n poolName, p *quota.Pool) (found bool, err error) {
	if l.recorded.absent(n) {
		return false, nil
	}
	return l.config.DB.Get(appendName(l.key(recordPool), n), func(value []byte) error {
		return quota.DecodePool(value, p)
	})
}

func (l *Ledger) readRequest(n requestName) (q quota.Request, found bool, err error) {
	found, err = l.config.DB.Get(appendRequestName(l.key(recordRequest), n), func(value []byte) (err error) {
		q, err = quota.DecodeRequest(value)
		return err
	})
	return q, found, err
}
