package decision

import (
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// fieldCosts is the number of the costs in named units in all messages that have them.
const fieldCosts = 8

// cost adds the next UnitCost.
func (d *decoder) cost(b []byte) error {
	var unit []byte
	var units uint64
	n := len(d.r.Costs())
	w := wire.NewReader(b)
	for w.More() {
		num, typ, ok := w.Tag()
		switch {
		case !ok:
		case num == 1 && typ == protowire.BytesType:
			if unit, ok = w.Bytes(); ok && !utf8.Valid(unit) {
				return api.NotText(costPath(n) + ".unit")
			}
		case num == 2 && typ == protowire.VarintType:
			units, ok = w.Varint()
		default:
			ok = w.Skip(num, typ)
		}
		if !ok {
			return api.NotProto(costPath(n))
		}
	}
	if err := checkCost(d.r.Costs(), unit, units); err != nil {
		return err
	}
	d.r.AddCost(unit, units)
	return nil
}

// checkCost checks the cost that follows those before it.
func checkCost(before []policy.UnitCost, unit []byte, units uint64) error {
	n := len(before)
	switch {
	case n == policy.CostsMax:
		return api.TooMany("costs", n+1, policy.CostsMax)
	case len(unit) == 0:
		return &api.Fault{Reason: api.Malformed, Field: costPath(n) + ".unit", Bound: "must not be empty"}
	case len(unit) > policy.UnitBytesMax:
		return api.TooLong(costPath(n)+".unit", len(unit), policy.UnitBytesMax)
	case units > limiter.CostMax:
		return &api.Fault{
			Reason: api.OutOfBounds, Field: costPath(n) + ".units",
			Value: strconv.FormatUint(units, 10), Bound: "at most " + strconv.FormatUint(limiter.CostMax, 10),
		}
	}
	for _, c := range before {
		if string(c.Unit) == string(unit) {
			return &api.Fault{Reason: api.Malformed, Field: costPath(n) + ".unit", Value: api.Quote(unit), Bound: "each unit once"}
		}
	}
	return nil
}

// costPath names cost i.
func costPath(i int) string { return "costs[" + strconv.Itoa(i) + "]" }
