package ledger

import (
	"sync"

	"github.com/headgate/headgate/limiter/quota"
)

// cachedMax bounds the pools of a group that are kept in memory: up to half a kilobyte each.
const cachedMax = 8192

// A cache has pools as the database has them, those that were asked for last, so that a
// counter in use is not read again: neither for an answer, nor for the entry that its
// command becomes. It has those that there is no record of, too. The zero cache is empty.
//
// Who applies entries says what they changed when it is written, before anybody is told
// of it. Whatever is read from the database beside is kept only if nothing was written
// meanwhile.
type cache struct {
	mu         sync.Mutex // guards what follows
	writes     uint64     // how often something was written
	young, old map[poolName]*quota.Pool
}

// get sets p, whose room it uses, to the pool if it is here. Otherwise writes is what
// fill is to be told when it was read.
func (c *cache) get(n poolName, p *quota.Pool) (writes uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept, ok := c.young[n]
	if !ok {
		if kept, ok = c.old[n]; !ok {
			return c.writes, false
		}
		delete(c.old, n)
		c.add(n, kept)
	}
	copyPool(p, kept)
	return c.writes, true
}

// fill keeps a pool that was read after get had said how much was written.
func (c *cache) fill(writes uint64, n poolName, p *quota.Pool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if writes == c.writes {
		c.put(n, p)
	}
}

// wrote keeps the pools that entries have changed. Those that they only read are here
// already, or gone since for want of room.
func (c *cache) wrote(pools map[poolName]*heldPool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	for n, p := range pools {
		if p.changed {
			c.put(n, &p.pool)
		}
	}
}

// clear forgets all of them: they were replaced, or deleted.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	c.young, c.old = nil, nil
}

func (c *cache) put(n poolName, p *quota.Pool) {
	kept, ok := c.young[n]
	if !ok {
		if kept, ok = c.old[n]; ok {
			delete(c.old, n)
		} else {
			kept = &quota.Pool{}
		}
		c.add(n, kept)
	}
	copyPool(kept, p)
}

// add adds what is not here, and forgets what was not asked for since half of the room
// was filled.
func (c *cache) add(n poolName, p *quota.Pool) {
	if len(c.young) >= cachedMax/2 {
		c.young, c.old = nil, c.young
	}
	if c.young == nil {
		c.young = make(map[poolName]*quota.Pool)
	}
	c.young[n] = p
}

// copyPool sets to, whose room it uses, to what from is.
func copyPool(to, from *quota.Pool) {
	shares := to.Shares[:0]
	shares = append(shares, from.Shares...)
	*to = *from
	to.Shares, to.Beside = shares, 0
}
