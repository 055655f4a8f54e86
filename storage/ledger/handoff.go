package ledger

import (
	"sync"

	"github.com/headgate/headgate/limiter/quota"
)

// A handoff has the pools that a leader read to see whether commands need an entry. The
// entry that they become is applied next, as a rule, and needs not read them again: half
// of what a first grant of a new key costs are such reads.
type handoff struct {
	mu      sync.Mutex // guards what follows
	applied uint64     // the index that was applied when the pools were read
	pools   map[poolName]quota.Pool
}

// handoffMax bounds the pools that are kept: those of one entry.
const handoffMax = quota.CommandsMax

// put keeps a pool that was read when applied was the last index that counted, whether
// or not the database had more by then: whoever takes it sees to that. The pool is
// the handoff's then.
func (h *handoff) put(applied uint64, n poolName, p quota.Pool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pools == nil || h.applied != applied {
		h.applied, h.pools = applied, map[poolName]quota.Pool{}
	}
	if len(h.pools) < handoffMax {
		h.pools[n] = p
	}
}

// take returns a pool as it is if applied still is the last index that counts and
// nothing beyond it is written: what was read before or since is the same then. It is
// the caller's.
func (h *handoff) take(applied uint64, n poolName) (p quota.Pool, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.applied != applied {
		return quota.Pool{}, false
	}
	p, ok = h.pools[n]
	delete(h.pools, n)
	return p, ok
}

// clear forgets all of them.
func (h *handoff) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pools = nil
}
