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
		g       = newGrammar()
	)
	for _, src := range sources {
		before := len(rep.problems)
		for _, c := range chunks(src.Text) {
			r := &reader{report: &rep, grammar: g, file: src.Name, lines: c.lines}
			docs = r.chunk(c, domains, docs)
		}
		slices.SortStableFunc(rep.problems[before:], func(a, b Problem) int {
			return cmp.Or(a.Line-b.Line, a.Column-b.Column)
		})
	}
	newCarriers(docs, &rep)
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

// A documentReader collects the fields of a document.
type documentReader struct {
	*reader
	doc    *Document
	limits *field
}

// documentKeys are the keys of a document.
func documentKeys() keys[*documentReader] {
	return keys[*documentReader]{
		{"domain", "The namespace that requests name. One document for each.", formText, func(d *documentReader, f *field) {
			d.doc.Domain, _ = d.text(&f.node)
			d.doc.Pos = d.position(f.keyNode)
		}},
		wordKey("charge", "What happens to the other charges of a request when an enforced limit denies it: nothing stays charged (all_or_nothing, the default), or each limit is charged on its own.",
			[]string{"all", "all_or_nothing"}, func(d *documentReader, i int) {
				if i == 0 {
					d.doc.Charge = limiter.ChargeAll
				}
			}),
		flagKey("count_denied", "Whether a denied charge still uses what it can, for limits that do not say. Only with charge: all.",
			func(d *documentReader, b bool) { d.doc.CountDenied = b }),
		wordKey("peek", "When a peek (cost 0) passes: if a cost of 1 would (next, the default), or if what is used is at most the amount.",
			[]string{"next", "used"}, func(d *documentReader, i int) { d.doc.PeekUsed = i == 1 }),
		{
			"headers", "Which families of response headers answers carry: none, or a list. Left out: each door's default.", formHeaders,
			func(d *documentReader, f *field) { d.doc.Headers = d.headers(&f.node) },
		},
		{
			"gubernator", "The limits that this domain takes from clients of Gubernator, who send them with each request, and how large they may be.",
			func() schema { return formRef(defGubernator) },
			func(d *documentReader, f *field) { d.doc.Gubernator = d.gubernator(f) },
		},
		{"limits", "The rules: whom each is for, and what it allows.", func() schema {
			return schema{"type": []string{"array", "null"}, "items": formRef(defRule), "maxItems": RulesMax}
		}, func(d *documentReader, f *field) { d.limits = f }},
	}
}

// document reads one document; nil if it has no domain.
func (r *reader) document(body ast.Node) *Document {
	root := &node{value: body}
	fs, ok := r.mapping(root, r.grammar.document.names())
	if !ok {
		return nil
	}
	d := documentReader{reader: r, doc: &Document{Charge: limiter.AllOrNothing, Pos: r.position(body)}}
	for _, f := range fs {
		r.grammar.document.find(f.key).read(&d, f)
	}
	doc := d.doc
	broken := r.rules(doc, d.limits)
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

// A ruleReader collects what a rule says beside its limits.
type ruleReader struct {
	*reader
	rule *LimitRule
}

// ruleKeys are the keys of a rule that are not a limit's own.
func ruleKeys() keys[*ruleReader] {
	return keys[*ruleReader]{
		{
			"when", "Conditions on attributes, all of which must hold.", formWhen,
			func(r *ruleReader, f *field) { r.rule.When = r.when(&f.node) },
		},
		{
			"by", "Attributes: one counter for each combination of their values.", func() schema { return formList(formText(), ConditionsMax) },
			func(r *ruleReader, f *field) { r.rule.By = r.by(&f.node) },
		},
		{
			"descriptor", "Envoy's ordered tree: exactly these entries, in this order. KEY=VALUE, KEY alone for any value, or {key: KEY, value: VALUE, shared: true}.",
			func() schema { return formList(schema{"anyOf": []schema{formScalar(), formRef(defEntry)}}, DepthMax) },
			func(r *ruleReader, f *field) { r.rule.Descriptor = r.descriptor(&f.node) },
		},
		{
			"limits", "Several limits for one selector, instead of one beside it.", func() schema { return formList(formRef(defTerm), TermsMax) },
			func(*ruleReader, *field) {},
		}, // rule reads it when it has the selector
		flagKey("labels", "Keep the matched values as text; otherwise only a keyed hash of them is stored.",
			func(r *ruleReader, b bool) { r.rule.Labels = b }),
		flagKey("exempt", "A descriptor that ends here owes nothing. Only with descriptor.",
			func(r *ruleReader, b bool) { r.rule.Exempt = b }),
	}
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
		rule.Terms = []Term{r.term(n, own, &rule, r.grammar.ruleNames)}
		rule.Terms[0].Pos = rule.Pos
	}
	return rule
}

// selector reads the fields that are not a limit's own and returns the others.
func (r *reader) selector(fs fields, rule *LimitRule) (own fields) {
	to := ruleReader{r, rule}
	for _, f := range fs {
		if k := r.grammar.rule.find(f.key); k != nil {
			k.read(&to, f)
		} else {
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
			terms[i] = r.term(item, fs, rule, r.grammar.termNames)
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

// An entryReader collects the fields of an entry's long form.
type entryReader struct {
	*reader
	entry EntryPattern
}

// entryKeys are the keys of an entry's long form.
func entryKeys() keys[*entryReader] {
	return keys[*entryReader]{
		textKey("key", "The entry's key.", func(e *entryReader, s string) { e.entry.Key = s }),
		textKey("value", "The entry's value, with * wildcards anywhere. Without it: any value.", func(e *entryReader, s string) { e.entry.Value = s }),
		flagKey("shared", "All values that match the wildcard use one counter (Envoy's share_threshold).", func(e *entryReader, b bool) { e.entry.Shared = b }),
	}
}

// entryMapping reads {key: …, value: …, shared: …}.
func (r *reader) entryMapping(n *node) EntryPattern {
	fs, _ := r.mapping(n, r.grammar.entry.names())
	to := entryReader{reader: r}
	for _, f := range fs {
		r.grammar.entry.find(f.key).read(&to, f)
	}
	e := to.entry
	if fs.get("key") == nil {
		r.fail(n, &flaw{message: "has no key", expected: "{key: KEY, value: VALUE}"})
	}
	if e.Shared && !strings.Contains(e.Key+e.Value, "*") {
		r.fail(n, &flaw{message: "is shared but has no wildcard", expected: "a value with a *"})
	}
	return e
}
