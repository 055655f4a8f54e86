package policy

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// regexBytesMax bounds a regular expression.
const regexBytesMax = 512

// when reads a mapping of attributes to matchers.
func (r *reader) when(n *node) []Condition {
	fs, ok := r.mapping(n, nil)
	if !ok {
		return nil
	}
	if len(fs) == 0 || len(fs) > ConditionsMax {
		r.fail(n, &flaw{message: fmt.Sprintf("has %d attributes", len(fs)), expected: fmt.Sprintf("1 to %d", ConditionsMax)})
		return nil
	}
	conditions := make([]Condition, 0, len(fs))
	for _, f := range fs {
		if len(f.key) > TextBytesMax {
			r.failKey(f, &flaw{message: "the attribute is too long", expected: fmt.Sprintf("at most %d bytes", TextBytesMax)})
			continue
		}
		conditions = append(conditions, Condition{f.key, r.matcher(&f.node)})
	}
	return conditions
}

// A matcherReader collects what the long form of a matcher says.
type matcherReader struct {
	*reader
	m Matcher
}

// matcherKeys are the keys of a matcher in its long form.
func matcherKeys() keys[*matcherReader] {
	oneOrMany := func() schema { return formOneOrList(formText(), ValuesMax) }
	return keys[*matcherReader]{
		{
			"exact", "Is exactly this, or one of these, also if it has a *.", oneOrMany,
			func(m *matcherReader, f *field) { m.m = Matcher{Values: m.values(&f.node)} },
		},
		{
			"prefix", "Begins so.", oneOrMany,
			func(m *matcherReader, f *field) { m.m = Matcher{Kind: MatchPrefix, Values: m.values(&f.node)} },
		},
		{
			"glob", "Matches; * is any run of characters.", oneOrMany,
			func(m *matcherReader, f *field) { m.m = m.globMatcher(&f.node) },
		},
		{
			"cidr", "Is an IP address in the network, such as 10.0.0.0/8.", oneOrMany,
			func(m *matcherReader, f *field) { m.m = m.cidrMatcher(&f.node) },
		},
		{
			"regex", "Matches from the first to the last character (RE2).", formText,
			func(m *matcherReader, f *field) { m.m = m.regexMatcher(&f.node) },
		},
		{
			"not", "Does not match, or is not there.", formMatcher,
			func(m *matcherReader, f *field) { m.m = m.negated(&f.node) },
		},
	}
}

// matcher reads a value, a list of values, "*", or {KIND: …}.
func (r *reader) matcher(n *node) Matcher {
	m, isMap := n.value.(*ast.MappingNode)
	if !isMap {
		return r.plainMatcher(n)
	}
	known := r.grammar.matcher.names()
	fs, _ := r.mapping(n, known)
	if len(fs) == 0 && len(m.Values) > 0 {
		return Matcher{} // an unknown key, which is reported
	}
	if len(fs) != 1 {
		r.fail(n, &flaw{message: fmt.Sprintf("has %d of a matcher's keys", len(fs)), expected: "exactly one of " + strings.Join(known, ", ")})
		return Matcher{}
	}
	to := matcherReader{reader: r}
	r.grammar.matcher.find(fs[0].key).read(&to, fs[0])
	return to.m
}

// plainMatcher reads the short forms.
func (r *reader) plainMatcher(n *node) Matcher {
	if s, ok := n.value.(*ast.StringNode); ok && s.Value == "*" {
		return Matcher{Kind: MatchAny}
	}
	m := Matcher{Values: r.values(n)}
	for _, v := range m.Values {
		if strings.Contains(v, "*") {
			r.add(Problem{
				Position: r.position(n.value), Path: n.path(), Value: v,
				Message: "a plain value has no wildcards", Expected: "{glob: …} to match with *, {exact: …} for the character itself",
			})
			break
		}
	}
	return m
}

// values reads one value or a list of distinct values.
func (r *reader) values(n *node) []string {
	items := []*node{n}
	if _, ok := n.value.(*ast.SequenceNode); ok {
		items = r.sequence(n, ValuesMax)
	}
	seen := make(map[string]bool, len(items))
	values := make([]string, 0, len(items))
	for _, item := range items {
		v, ok := r.text(item)
		if !ok {
			continue
		}
		if seen[v] {
			r.fail(item, &flaw{message: "the value is listed twice"})
			continue
		}
		seen[v] = true
		values = append(values, v)
	}
	return values
}

func (r *reader) globMatcher(n *node) Matcher {
	m := Matcher{Kind: MatchGlob, Values: r.values(n)}
	for _, v := range m.Values {
		if !strings.Contains(v, "*") {
			r.add(Problem{Position: r.position(n.value), Path: n.path(), Value: v, Message: "has no wildcard", Expected: "a value with a *, or the value itself without {glob: …}"})
		}
	}
	return m
}

// cidrMatcher reads networks; an address alone is the network of that address.
// They are kept in canonical form.
func (r *reader) cidrMatcher(n *node) Matcher {
	m := Matcher{Kind: MatchCIDR}
	seen := map[netip.Prefix]bool{}
	for _, v := range r.values(n) {
		prefix, ok := parseCIDR(v)
		if !ok {
			r.add(Problem{Position: r.position(n.value), Path: n.path(), Value: v, Message: "not a network", Expected: "ADDRESS/BITS such as 10.0.0.0/8 or 2001:db8::/32"})
			continue
		}
		if !seen[prefix] {
			m.Values = append(m.Values, prefix.String())
		}
		seen[prefix] = true
	}
	return m
}

// parseCIDR reads a network or an address. Host bits are cleared and
// IPv4-mapped addresses are IPv4 ones.
func parseCIDR(s string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if prefix.Addr().Is4In6() {
		if prefix.Bits() < 96 {
			return netip.Prefix{}, false
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), true
}

func (r *reader) regexMatcher(n *node) Matcher {
	text, ok := r.text(n)
	if !ok {
		return Matcher{}
	}
	if len(text) > regexBytesMax {
		r.fail(n, &flaw{message: "is too long", expected: fmt.Sprintf("at most %d bytes", regexBytesMax)})
		return Matcher{}
	}
	if _, err := compileRegex(text); err != nil {
		r.fail(n, &flaw{message: "not a regular expression: " + err.Error(), expected: "RE2 syntax"})
		return Matcher{}
	}
	return Matcher{Kind: MatchRegex, Values: []string{text}}
}

// compileRegex compiles text so that it matches whole values only.
func compileRegex(text string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(text); err != nil {
		return nil, err // before it is wrapped: the message names the author's text
	}
	// A line break must not dodge a `.*`.
	return regexp.Compile(`\A(?s:` + text + `)\z`)
}

// negated reads the matcher inside `not`.
func (r *reader) negated(n *node) Matcher {
	m := r.matcher(n)
	if m.Not {
		r.fail(n, &flaw{message: "negates a negation", expected: "the inner matcher alone"})
	}
	m.Not = true
	return m
}
