package decision

import (
	"slices"
	"strconv"
	"strings"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter/hold"
	"github.com/headgate/headgate/policy"
)

// A unitCheck finds a misspelt unit among the costs of a settlement, for which a limit would
// stay charged its estimate. A unit that no limit counts is no mistake by itself: callers may say all that they
// know. It is one if the unit of a limit is not named, and the reservation did not name it either.
type unitCheck struct {
	costs []policy.UnitCost

	// What passes found wrong:
	unit  int      // of the costs
	known []string // units that it could be
}

// passes is the Check of a hold.End.
func (c *unitCheck) passes(legs []hold.Leg, units []string) bool {
	unnamed := func(l hold.Leg) bool { return l.Limit.Unit() != "" && !c.names(l.Limit.Unit()) }
	if !slices.ContainsFunc(legs, unnamed) {
		return true
	}
	for i := range legs {
		if u := legs[i].Limit.Unit(); u != "" && !slices.Contains(c.known, u) {
			c.known = append(c.known, u)
		}
	}
	c.known = append(c.known, units...)
	c.unit = slices.IndexFunc(c.costs, func(cost policy.UnitCost) bool { return !slices.Contains(c.known, string(cost.Unit)) })
	return c.unit < 0
}

func (c *unitCheck) names(unit string) bool {
	return slices.ContainsFunc(c.costs, func(cost policy.UnitCost) bool { return string(cost.Unit) == unit })
}

// fault says what passes found.
func (c *unitCheck) fault() error {
	known := make([]string, len(c.known))
	for i, u := range c.known {
		known[i] = strconv.Quote(u)
	}
	return &api.Fault{
		Reason: api.Malformed, Field: costPath(c.unit) + ".unit", Value: api.Quote(c.costs[c.unit].Unit),
		Bound: "must be a unit of the reservation, which has " + strings.Join(known, ", ") + "; nothing was done, it can still be settled",
	}
}
