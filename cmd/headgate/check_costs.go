package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// unitCosts are the values of --costs: what a call costs in named units. The zero
// value is none.
type unitCosts []*headgatev1.UnitCost

// String, Set and Type make unitCosts a flag value.
func (c *unitCosts) String() string {
	parts := make([]string, 0, len(*c))
	for _, cost := range *c {
		parts = append(parts, fmt.Sprintf("%s=%d", cost.GetUnit(), cost.GetUnits()))
	}
	return strings.Join(parts, ",")
}

// Set adds the costs of one flag: UNIT=N, or several with commas between.
func (c *unitCosts) Set(s string) error {
	for pair := range strings.SplitSeq(s, ",") {
		if err := c.add(pair); err != nil {
			return err
		}
	}
	return nil
}

// Type names the value in help.
func (c *unitCosts) Type() string { return "UNIT=N" }

func (c *unitCosts) add(pair string) error {
	unit, number, ok := strings.Cut(pair, "=")
	switch {
	case !ok || unit == "":
		return fmt.Errorf("%.80q: must be UNIT=N", pair)
	case len(unit) > policy.UnitBytesMax:
		return fmt.Errorf("unit %.80q: %d bytes: must be at most %d", unit, len(unit), policy.UnitBytesMax)
	case slices.ContainsFunc(*c, func(had *headgatev1.UnitCost) bool { return had.GetUnit() == unit }):
		return fmt.Errorf("unit %.80q: must be given once", unit)
	case len(*c) == policy.CostsMax:
		return fmt.Errorf("%d units: must be at most %d", len(*c)+1, policy.CostsMax)
	}
	units, err := strconv.ParseUint(number, 10, 64)
	if err != nil || units > limiter.CostMax {
		return fmt.Errorf("units of %.80q: %.40q: must be 0 to %d", unit, number, uint64(limiter.CostMax))
	}
	*c = append(*c, &headgatev1.UnitCost{Unit: unit, Units: units})
	return nil
}

// anything reports whether the call costs any named unit.
func (c unitCosts) anything() bool {
	return slices.ContainsFunc(c, func(cost *headgatev1.UnitCost) bool { return cost.GetUnits() > 0 })
}

// uncounted returns the units that no limit of the answer counts. Only what was explained says so.
func (c unitCosts) uncounted(answer *headgatev1.ExplainResponse) (units []string) {
	for _, cost := range c {
		if !slices.ContainsFunc(answer.GetDecision().GetLimits(), func(l *headgatev1.LimitResult) bool {
			return l.GetExplanation().GetUnit() == cost.GetUnit()
		}) {
			units = append(units, cost.GetUnit())
		}
	}
	return units
}

// looks reports whether nothing is charged.
func (o *checkOptions) looks() bool { return o.peek || o.cost == 0 && !o.costs.anything() }

// checkRequest says what is wrong with what the flags ask for together. named says that --request-id was given.
func (o *checkOptions) checkRequest(named bool) error {
	switch {
	case o.giveBack && o.peek:
		return errors.New("--peek charges nothing: there is nothing for --give-back to undo")
	case o.giveBack && o.looks():
		return errors.New("--give-back needs a --cost of at least 1, or --costs")
	case o.timeout <= 0:
		return fmt.Errorf("--timeout %v: must be above 0", o.timeout)
	case !named:
		return nil
	case o.requestID == "" || len(o.requestID) > limiter.RequestBytesMax:
		return fmt.Errorf("--request-id: %d bytes: must be 1 to %d", len(o.requestID), limiter.RequestBytesMax)
	case o.looks():
		return errors.New("--request-id: nothing is charged that it could name: leave --peek out, and let --cost or --costs be at least 1")
	}
	return nil
}
