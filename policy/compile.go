package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/headgate/headgate/limiter"
)

// Options are what a Snapshot needs beside the documents.
type Options struct {
	Hasher  limiter.KeyHasher
	Version uint64 // what Snapshot.Version returns

	// OnUnknownDomain is what Match returns for a domain without a document:
	// UnknownDomainAllow (also if it is zero), UnknownDomainDeny or
	// UnknownDomainError.
	OnUnknownDomain Outcome

	// Prefetch is told of each key as soon as Match knows it, so that a counter
	// table can fetch memory while the match goes on. It must not block or
	// allocate. Nil: nobody is told.
	Prefetch func(limiter.Key, limiter.Partition)
	// PrefetchQuota is told of the keys of quotas in the place of Prefetch, and must
	// not block or allocate either. Nil: Prefetch is told.
	PrefetchQuota func(limiter.Key)

	slotsFrom int // in the place of slotsFrom, for tests; 0: slotsFrom
}

// Compile makes a Snapshot of documents, at most one for each domain. There is
// no Snapshot if there are Problems. Documents that Parse returned without a
// problem compile without one.
func Compile(docs []*Document, opts Options) (*Snapshot, Problems) {
	var rep report
	s := &Snapshot{
		version: opts.Version,
		hasher:  opts.Hasher,
		unknown: cmp.Or(opts.OnUnknownDomain, UnknownDomainAllow),
		domains: make(map[string]*domain, len(docs)),
		origins: map[*limiter.Limit]origin{},
	}
	docs = parsedDocuments(docs, &rep)
	for _, doc := range docs {
		if s.domains[doc.Domain] != nil {
			rep.add(Problem{Position: doc.Pos, Path: "domain", Value: doc.Domain, Message: "the domain has a document already", Expected: "one document for each domain"})
			continue
		}
		b := newBuilder(doc, nil, &rep)
		b.slotsFrom = cmp.Or(opts.slotsFrom, slotsFrom)
		d := b.build()
		d.prefetch = opts.Prefetch
		if slices.ContainsFunc(b.limits, func(l *limiter.Limit) bool { return l.Kind == limiter.KindQuota }) {
			d.prefetchQuota = opts.PrefetchQuota
		}
		s.domains[doc.Domain] = d
		s.limits = append(s.limits, b.limits...)
		for l, o := range b.origins {
			s.origins[l] = o
		}
	}
	s.carriers = newCarriers(docs, &rep)
	if problems := rep.result(); len(problems) > 0 {
		return nil, problems
	}
	s.hash = hashDocuments(docs)
	return s, nil
}

// parsedDocuments checks the documents that Parse has not seen by writing and
// reading them.
func parsedDocuments(docs []*Document, rep *report) []*Document {
	parsed := make([]*Document, 0, len(docs))
	for _, doc := range docs {
		if doc.Pos != (Position{}) {
			parsed = append(parsed, doc)
			continue
		}
		read, problems := Parse([]Source{{Name: "domain " + strconv.Quote(doc.Domain), Text: Marshal(doc)}})
		for _, p := range problems {
			rep.add(p)
		}
		if len(problems) == 0 {
			parsed = append(parsed, read...)
		}
	}
	return parsed
}

// checkDocument reports what is wrong between the rules of a document; the
// rules that are marked broken have been reported.
func checkDocument(doc *Document, broken []bool, rep *report) {
	newBuilder(doc, broken, rep).build()
}

func hashDocuments(docs []*Document) string {
	sorted := slices.SortedFunc(slices.Values(docs), func(a, b *Document) int { return cmp.Compare(a.Domain, b.Domain) })
	h := sha256.New()
	for _, doc := range sorted {
		h.Write([]byte("---\n"))
		h.Write(Marshal(doc))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// A builder compiles one document.
type builder struct {
	doc     *Document
	broken  []bool // by rule; may be nil
	rep     *report
	domain  *domain
	limits  []*limiter.Limit
	origins map[*limiter.Limit]origin

	names     map[string]uint32 // the author's names, numbered from 1
	namedAt   map[string]place  // names that must be distinct
	ids       map[limiter.LimitID]place
	unindexed int // conditions that are tried one by one
	slotsFrom int // how many texts a table of rules has that may have slots
}

// A place is a term of a document.
type place struct{ rule, term int }

func newBuilder(doc *Document, broken []bool, rep *report) *builder {
	return &builder{
		doc: doc, broken: broken, rep: rep,
		domain: &domain{
			name: doc.Domain, mode: doc.Charge, headers: doc.Headers,
			limits: make([]limiter.Limit, 0, countLimits(doc)),
			mores:  make([]ruleMore, 1), lists: make([]byList, 1),
		},
		origins: map[*limiter.Limit]origin{},
		names:   map[string]uint32{},
		namedAt: map[string]place{},
		ids:     map[limiter.LimitID]place{},
	}
}

// build compiles the document and reports what is wrong between its rules.
func (b *builder) build() *domain {
	anyBroken := slices.Contains(b.broken, true)
	for i := range b.doc.Rules {
		if b.isBroken(i) {
			continue
		}
		b.numberNames(i)
		for j := range b.doc.Rules[i].Terms {
			b.domain.replacing = b.domain.replacing || len(b.doc.Rules[i].Terms[j].Replaces) > 0
		}
	}
	b.checkCountDenied()
	tree := newTreeBuilder(b)
	index := newSelectorBuilder(b)
	for i := range b.doc.Rules {
		if b.isBroken(i) {
			continue
		}
		rule := &b.doc.Rules[i]
		terms := b.terms(i, anyBroken)
		if len(rule.Descriptor) > 0 {
			tree.add(i, rule, terms)
		} else {
			index.add(rule, terms)
		}
	}
	b.domain.tree = tree.build()
	b.domain.selectors = index.build()
	b.domain.override = b.overrideLimit()
	b.domain.carriage = b.carriage()
	if b.unindexed > UnindexedMax {
		b.rep.add(Problem{
			Position: b.doc.Pos, Path: "limits", Value: b.doc.Domain,
			Message:  fmt.Sprintf("the domain has %d regular expressions, negations and globs that begin with a wildcard", b.unindexed),
			Expected: fmt.Sprintf("at most %d: every request tries each of them", UnindexedMax),
		})
	}
	return b.domain
}

// checkCountDenied refuses count_denied where it would do nothing: in
// all_or_nothing a denied call leaves nothing behind.
func (b *builder) checkCountDenied() {
	if b.doc.Charge != limiter.AllOrNothing {
		return
	}
	const expected = "`charge: all` beside it: with all_or_nothing a denied call leaves nothing behind"
	if b.doc.CountDenied {
		b.rep.add(Problem{Position: b.doc.Pos, Path: "count_denied", Value: "true", Message: "has no effect", Expected: expected})
	}
	for i := range b.doc.Rules {
		for j, t := range b.doc.Rules[i].Terms {
			if t.CountDenied != nil && *t.CountDenied {
				b.fail(place{i, j}, Problem{Path: ".count_denied", Value: "true", Message: "has no effect", Expected: expected})
			}
		}
	}
}

func (b *builder) isBroken(rule int) bool { return b.broken != nil && b.broken[rule] }

// fail reports a problem of a term, or of a whole rule if it has one term. The
// position is that of the term: Parse, which has the text, finds the key's.
func (b *builder) fail(at place, p Problem) {
	rule := &b.doc.Rules[at.rule]
	p.Position = rule.Pos
	if at.term < len(rule.Terms) {
		p.Position = rule.Terms[at.term].Pos
	}
	p.Path = at.path(rule) + p.Path
	b.rep.add(p)
}

// failRule reports a problem of a rule's selector.
func (b *builder) failRule(rule int, p Problem) {
	p.Position = b.doc.Rules[rule].Pos
	p.Path = place{rule: rule}.path(&LimitRule{}) + p.Path
	b.rep.add(p)
}

// path spells the place of a rule's term.
func (at place) path(rule *LimitRule) string {
	s := "limits[" + strconv.Itoa(at.rule) + "]"
	if len(rule.Terms) > 1 || rule.listed {
		s += ".limits[" + strconv.Itoa(at.term) + "]"
	}
	return s
}

// numberNames gives numbers to the names of a rule's terms, and reports one
// that is taken. Names may be shared by rules with descriptors, as Envoy's may.
func (b *builder) numberNames(i int) {
	rule := &b.doc.Rules[i]
	for j := range rule.Terms {
		name := rule.Terms[j].Name
		if name == "" {
			continue
		}
		if b.names[name] == 0 {
			b.names[name] = uint32(len(b.names) + 1)
			b.namedAt[name] = place{i, j}
			continue
		}
		first := b.namedAt[name]
		if len(rule.Descriptor) == 0 || len(b.doc.Rules[first.rule].Descriptor) == 0 {
			b.fail(place{i, j}, Problem{
				Path: ".name", Value: name,
				Message: "the name is taken by " + first.path(&b.doc.Rules[first.rule]), Expected: "a name of its own",
			})
		}
	}
}

// terms compiles the terms of a rule.
func (b *builder) terms(i int, anyBroken bool) []term {
	rule := &b.doc.Rules[i]
	selector := selectorText(rule)
	terms := make([]term, len(rule.Terms))
	for j := range rule.Terms {
		t, at := &rule.Terms[j], place{i, j}
		spec := b.spec(rule, t, selector)
		if first, ok := b.ids[spec.ID]; ok {
			b.fail(at, Problem{
				Value: spec.Name, Message: "counts the same as " + first.path(&b.doc.Rules[first.rule]),
				Expected: "another selector, kind or span, or a name of its own",
			})
			continue
		}
		b.ids[spec.ID] = at
		terms[j].id = spec.ID
		if b.domain.replacing && (t.Name != "" || len(t.Replaces) > 0) {
			terms[j].names = &termNames{b.names[t.Name], b.replaces(at, t, anyBroken)}
		}
		terms[j].limit = b.limit(spec, at, rule, selector)
		if len(t.Overrides) > 0 {
			terms[j].overrides = b.overrides(spec, at, rule, selector)
		}
	}
	return terms
}

// spec returns the kernel's view of a term.
func (b *builder) spec(rule *LimitRule, t *Term, selector string) limiter.Spec {
	s := limiter.Spec{
		ID: limitID(b.doc.Domain, rule, t), Domain: b.doc.Domain, Name: termName(rule, t, selector),
		Kind: t.Kind, Amount: t.Amount, Period: t.Every, Burst: t.Burst,
		Shadow: t.Shadow, AnyOf: t.AnyOf, CountDenied: b.doc.CountDenied,
		PeekUsed: b.doc.PeekUsed, OnUnavailable: t.OnUnavailable, MaxWait: t.MaxWait, Quota: t.Quota,
	}
	if t.CountDenied != nil {
		s.CountDenied = *t.CountDenied
	}
	if t.Unit != "" || t.EstimateMax != 0 {
		s.Costing = &limiter.CostTerms{Unit: t.Unit, EstimateMax: t.EstimateMax}
	}
	switch t.Kind { //nolint:exhaustive // the others can count it
	case limiter.KindPace, limiter.KindQuota:
		s.CountDenied = false // what is denied takes no turn, and no unit
	}
	return s
}

// countLimits returns how many limits a document makes: with its overrides'
// and the one for requests.
func countLimits(doc *Document) int {
	n := 1
	for i := range doc.Rules {
		for j := range doc.Rules[i].Terms {
			n += 1 + len(doc.Rules[i].Terms[j].Overrides)
		}
	}
	return n
}

// newLimit makes a limit in the domain's array, which does not move, and
// returns it with its index plus 1.
func (b *builder) newLimit(s limiter.Spec) (*limiter.Limit, uint32, error) {
	s.Def = defHash(&s)
	b.domain.limits = append(b.domain.limits, limiter.Limit{})
	n := len(b.domain.limits)
	l := &b.domain.limits[n-1]
	if err := l.Init(s); err != nil {
		return nil, 0, err
	}
	b.limits = append(b.limits, l)
	return l, uint32(n), nil
}

// limit makes a rule's limit and remembers where it comes from.
func (b *builder) limit(s limiter.Spec, at place, rule *LimitRule, selector string) (number uint32) {
	l, number, err := b.newLimit(s)
	if err != nil {
		b.fail(at, Problem{Value: s.Name, Message: err.Error()}) // Parse has said it better
		return 0
	}
	b.origins[l] = origin{rule, selector, at.path(rule)}
	return number
}

// compact returns a rule of terms, conditions and a list of attributes.
func (b *builder) compact(terms []term, checks []check, by uint32) compactRule {
	r, rare := compactRule{by: by}, ruleRare{}
	more := ruleMore{first: check{kind: matchAlways}}
	if len(terms) > 0 {
		r.id, r.limit = terms[0].id, terms[0].limit
		rare.overrides, rare.names, rare.rest = terms[0].overrides, terms[0].names, terms[1:]
	}
	if len(checks) > 0 {
		more.first, rare.checks = checks[0], checks[1:]
	}
	if len(rare.checks) > 0 || rare.overrides != nil || rare.names != nil || len(rare.rest) > 0 {
		more.rare = &rare
	}
	if len(checks) > 0 || more.rare != nil {
		r.more = uint32(len(b.domain.mores))
		b.domain.mores = append(b.domain.mores, more)
	}
	return r
}

// replaces turns names into numbers and reports names that no limit has.
func (b *builder) replaces(at place, t *Term, anyBroken bool) []uint32 {
	var numbers []uint32
	for i, name := range t.Replaces {
		path := ".replaces[" + strconv.Itoa(i) + "]"
		switch {
		case name == t.Name:
			b.fail(at, Problem{Path: path, Value: name, Message: "a limit can't replace itself"})
		case b.names[name] == 0 && !anyBroken: // else it may be a broken rule's name
			known := make([]string, 0, len(b.names))
			for k := range b.names {
				known = append(known, k)
			}
			slices.Sort(known)
			b.fail(at, Problem{Path: path, Value: name, Message: "no limit has this name", Suggestion: closest(name, known)})
		}
		numbers = append(numbers, b.names[name])
	}
	return numbers
}

// overrideLimit makes the limit that stands for those that requests carry. Its
// amount and period are placeholders: each request brings its own.
func (b *builder) overrideLimit() *limiter.Limit {
	s := limiter.Spec{
		ID: overrideID(b.doc.Domain), Domain: b.doc.Domain, Name: "override",
		Kind: limiter.KindFixed, Period: UnitSecond.Duration(),
		CountDenied: b.doc.CountDenied, PeekUsed: b.doc.PeekUsed, Carried: true,
	}
	l, _, err := b.newLimit(s)
	if err != nil {
		b.rep.add(Problem{Position: b.doc.Pos, Path: "domain", Value: b.doc.Domain, Message: err.Error()})
		return nil
	}
	return l
}
