package hold

import (
	"errors"
	"slices"

	"github.com/headgate/headgate/limiter"
)

// unitsMax bounds the units that a record has: as many as a request names.
const unitsMax = 16

// Name notes in what units the request named costs that made the reservation, which Keep
// has opened: those that no leg counts, since the legs say theirs themselves.
func (b *Book) Name(id limiter.Key, units [][]byte) {
	r := b.records[id]
	if r == nil || r.state != open {
		return
	}
	for _, u := range units {
		if len(r.units) < unitsMax && !slices.ContainsFunc(r.legs, func(l Leg) bool { return l.Limit.Unit() == string(u) }) {
			r.units = append(r.units, string(u))
		}
	}
}

// Charged returns what End would end at now: the legs, and the units that Name noted. Neither is
// to be changed. It returns false if End would end nothing.
func (b *Book) Charged(now limiter.Instant, id limiter.Key) (legs []Leg, units []string, ok bool) {
	r := b.find(now, id)
	if r == nil || r.state != open && r.state != expired {
		return nil, nil, false
	}
	return r.legs, r.units, true
}

// appendUnits appends each unit's length, a varint, and its bytes.
func appendUnits(b []byte, units []string) []byte {
	for _, u := range units {
		b = limiter.AppendValue(b, []byte(u))
	}
	return b
}

// decodeUnits reads what appendUnits has appended, to the end of b.
func decodeUnits(b []byte) (units []string, err error) {
	for len(b) > 0 {
		u, rest, ok := cutValue(b)
		if !ok || len(units) == unitsMax {
			return nil, errors.New("units are cut off, or too many")
		}
		units, b = append(units, string(u)), rest
	}
	return units, nil
}
