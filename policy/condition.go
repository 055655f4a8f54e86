package policy

import (
	"bytes"
	"net/netip"
	"regexp"
	"slices"

	"github.com/gaissmai/bart"
)

// matchAlways is the kind of a check that always holds.
const matchAlways MatchKind = 255

// A check is a condition that is verified on the rules that an index found.
type check struct {
	attr uint32 // interned
	kind MatchKind
	not  bool
	one  []byte     // the value, if MatchExact, MatchPrefix or MatchGlob has just one
	many *checkMany // nil: see one
}

// checkMany is what conditions have that are about more than one text.
type checkMany struct {
	values []string // MatchExact: sorted; MatchPrefix: sorted, none begins with another
	globs  []glob
	nets   *bart.Lite
	regex  *regexp.Regexp
}

// newCheck compiles a matcher that Parse has found fit.
func newCheck(attr uint32, m *Matcher) check {
	c := check{attr: attr, kind: m.Kind, not: m.Not}
	if len(m.Values) == 1 && m.Kind != MatchCIDR && m.Kind != MatchRegex {
		c.one = []byte(m.Values[0])
		return c
	}
	c.many = new(checkMany)
	switch m.Kind {
	case MatchExact:
		c.many.values = slices.Sorted(slices.Values(m.Values))
	case MatchPrefix:
		c.many.values = prefixFree(m.Values)
	case MatchGlob:
		for _, v := range m.Values {
			c.many.globs = append(c.many.globs, glob(v))
		}
	case MatchCIDR:
		c.many.nets = new(bart.Lite)
		for _, v := range m.Values {
			if p, err := netip.ParsePrefix(v); err == nil {
				c.many.nets.Insert(p)
			}
		}
	case MatchRegex:
		c.many.regex, _ = compileRegex(m.Values[0])
	default:
	}
	return c
}

// holds reports whether the condition holds for an attribute that is present
// with value, or absent.
func (c *check) holds(value []byte, present bool) bool {
	return (present && c.matches(value)) != c.not
}

func (c *check) matches(value []byte) bool {
	if c.many != nil {
		return c.many.matches(c.kind, value)
	}
	switch c.kind {
	case MatchExact:
		return bytes.Equal(c.one, value)
	case MatchPrefix:
		return bytes.HasPrefix(value, c.one)
	case MatchGlob:
		return glob(c.one).matches(value)
	default:
		return true // MatchAny
	}
}

func (c *checkMany) matches(kind MatchKind, value []byte) bool {
	switch kind {
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
