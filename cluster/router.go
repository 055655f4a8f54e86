package cluster

import (
	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// A Router decides calls. Its fields are set before first use.
type Router struct {
	Table  *table.Table
	Quotas *holdings.Holdings
}

// Decide decides c and returns true, or returns false if a quota of it needs units
// that are not here: c.Finish is called when they are, or can't be had. It never
// blocks.
func (r *Router) Decide(now limiter.Instant, c *limiter.Call) (done bool) {
	if holdings.Has(c) {
		return r.Quotas.Decide(now, c)
	}
	return r.Table.Decide(now, c)
}
