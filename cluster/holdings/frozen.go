package holdings

import (
	"sync/atomic"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// Of what had begun when a backup was restored the ledger grants nothing any more. It
// freezes all windows of a group by their start, and never thaws one, so one answer says it
// of every counter of the group. What is denied for it is denied until the window ends, and
// is not asked for.

// frozen has, for each group, when the first window begins that is not known to be frozen, in
// Unix seconds; 0: none is.
type frozen [quota.Groups]atomic.Int64

// learn notes that the ledger has refused c since its window is frozen.
func (f *frozen) learn(c *quota.Command) {
	from, group := c.Window.First()+1, &f[quota.GroupOf(c.Key)]
	for seen := group.Load(); from > seen && !group.CompareAndSwap(seen, from); {
		seen = group.Load()
	}
}

// has reports whether nothing is granted any more of key in window w.
func (f *frozen) has(key limiter.Key, w quota.Window) bool {
	return w.First() < f[quota.GroupOf(key)].Load()
}

// isFrozen reports whether k is granted nothing any more.
func (h *Holdings) isFrozen(k *counter) bool { return h.frozen.has(k.key, k.plan.pool(k.start)) }

// freeze denies ch until the window ends: nothing is granted of it any more.
func (k *counter) freeze(ch *limiter.Charge, now limiter.Instant) {
	k.deny(ch, now)
	ch.Decision.Remaining, ch.Decision.ResetAfter = min(k.holding.Balance(), k.plan.terms.Limit), k.ends(now)
}

// knownFrozen denies charge i of c, of an exact quota, if its window is known to be frozen. A
// give-back is about an earlier charge.
func (h *Holdings) knownFrozen(now limiter.Instant, c *limiter.Call, i int, p *plan) bool {
	ch, w := &c.Charges()[i], p.at(now)
	if ch.Op == limiter.OpGiveBack || !h.frozen.has(ch.Key, p.pool(w.Start)) {
		return false
	}
	freezeExact(now, c, i, p, w.End)
	return true
}

// freezeExact denies charge i of c, of an exact quota whose window is frozen and ends at
// ends. Under an id it may have been charged before that: so it says that it does not know.
// Behind an arbiter it was charged if that was.
func freezeExact(now limiter.Instant, c *limiter.Call, i int, p *plan, ends int64) {
	ch := &c.Charges()[i]
	k := counter{plan: p, end: ends}
	k.freeze(ch, now)
	if a := arbiter(c); charges(c, i) && named(c) && (a < 0 || a == i) {
		ch.Decision.Degraded = limiter.Unavailable
	}
}
