package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/headgate/headgate/limiter"
)

// Parse reads the documents of all sources, in order, and reports everything
// that is wrong with them at once, also what Compile would find. The documents
// are fit for use only if there are no problems.
func Parse(sources []Source) ([]*Document, Problems) {
	var (
		rep     report
		docs    []*Document
		domains = map[string]Position{}
	)
	for _, src := range sources {
		before := len(rep.problems)
		for _, c := range chunks(src.Text) {
			r := &reader{report: &rep, file: src.Name, lines: c.lines}
			docs = r.chunk(c, domains, docs)
		}
		slices.SortStableFunc(rep.problems[before:], func(a, b Problem) int {
			return cmp.Or(a.Line-b.Line, a.Column-b.Column)
		})
	}
	return docs, rep.result()
}

// chunk appends the documents of a part of a file to docs; domains says where
// earlier ones were.
func (r *reader) chunk(c chunk, domains map[string]Position, docs []*Document) []*Document {
	if c.isBlank() {
		return docs
	}
	bodies, bad := parseYAML(c, checkPlain)
	if bad != nil {
		r.add(Problem{
			Position: Position{r.file, c.lines + bad.line, max(1, bad.column)},
			Message:  bad.message, Expected: bad.expected,
		})
		return docs
	}
	for _, body := range bodies {
		doc := r.document(body)
		if doc == nil {
			continue
		}
		if first, ok := domains[doc.Domain]; ok {
			r.add(Problem{
				Position: doc.Pos, Path: "domain", Value: doc.Domain,
				Message: fmt.Sprintf("the domain has a document already, at %s:%d", first.File, first.Line), Expected: "one document for each domain",
			})
			continue
		}
		domains[doc.Domain] = doc.Pos
		docs = append(docs, doc)
	}
	return docs
}

// document reads one document; nil if it has no domain.
func (r *reader) document(body ast.Node) *Document {
	root := &node{value: body}
	fs, ok := r.mapping(root, []string{"domain", "charge", "count_denied", "peek", "limits"})
	if !ok {
		return nil
	}
	doc := &Document{Charge: limiter.AllOrNothing, Pos: r.position(body)}
	var limits *field
	for _, f := range fs {
		switch f.key {
		case "domain":
			doc.Domain, _ = r.text(&f.node)
			doc.Pos = r.position(f.keyNode)
		case "charge":
			if r.choice(&f.node, "all", "all_or_nothing") == 0 {
				doc.Charge = limiter.ChargeAll
			}
		case "count_denied":
			doc.CountDenied = r.boolean(&f.node)
		case "peek":
			doc.PeekUsed = r.choice(&f.node, "next", "used") == 1
		case "limits":
			limits = f
		}
	}
	broken := r.rules(doc, limits)
	if fs.get("domain") == nil {
		r.add(Problem{Position: doc.Pos, Path: "domain", Message: "is missing", Expected: "the name of the domain that the limits are for"})
	}
	if doc.Domain == "" {
		return nil
	}
	before := len(r.problems)
	checkDocument(doc, broken, r.report)
	for i := range r.problems[before:] {
		r.locate(&r.problems[before+i], body)
	}
	return doc
}

// rules reads `limits` into doc and returns which rules have problems. An
// absent or empty list is fine: the domain then exists and limits nothing but
// what requests themselves ask for.
func (r *reader) rules(doc *Document, limits *field) (broken []bool) {
	if limits == nil {
		return nil
	}
	if list, ok := limits.value.(*ast.SequenceNode); ok && len(list.Values) == 0 {
		return nil
	}
	items := r.sequence(&limits.node, RulesMax)
	doc.Rules = make([]LimitRule, len(items))
	broken = make([]bool, len(items))
	for i, item := range items {
		before := len(r.problems) + r.more
		doc.Rules[i] = r.rule(item)
		broken[i] = len(r.problems)+r.more > before
	}
	return broken
}

// ruleKeys are the keys of a rule that are not a limit's own.
func ruleKeys() []string {
	return []string{"when", "by", "descriptor", "limits", "labels", "exempt"}
}

// rule reads one item of `limits`.
func (r *reader) rule(n *node) LimitRule {
	rule := LimitRule{Pos: r.position(n.value)}
	fs, ok := r.mapping(n, nil)
	if !ok {
		return rule
	}
	own := r.selector(fs, &rule)
	exempt, nested := fs.get("exempt"), fs.get("limits")
	switch {
	case rule.Exempt:
		r.exempt(exempt, fs)
	case nested != nil:
		rule.Terms, rule.listed = r.terms(nested, &rule), true
		for _, f := range own {
			r.failKey(f, &flaw{message: "can't stand beside limits", expected: f.key + " in each item of the rule's limits"})
		}
	default:
		rule.Terms = []Term{r.term(n, own, &rule, append(ruleKeys(), termKeys()...))}
		rule.Terms[0].Pos = rule.Pos
	}
	return rule
}

// selector reads the fields that are not a limit's own and returns the others.
func (r *reader) selector(fs fields, rule *LimitRule) (own fields) {
	for _, f := range fs {
		switch f.key {
		case "when":
			rule.When = r.when(&f.node)
		case "by":
			rule.By = r.by(&f.node)
		case "descriptor":
			rule.Descriptor = r.descriptor(&f.node)
		case "labels":
			rule.Labels = r.boolean(&f.node)
		case "exempt":
			rule.Exempt = r.boolean(&f.node)
		case "limits":
		default:
			own = append(own, f)
		}
	}
	if d := fs.get("descriptor"); d != nil && (fs.get("when") != nil || fs.get("by") != nil) {
		r.failKey(d, &flaw{message: "can't stand beside when and by", expected: "two limits: one with descriptor, one with when and by"})
	}
	return own
}

// exempt checks that nothing but a descriptor stands beside `exempt: true`.
func (r *reader) exempt(exempt *field, fs fields) {
	if fs.get("descriptor") == nil {
		r.failKey(exempt, &flaw{message: "needs a descriptor", expected: "descriptor: [ENTRY, …]"})
	}
	for _, f := range fs {
		if f.key != "descriptor" && f.key != "exempt" && f.key != "when" && f.key != "by" {
			r.failKey(f, &flaw{message: "can't stand beside exempt: true"})
		}
	}
}

// terms reads a rule's own list of limits.
func (r *reader) terms(nested *field, rule *LimitRule) []Term {
	items := r.sequence(&nested.node, TermsMax)
	terms := make([]Term, len(items))
	for i, item := range items {
		if fs, ok := r.mapping(item, nil); ok {
			terms[i] = r.term(item, fs, rule, termKeys())
		}
		terms[i].Pos = r.position(item.value)
	}
	return terms
}

// by reads a list of attributes.
func (r *reader) by(n *node) []string {
	var attrs []string
	for _, item := range r.sequence(n, ConditionsMax) {
		attr, ok := r.text(item)
		if !ok {
			continue
		}
		if slices.Contains(attrs, attr) {
			r.fail(item, &flaw{message: "the attribute is listed twice"})
			continue
		}
		attrs = append(attrs, attr)
	}
	return attrs
}

// descriptor reads the entries of Envoy's ordered tree.
func (r *reader) descriptor(n *node) []EntryPattern {
	items := r.sequence(n, DepthMax)
	entries := make([]EntryPattern, 0, len(items))
	for _, item := range items {
		if _, ok := item.value.(*ast.MappingNode); ok {
			entries = append(entries, r.entryMapping(item))
			continue
		}
		text, ok := r.scalar(item)
		if !ok {
			continue
		}
		key, value, hasValue := strings.Cut(text, "=")
		switch {
		case key == "":
			r.fail(item, &flaw{message: "has no key", expected: "KEY or KEY=VALUE"})
		case hasValue && value == "":
			r.fail(item, &flaw{message: "has an empty value", expected: "KEY alone for any value", suggestion: key})
		case len(key) > TextBytesMax || len(value) > TextBytesMax:
			r.fail(item, &flaw{message: "is too long", expected: fmt.Sprintf("a key and a value of at most %d bytes each", TextBytesMax)})
		}
		entries = append(entries, EntryPattern{Key: key, Value: value})
	}
	return entries
}

// entryMapping reads {key: …, value: …, shared: …}.
func (r *reader) entryMapping(n *node) (e EntryPattern) {
	fs, _ := r.mapping(n, []string{"key", "value", "shared"})
	for _, f := range fs {
		switch f.key {
		case "key":
			e.Key, _ = r.text(&f.node)
		case "value":
			e.Value, _ = r.text(&f.node)
		case "shared":
			e.Shared = r.boolean(&f.node)
		}
	}
	if fs.get("key") == nil {
		r.fail(n, &flaw{message: "has no key", expected: "{key: KEY, value: VALUE}"})
	}
	if e.Shared && !strings.Contains(e.Key+e.Value, "*") {
		r.fail(n, &flaw{message: "is shared but has no wildcard", expected: "a value with a *"})
	}
	return e
}
