package policy

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// selectors finds the rules with when and by that a descriptor may fulfil.
// Every rule is indexed by one of its conditions, the one that the fewest rules
// share; what an index finds is then verified. So the cost of a match depends
// on how many rules fit a value, not on how many there are.
type selectors struct {
	attrs  map[string]uint32 // attributes that any rule names → index to byAttr
	byAttr []attrIndex
	found  []uint32 // what the spans of the indexes point into: indices to rules
	always []uint32 // rules without a condition that can be indexed
	rules  []selectorRule
}

// A span is a part of an array of indices. In an index of rules, a span of one
// is not looked up: its offset is the index itself.
type span struct{ offset, n uint32 }

// An attrIndex finds rules by the value of one attribute.
type attrIndex struct {
	present  span       // rules that only need the attribute
	exact    textTable  // rules that need one of these values
	prefixes prefixTree // rules that need one of these prefixes
	networks *bart.Table[uint32]
	// nested are the networks' rules; the table finds the longest network, each
	// knows the next shorter one around it.
	nested []network
}

type network struct {
	span
	outer int32 // index to nested; −1: none
}

// A selectorRule is a rule as matching needs it: one cache line.
type selectorRule struct {
	terms  terms
	by     *byList  // nil: none
	checks *[]check // nil: the index implies all conditions
}

// A byList is the `by` of one or more rules.
type byList struct {
	attrs []uint32 // in alphabetical order of their names
	last  int      // index to attrs of the attribute that overrides are about
}

// An option is a way to index a rule: by buckets of one attribute.
type option struct {
	condition int // index to When; −1: a `by` attribute
	attr      uint32
	kind      MatchKind // MatchAny: by presence
	keys      []string
}

// A bucket is one place of an index.
type bucket struct {
	attr uint32
	kind MatchKind
	key  string
}

// A selectorBuilder collects rules, then chooses how each is indexed.
type selectorBuilder struct {
	*builder
	index   selectors
	options [][]option // by rule
	sources []*LimitRule
	sizes   map[bucket]int // rules that could be in a bucket
	lists   map[string]*byList
}

func newSelectorBuilder(b *builder) *selectorBuilder {
	return &selectorBuilder{builder: b, index: selectors{attrs: map[string]uint32{}}, sizes: map[bucket]int{}, lists: map[string]*byList{}}
}

// attr interns an attribute.
func (b *selectorBuilder) attr(name string) uint32 {
	if i, ok := b.index.attrs[name]; ok {
		return i
	}
	i := uint32(len(b.index.attrs))
	b.index.attrs[name] = i
	return i
}

// add adds a rule, whose terms are compiled.
func (b *selectorBuilder) add(rule *LimitRule, terms terms) {
	r := selectorRule{terms: terms, by: b.by(rule.By)}
	var options []option
	for i := range rule.When {
		c := &rule.When[i]
		attr := b.attr(c.Attr)
		if keys, ok := b.indexKeys(&c.Matcher); ok {
			kind := c.Matcher.Kind
			if kind == MatchGlob {
				kind = MatchPrefix // what its match begins with
			}
			options = append(options, option{i, attr, kind, keys})
		}
	}
	for _, name := range rule.By {
		options = append(options, option{-1, b.attr(name), MatchAny, []string{""}})
	}
	for _, o := range options {
		for _, key := range o.keys {
			b.sizes[bucket{o.attr, o.kind, key}]++
		}
	}
	b.index.rules = append(b.index.rules, r)
	b.options = append(b.options, options)
	b.sources = append(b.sources, rule)
}

// by interns a list of attributes: rules with the same one share it.
func (b *selectorBuilder) by(names []string) *byList {
	if len(names) == 0 {
		return nil
	}
	id := flowList(names)
	if list := b.lists[id]; list != nil {
		return list
	}
	list := new(byList)
	sorted := slices.Sorted(slices.Values(names))
	for _, name := range sorted {
		list.attrs = append(list.attrs, b.attr(name))
	}
	list.last = slices.Index(sorted, names[len(names)-1])
	b.lists[id] = list
	return list
}

// indexKeys returns the buckets that a rule with this condition is in, none
// inside another, so that a value leads to a rule once; ok is false if the
// condition must be tried by every request.
func (b *selectorBuilder) indexKeys(m *Matcher) (keys []string, ok bool) {
	if m.Not || m.Kind == MatchRegex {
		b.unindexed++
		return nil, false
	}
	switch m.Kind {
	case MatchAny:
		return []string{""}, true
	case MatchPrefix:
		return prefixFree(m.Values), true
	case MatchCIDR:
		return outermost(m.Values), true
	case MatchGlob:
		for _, v := range m.Values {
			keys = append(keys, literalPrefix(v))
			if literalPrefix(v) == "" && v != "*" {
				b.unindexed++
				return nil, false
			}
		}
		return prefixFree(keys), true
	default:
		return m.Values, true
	}
}

// outermost drops the networks that are inside others.
func outermost(networks []string) []string {
	var table bart.Lite
	for _, text := range networks {
		if p, err := netip.ParsePrefix(text); err == nil {
			table.Insert(p)
		}
	}
	var outer []string
	for _, text := range networks {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		if p.Bits() == 0 {
			outer = append(outer, text)
			continue
		}
		around := netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
		if !table.LookupPrefix(around) {
			outer = append(outer, text)
		}
	}
	return outer
}

// build chooses the best option of each rule and makes the indexes.
func (b *selectorBuilder) build() selectors {
	groups := map[bucket][]uint32{}
	for i, options := range b.options {
		best, bestSize := -1, 0
		for j, o := range options {
			size := 0
			for _, key := range o.keys {
				size = max(size, b.sizes[bucket{o.attr, o.kind, key}])
			}
			if best < 0 || size < bestSize || size == bestSize && o.kind == MatchExact && options[best].kind != MatchExact {
				best, bestSize = j, size
			}
		}
		rule, used := uint32(i), -1
		if best < 0 {
			b.index.always = append(b.index.always, rule)
		} else {
			o := options[best]
			used = o.condition
			for _, key := range o.keys {
				at := bucket{o.attr, o.kind, key}
				groups[at] = append(groups[at], rule)
			}
		}
		b.checks(i, used)
	}
	b.fill(groups)
	return b.index
}

// checks sets the conditions of rule i that its index does not imply.
func (b *selectorBuilder) checks(i, used int) {
	rule := b.sources[i]
	var checks []check
	for j := range rule.When {
		c := &rule.When[j]
		if j == used && c.Matcher.Kind != MatchGlob {
			continue
		}
		checks = append(checks, newCheck(b.attr(c.Attr), &c.Matcher))
	}
	if len(checks) > 0 {
		b.index.rules[i].checks = &checks
	}
}

// fill turns groups of rules into indexes.
func (b *selectorBuilder) fill(groups map[bucket][]uint32) {
	b.index.byAttr = make([]attrIndex, len(b.index.attrs))
	exact := make([]map[string]span, len(b.index.attrs))
	prefixes := make([]map[string]span, len(b.index.attrs))
	networks := make([]map[string]span, len(b.index.attrs))
	put := func(m *map[string]span, key string, s span) {
		if *m == nil {
			*m = map[string]span{}
		}
		(*m)[key] = s
	}
	for at, rules := range groups {
		s := span{rules[0], 1}
		if len(rules) > 1 {
			s = span{uint32(len(b.index.found)), uint32(len(rules))}
			b.index.found = append(b.index.found, rules...)
		}
		switch at.kind {
		case MatchAny:
			b.index.byAttr[at.attr].present = s
		case MatchExact:
			put(&exact[at.attr], at.key, s)
		case MatchCIDR:
			put(&networks[at.attr], at.key, s)
		default:
			put(&prefixes[at.attr], at.key, s)
		}
	}
	for i := range b.index.byAttr {
		b.index.byAttr[i].exact = newTextTable(exact[i])
		b.index.byAttr[i].prefixes = newPrefixTree(prefixes[i])
		b.index.byAttr[i].addNetworks(networks[i])
	}
}

// addNetworks indexes networks, each with the next shorter one around it.
func (x *attrIndex) addNetworks(spans map[string]span) {
	if len(spans) == 0 {
		return
	}
	type entry struct {
		prefix netip.Prefix
		span   span
	}
	entries := make([]entry, 0, len(spans))
	for text, s := range spans {
		if p, err := netip.ParsePrefix(text); err == nil {
			entries = append(entries, entry{p, s})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.prefix.Bits() - b.prefix.Bits() })
	x.networks = new(bart.Table[uint32])
	for _, e := range entries {
		n := network{e.span, -1}
		if outer, ok := x.networks.LookupPrefix(e.prefix); ok {
			n.outer = int32(outer)
		}
		x.networks.Insert(e.prefix, uint32(len(x.nested)))
		x.nested = append(x.nested, n)
	}
}
