package policy

import (
	"net/netip"
	"slices"
	"strings"

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
	present    span        // rules that only need the attribute
	exact      textTable   // rules that need one of these values
	prefixes   prefixTable // rules that need one of these prefixes, or globs that begin so
	ipv4, ipv6 prefixTable // rules that need one of these networks
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
	used    *option // the chosen one; nil: none
}

// oneGlob returns the pattern if the rule is indexed by a condition of just
// one; else it is empty.
func (s *selectorSource) oneGlob() string {
	if s.used == nil || s.used.condition < 0 {
		return ""
	}
	if m := &s.rule.When[s.used.condition].Matcher; m.Kind == MatchGlob && len(m.Values) == 1 {
		return m.Values[0]
	}
	return ""
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
	b.sources = append(b.sources, selectorSource{rule: rule, terms: terms, by: b.by(rule.By), options: options})
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
		src := &b.sources[i]
		bestSize := 0
		for j := range src.options {
			o, size := &src.options[j], 0
			for _, key := range o.keys {
				size = max(size, b.sizes[bucket{o.attr, o.kind, key}])
			}
			if src.used == nil || size < bestSize || size == bestSize && o.kind == MatchExact && src.used.kind != MatchExact {
				src.used, bestSize = o, size
			}
		}
		if src.used == nil {
			b.index.always = append(b.index.always, uint32(i))
			continue
		}
		for _, key := range src.used.keys {
			at := bucket{src.used.attr, src.used.kind, key}
			groups[at] = append(groups[at], uint32(i))
		}
	}
	b.index.rules = make([]compactRule, len(b.sources))
	for i := range b.sources {
		src := &b.sources[i]
		b.index.rules[i] = b.compact(src.terms, b.checks(src, groups), src.by)
	}
	b.fill(groups)
	return b.index
}

// checks returns the conditions that the index of a rule does not imply.
func (b *selectorBuilder) checks(src *selectorSource, groups map[bucket][]uint32) []check {
	var checks []check
	for i := range src.rule.When {
		c := &src.rule.When[i]
		if src.used != nil && i == src.used.condition {
			implied := c.Matcher.Kind != MatchGlob || !slices.ContainsFunc(c.Matcher.Values, func(v string) bool { return !isPrefixGlob(v) })
			// A pattern that is alone with its beginning is in the index.
			if implied || src.oneGlob() != "" && len(groups[bucket{src.used.attr, src.used.kind, src.used.keys[0]}]) == 1 {
				continue
			}
		}
		checks = append(checks, newCheck(b.attr(c.Attr), &c.Matcher))
	}
	return checks
}

// An attrKeys collects what an attrIndex is made of.
type attrKeys struct {
	exact                []textEntry
	prefixes, ipv4, ipv6 []prefixKey
}

// fill turns groups of rules into indexes.
func (b *selectorBuilder) fill(groups map[bucket][]uint32) {
	b.index.byAttr = make([]attrIndex, len(b.index.attrs))
	all := make([]attrKeys, len(b.index.attrs))
	for at, rules := range groups {
		s := span{rules[0], 1}
		if len(rules) > 1 {
			s = span{uint32(len(b.index.found)), uint32(len(rules))}
			b.index.found = append(b.index.found, rules...)
		}
		rule, kind := compactRule{by: s.offset, next: s.n}, manyRules
		if s.n == 1 {
			rule, kind = b.index.rules[s.offset], oneRule
		}
		keys := &all[at.attr]
		switch at.kind {
		case MatchAny:
			b.index.byAttr[at.attr].present = s
		case MatchExact:
			keys.exact = append(keys.exact, textEntry{text: at.key, rule: rule, kind: kind})
		case MatchCIDR:
			keys.addNetwork(at.key, rule, kind)
		default:
			k := prefixKey{value: at.key, length: uint16(len(at.key)), rule: rule, kind: kind}
			if kind == oneRule {
				k.rest = strings.TrimPrefix(b.sources[rules[0]].oneGlob(), at.key)
			}
			keys.prefixes = append(keys.prefixes, k)
		}
	}
	for i := range b.index.byAttr {
		x, keys := &b.index.byAttr[i], &all[i]
		x.exact = newTextTable(keys.exact, b.slotsFrom)
		x.prefixes = newPrefixTable(false, keys.prefixes, b.slotsFrom)
		x.ipv4, x.ipv6 = newPrefixTable(true, keys.ipv4, b.slotsFrom), newPrefixTable(true, keys.ipv6, b.slotsFrom)
	}
}

// addNetwork adds a network in its canonical form.
func (k *attrKeys) addNetwork(text string, rule compactRule, kind recordKind) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return // Parse has refused it
	}
	key := prefixKey{value: string(p.Masked().Addr().AsSlice()), length: uint16(p.Bits()), rule: rule, kind: kind}
	if p.Addr().Is4() {
		k.ipv4 = append(k.ipv4, key)
	} else {
		k.ipv6 = append(k.ipv6, key)
	}
}
