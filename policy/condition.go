package policy

import (
	"net/netip"
	"regexp"
	"slices"

	"github.com/gaissmai/bart"
)

// A check is a condition that is verified on the rules that an index found.
type check struct {
	attr   uint32 // interned
	kind   MatchKind
	not    bool
	values []string // MatchExact: sorted; MatchPrefix: sorted, none begins with another
	globs  []glob
	nets   *bart.Lite
	regex  *regexp.Regexp
}

// newCheck compiles a matcher that Parse has found fit.
func newCheck(attr uint32, m *Matcher) check {
	c := check{attr: attr, kind: m.Kind, not: m.Not}
	switch m.Kind {
	case MatchExact:
		c.values = slices.Sorted(slices.Values(m.Values))
	case MatchPrefix:
		c.values = prefixFree(m.Values)
	case MatchGlob:
		for _, v := range m.Values {
			c.globs = append(c.globs, newGlob(v))
		}
	case MatchCIDR:
		c.nets = new(bart.Lite)
		for _, v := range m.Values {
			if p, err := netip.ParsePrefix(v); err == nil {
				c.nets.Insert(p)
			}
		}
	case MatchRegex:
		c.regex, _ = compileRegex(m.Values[0])
	case MatchAny:
	}
	return c
}

// holds reports whether the condition holds for an attribute that is present
// with value, or absent.
func (c *check) holds(value []byte, present bool) bool {
	return (present && c.matches(value)) != c.not
}

func (c *check) matches(value []byte) bool {
	switch c.kind {
	case MatchExact:
		i := lastNotAfter(c.values, value)
		return i >= 0 && c.values[i] == string(value)
	case MatchPrefix:
		// No prefix begins with another, so one that value begins with is the
		// last that is not after it.
		i := lastNotAfter(c.values, value)
		return i >= 0 && len(c.values[i]) <= len(value) && c.values[i] == string(value[:len(c.values[i])])
	case MatchGlob:
		for _, g := range c.globs {
			if g.matches(value) {
				return true
			}
		}
		return false
	case MatchCIDR:
		addr, ok := parseAddress(value)
		return ok && c.nets.Contains(addr)
	case MatchRegex:
		return c.regex != nil && c.regex.Match(value)
	default:
		return true // MatchAny
	}
}

// lastNotAfter returns the index of the last of the sorted strings that is not
// after value, or −1.
func lastNotAfter(sorted []string, value []byte) int {
	low, high := 0, len(sorted)
	for low < high {
		middle := (low + high) / 2
		if sorted[middle] <= string(value) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low - 1
}
