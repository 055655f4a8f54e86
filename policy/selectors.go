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
	rules  []compactRule
}

// A span is a part of an array of indices. A span of one is not looked up: its
// offset is the index itself.
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

// A selectorSource is a rule that is still to be indexed.
type selectorSource struct {
	rule    *LimitRule
	terms   []term
	by      uint32
	options []option
}

// A selectorBuilder collects rules, then chooses how each is indexed.
type selectorBuilder struct {
	*builder
	index   selectors
	sources []selectorSource
	sizes   map[bucket]int // rules that could be in a bucket
	lists   map[string]uint32
}

func newSelectorBuilder(b *builder) *selectorBuilder {
	return &selectorBuilder{builder: b, index: selectors{attrs: map[string]uint32{}}, sizes: map[bucket]int{}, lists: map[string]uint32{}}
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
func (b *selectorBuilder) add(rule *LimitRule, terms []term) {
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
	b.sources = append(b.sources, selectorSource{rule, terms, b.by(rule.By), options})
}

// by interns a list of attributes: rules with the same one share it.
func (b *selectorBuilder) by(names []string) uint32 {
	if len(names) == 0 {
		return 0
	}
	id := flowList(names)
	if n := b.lists[id]; n != 0 {
		return n
	}
	sorted := slices.Sorted(slices.Values(names))
	list := byList{last: slices.Index(sorted, names[len(names)-1])}
	for _, name := range sorted {
		list.attrs = append(list.attrs, b.attr(name))
	}
	b.lists[id] = uint32(len(b.domain.lists))
	b.domain.lists = append(b.domain.lists, list)
	return b.lists[id]
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
	for i := range b.sources {
		options := b.sources[i].options
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
		src := &b.sources[i]
		b.index.rules = append(b.index.rules, b.compact(src.terms, b.checks(src.rule, used), src.by))
	}
	b.fill(groups)
	return b.index
}

// checks returns the conditions that the index of a rule does not imply, where
// used is the one that is indexed.
func (b *selectorBuilder) checks(rule *LimitRule, used int) []check {
	var checks []check
	for i := range rule.When {
		c := &rule.When[i]
		if i != used || c.Matcher.Kind == MatchGlob {
			checks = append(checks, newCheck(b.attr(c.Attr), &c.Matcher))
		}
	}
	return checks
}

// fill turns groups of rules into indexes.
func (b *selectorBuilder) fill(groups map[bucket][]uint32) {
	b.index.byAttr = make([]attrIndex, len(b.index.attrs))
	exact := make([]map[string]compactRule, len(b.index.attrs))
	prefixes := make([]map[string]span, len(b.index.attrs))
	networks := make([]map[string]span, len(b.index.attrs))
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
			r := compactRule{by: s.offset, next: s.n}
			if s.n == 1 {
				r = b.index.rules[s.offset]
			}
			put(exact, at, r)
		case MatchCIDR:
			put(networks, at, s)
		default:
			put(prefixes, at, s)
		}
	}
	for i := range b.index.byAttr {
		b.index.byAttr[i].exact = newTextTable(exact[i])
		b.index.byAttr[i].prefixes = newPrefixTree(prefixes[i])
		b.index.byAttr[i].addNetworks(networks[i])
	}
}

// put sets what a bucket leads to in the map of its attribute.
func put[T any](maps []map[string]T, at bucket, value T) {
	if maps[at.attr] == nil {
		maps[at.attr] = map[string]T{}
	}
	maps[at.attr][at.key] = value
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
