package cluster

import (
	"sync/atomic"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// A Router decides calls. Table is set before first use.
type Router struct {
	Table  *table.Table
	quotas atomic.Pointer[holdings.Holdings]
}

// Serve has quotas charged to h. Until it is called they can't be: every policy
// that a call is matched against has none.
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
	if h := r.quotas.Load(); h != nil && holdings.Has(c) {
		return h.Decide(now, c)
	}
	return r.Table.Decide(now, c)
}

// Keep has units of a quota that were charged to key, in the window that was says, be
// creditable until then.
func (r *Router) Keep(key limiter.Key, was, until limiter.Instant) {
	if h := r.quotas.Load(); h != nil {
		h.Keep(key, was, until)
	}
}

// Refund gives back units of a quota that were charged to key in the window that was
// says, and returns how many were credited.
func (r *Router) Refund(key limiter.Key, was limiter.Instant, units uint64) (credited uint64) {
	if h := r.quotas.Load(); h != nil {
		return h.Refund(key, was, units)
	}
	return 0
}

// Owe records use of the quota of ch that has happened and was denied, and returns how
// much of it.
func (r *Router) Owe(now limiter.Instant, ch *limiter.Charge, units uint64) (recorded uint64) {
	if h := r.quotas.Load(); h != nil {
		return h.Owe(now, ch, units)
	}
	return 0
}
