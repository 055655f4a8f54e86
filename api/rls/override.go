package rls

import (
	"fmt"
	"strconv"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// An override is a RateLimitOverride as it is read, piece by piece.
type override struct {
	amount        uint32
	unit          int32
	multiplierSet bool
	multiplier    uint64 // of a uint32 field: the low 32 bits count
}

// merge reads the fields of b; those that it doesn't have stay.
func (o *override) merge(b []byte) bool {
	w := wire.NewReader(b)
	for w.More() {
		num, typ, ok := w.Tag()
		var v uint64
		switch {
		case !ok:
			return false
		case num == 1 && typ == protowire.VarintType:
			v, ok = w.Varint()
			o.amount = uint32(v)
		case num == 2 && typ == protowire.VarintType:
			v, ok = w.Varint()
			o.unit = int32(v)
		case num == 3 && typ == protowire.BytesType:
			var m []byte
			if m, ok = w.Bytes(); ok {
				o.multiplierSet = true
				ok = mergeWrapper(m, &o.multiplier)
			}
		default:
			ok = w.Skip(num, typ)
		}
		if !ok {
			return false
		}
	}
	return true
}

// add gives descriptor i, the last one of r, the limit o.
func (o *override) add(r *policy.Request, i int) error {
	unit := requestUnit(o.unit)
	field := path(i) + ".limit"
	if unit == 0 {
		return &api.Fault{
			Reason: api.Malformed, Field: field + ".unit", Value: strconv.Itoa(int(o.unit)),
			Bound: "must be SECOND (1), MINUTE (2), HOUR (3), DAY (4), MONTH (5) or YEAR (6)",
		}
	}
	multiplier := uint32(1)
	if o.multiplierSet {
		multiplier = uint32(o.multiplier)
	}
	most := uint32(limiter.PeriodMax / unit.Duration())
	if multiplier < 1 || multiplier > most {
		return &api.Fault{
			Reason: api.OutOfBounds, Field: field + ".unit_multiplier", Value: strconv.FormatUint(uint64(multiplier), 10),
			Bound: fmt.Sprintf("must be in [1, %d] with this unit", most),
		}
	}
	r.SetOverride(policy.Override{Amount: uint64(o.amount), Unit: unit, Multiplier: multiplier})
	return nil
}

// requestUnit returns the unit of an envoy.type.v3.RateLimitUnit, or 0 if there
// is none. It has no week.
func requestUnit(u int32) policy.Unit {
	switch typev3.RateLimitUnit(u) {
	case typev3.RateLimitUnit_SECOND:
		return policy.UnitSecond
	case typev3.RateLimitUnit_MINUTE:
		return policy.UnitMinute
	case typev3.RateLimitUnit_HOUR:
		return policy.UnitHour
	case typev3.RateLimitUnit_DAY:
		return policy.UnitDay
	case typev3.RateLimitUnit_MONTH:
		return policy.UnitMonth
	case typev3.RateLimitUnit_YEAR:
		return policy.UnitYear
	default:
		return 0
	}
}
