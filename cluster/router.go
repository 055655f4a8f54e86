package cluster

import (
	"sync/atomic"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
	"github.com/headgate/headgate/limiter/table"
)

// A Router decides calls. Table is set before first use.
type Router struct {
	Table  *table.Table
	quotas atomic.Pointer[holdings.Holdings]
}

// Serve has quotas charged to h. Until it is called they can't be, and are denied.
func (r *Router) Serve(h *holdings.Holdings) { r.quotas.Store(h) }

// Quotas returns what Serve was given, or nil.
func (r *Router) Quotas() *holdings.Holdings { return r.quotas.Load() }

// PrefetchQuota is Table.Prefetch for the key of a quota.
func (r *Router) PrefetchQuota(k limiter.Key) {
	if h := r.quotas.Load(); h != nil {
		h.Prefetch(k)
	}
}

// Decide decides c and returns true, or returns false if a quota of it needs units
// that are not here: c.Finish is called when they are, or can't be had. It never
// blocks.
func (r *Router) Decide(now limiter.Instant, c *limiter.Call) (done bool) {
	switch h := r.quotas.Load(); {
	case !holdings.Has(c):
	case h != nil:
		return h.Decide(now, c)
	default:
		holdings.Absent(c)
	}
	return r.Table.Decide(now, c)
}

// Keep has what a quota was charged be creditable until then, and notes in l who was charged.
func (r *Router) Keep(l *hold.Leg, until limiter.Instant) {
	switch h := r.quotas.Load(); {
	case h == nil || l.Former: // what was charged by a process that has ended is creditable anyway
	case l.Exact():
		h.Extend(held(l), until)
	default:
		l.Holder.Tenure, l.Holder.Life = h.Keep(l.Key, l.Was, until)
	}
}

// Refund gives back units of a quota, and returns how many were credited.
func (r *Router) Refund(l *hold.Leg, units uint64) (credited uint64) {
	if h := r.quotas.Load(); h != nil {
		return h.Refund(l.Key, l.Was, units)
	}
	return 0
}

// Settle has an exact quota be charged cost instead of what it was charged, and one that a
// process charged that has ended, if cost is less; see holdings.Settle and holdings.Credit.
func (r *Router) Settle(l *hold.Leg, cost uint64, done func(charged, owed uint64, ok bool)) {
	switch h := r.quotas.Load(); {
	case h == nil:
		done(0, 0, false)
	case l.Former:
		f := holdings.Former{Key: l.Key, Limit: l.Limit, Partition: l.Partition, Was: l.Was, Tenure: l.Holder.Tenure, Life: l.Holder.Life}
		h.Credit(f, l.Units-min(cost, l.Units), func(credited uint64) { done(l.Units-credited, 0, true) })
	default:
		h.Settle(held(l), cost, done)
	}
}

func held(l *hold.Leg) holdings.Held {
	return holdings.Held{Key: l.Key, Limit: l.Limit, Was: l.Was, Request: l.Request}
}

// Owe records use of the quota of ch that has happened and was denied, and returns how
// much of it.
func (r *Router) Owe(now limiter.Instant, ch *limiter.Charge, units uint64) (recorded uint64) {
	if h := r.quotas.Load(); h != nil {
		return h.Owe(now, ch, units)
	}
	return 0
}
