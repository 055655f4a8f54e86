package policy

import (
	"net/netip"

	"github.com/gaissmai/bart"

	"github.com/headgate/headgate/limiter"
)

// overrides finds the limit that named values have instead of a term's own.
type overrides struct {
	limits   []uint32          // of the domain, plus 1
	exact    map[string]uint32 // to limits
	networks *bart.Table[uint32]
	prefixes prefixTable // a rule's limit is an index to limits
	globs    []globOverride
}

type globOverride struct {
	glob  glob
	limit uint32
}

// find returns the most specific limit for value: its index in the domain plus
// 1, or 0.
func (o *overrides) find(value []byte) uint32 {
	if i, ok := o.exact[string(value)]; ok {
		return o.limits[i]
	}
	if o.networks != nil {
		if addr, ok := parseAddress(value); ok {
			if i, ok := o.networks.Lookup(addr); ok {
				return o.limits[i]
			}
		}
	}
	walk := o.prefixes.walk(value)
	if i := walk.next(); i >= 0 {
		var room compactRule
		r, _ := o.prefixes.table.rule(i, &room)
		return o.limits[r.limit]
	}
	for i := range o.globs {
		if o.globs[i].glob.matches(value) {
			return o.limits[o.globs[i].limit]
		}
	}
	return 0
}

// overrides compiles the overrides of the term at a place, whose own limit is s.
func (b *builder) overrides(s limiter.Spec, at place, rule *LimitRule, selector string) *overrides {
	o := &overrides{exact: map[string]uint32{}}
	var prefixes []prefixKey
	addPrefix := func(text string, limit uint32) {
		prefixes = append(prefixes, prefixKey{value: text, length: uint16(len(text)), rule: compactRule{limit: limit}})
	}
	own := rule.Terms[at.term].Overrides
	for i := range own {
		v := &own[i]
		s.Amount, s.Burst = v.Amount, v.Burst
		if v.Unlimited {
			s.Kind, s.Amount, s.Burst, s.Period, s.MaxWait, s.Quota = limiter.KindUnlimited, 0, 0, 0, 0, nil
		} else {
			t := &rule.Terms[at.term]
			s.Kind, s.Period, s.MaxWait, s.Quota = t.Kind, t.Every, t.MaxWait, t.Quota
		}
		n := uint32(len(o.limits))
		o.limits = append(o.limits, b.limit(s, at, rule, selector))
		for _, value := range v.Values.Values {
			switch {
			case v.Values.Kind == MatchExact:
				o.exact[value] = n
			case v.Values.Kind == MatchCIDR:
				o.addNetwork(value, n)
			case v.Values.Kind == MatchPrefix:
				addPrefix(value, n)
			case isPrefixGlob(value) && value != "*":
				addPrefix(literalPrefix(value), n)
			default:
				b.unindexed++
				o.globs = append(o.globs, globOverride{glob(value), n})
			}
		}
	}
	o.prefixes = newPrefixTable(false, prefixes, noSlots)
	return o
}

func (o *overrides) addNetwork(text string, limit uint32) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return // Parse keeps networks in canonical form
	}
	if o.networks == nil {
		o.networks = new(bart.Table[uint32])
	}
	o.networks.Insert(prefix, limit)
}
