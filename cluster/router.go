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

// Decide decides c and returns true, or returns false if a quota of it needs units
// that are not here: c.Finish is called when they are, or can't be had. It never
// blocks.
func (r *Router) Decide(now limiter.Instant, c *limiter.Call) (done bool) {
	if h := r.quotas.Load(); h != nil && holdings.Has(c) {
		return h.Decide(now, c)
	}
	return r.Table.Decide(now, c)
}
