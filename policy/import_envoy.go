package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/headgate/headgate/limiter"
)

// EnvoyOptions say how to import.
type EnvoyOptions struct {
	// MergeDomains joins files of the same domain, as the reference service
	// does with MERGE_DOMAIN_CONFIG. Otherwise such files are a problem.
	MergeDomains bool
	// Lossy leaves out what Headgate has no equivalent of and says so in a
	// comment. Otherwise that is a problem.
	Lossy bool
	// Explain writes into each rule's comment what it means and where it
	// differs from the reference service.
	Explain bool

	// Shadow makes every limit a shadow limit, as SHADOW_MODE does.
	Shadow bool
	// AnyOf makes a request fail only if all of its limits deny it, as
	// QUOTA_MODE does.
	AnyOf bool
	// StopWhenOver charges nothing of a request that is denied, as
	// STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT does.
	StopWhenOver bool

	// Lost, if not nil, is told of each thing that Lossy leaves out.
	Lost func(Problem)
}

// An envoyImporter carries one import.
type envoyImporter struct {
	EnvoyOptions
	report report
}

// ImportEnvoy translates configuration of Envoy's reference service
// (github.com/envoyproxy/ratelimit), one source a file, to policies, one
// document for each domain, in the order of the files. The meaning is exact:
// which rule applies to a request, what is charged, and what is answered
// (docs/adr/0005-importing-envoy.md lists the differences).
//
// The error is Problems: everything that is wrong with the files, and, unless
// o.Lossy, everything that can't be carried over.
func ImportEnvoy(files []Source, o EnvoyOptions) ([]*Document, error) {
	im := &envoyImporter{EnvoyOptions: o}
	var domains []*envoyDomain
	for _, f := range files {
		r := &envoyReader{
			envoyImporter: im, file: f.Name,
			anchors: map[string]ast.Node{}, targets: map[*ast.AliasNode]ast.Node{}, open: map[ast.Node]bool{},
		}
		d := r.read(f.Text)
		if d == nil {
			continue
		}
		domains = im.join(domains, d)
	}
	names := make([]string, len(files))
	for i := range files {
		names[i] = files[i].Name
	}
	return im.documents(domains, names)
}

// join adds d to domains, or to the one that has its name.
func (im *envoyImporter) join(domains []*envoyDomain, d *envoyDomain) []*envoyDomain {
	i := slices.IndexFunc(domains, func(e *envoyDomain) bool { return e.name == d.name })
	switch {
	case i < 0:
		return append(domains, d)
	case im.MergeDomains:
		domains[i].roots = append(domains[i].roots, d.roots...)
		domains[i].notes = append(domains[i].notes, d.notes...)
	default:
		im.problem(d.at, "", fmt.Sprintf("domain %q is in %s already; --merge-domains joins them, as MERGE_DOMAIN_CONFIG does", d.name, domains[i].at.File))
	}
	return domains
}

// documents translates domains. files are the sources, in order.
func (im *envoyImporter) documents(domains []*envoyDomain, files []string) ([]*Document, error) {
	docs := make([]*Document, 0, len(domains))
	for _, d := range domains {
		doc := im.document(d)
		docs = append(docs, doc)
		if len(im.report.problems) == 0 {
			checkDocument(doc, nil, &im.report) // what only the whole shows
		}
	}
	if err := im.problems(files).Err(); err != nil {
		return nil, err
	}
	return docs, nil
}

// problems returns what was reported in the order of the files and their lines;
// some is found only when a whole domain is known.
func (im *envoyImporter) problems(files []string) Problems {
	order := make(map[string]int, len(files))
	for i, f := range files {
		order[f] = i
	}
	slices.SortStableFunc(im.report.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return im.report.result()
}

func (im *envoyImporter) problem(at Position, path, message string) {
	im.report.add(Problem{Position: at, Path: path, Message: message})
}

// loss reports what can't be carried over. If the caller accepts losses it
// returns the comment that says so.
func (im *envoyImporter) loss(at Position, path, message string) []string {
	if im.Lossy {
		if im.Lost != nil {
			im.Lost(Problem{Position: at, Path: path, Message: message})
		}
		return []string{fmt.Sprintf("LOST (%s): %s", at.place(), message)}
	}
	im.report.add(Problem{Position: at, Path: path, Message: message, Expected: "--lossy, to import without it"})
	return nil
}

// document translates a domain.
func (im *envoyImporter) document(d *envoyDomain) *Document {
	doc := &Document{
		Domain:      d.name,
		Charge:      limiter.ChargeAll,
		CountDenied: true,
		PeekUsed:    true,
	}
	if im.StopWhenOver {
		doc.Charge, doc.CountDenied = limiter.AllOrNothing, false
	}
	if len(d.name) > TextBytesMax {
		im.problem(d.at, "", fmt.Sprintf("domain is longer than %d bytes", TextBytesMax))
	}
	w := &envoyWriter{envoyImporter: im, doc: doc, names: map[string]bool{}}
	w.collectNames(d.roots)
	w.siblings(d.roots, nil)
	notes := []string{"Imported from the configuration of envoyproxy/ratelimit."}
	if im.Explain {
		notes = append(notes, explainEnvoyDomain()...)
	}
	doc.Comment = strings.Join(append(notes, d.notes...), "\n")
	return doc
}

// An envoyWriter appends the rules of one domain to doc.
type envoyWriter struct {
	*envoyImporter
	doc   *Document
	names map[string]bool // names of limits that can be replaced
}

// collectNames finds what `replaces` can refer to. An unlimited rule can't be
// replaced in the reference service: it owes nothing already.
func (w *envoyWriter) collectNames(nodes []*envoyNode) {
	for _, n := range nodes {
		if n.limit != nil && !n.limit.unlimited && n.limit.name != "" {
			w.names[n.limit.name] = true
		}
		w.collectNames(n.children)
	}
}

// siblings writes nodes and what is below them, in the order of the file,
// which is the order in which wildcards are tried.
func (w *envoyWriter) siblings(nodes []*envoyNode, above []EntryPattern) {
	seen := make(map[string]*envoyNode, len(nodes))
	for _, n := range nodes {
		if first, ok := seen[n.composite()]; ok {
			w.problem(n.at, n.path, fmt.Sprintf("duplicate descriptor: %q is at %s already (the reference service joins key and value with _)",
				n.composite(), first.at.place()))
			continue
		}
		seen[n.composite()] = n
		w.node(n, above)
	}
}

// node writes n and what is below it.
func (w *envoyWriter) node(n *envoyNode, above []EntryPattern) {
	if !w.checkTexts(n) {
		return
	}
	notes := slices.Concat(n.notes, w.losses(n))
	if n.share && !n.wildcard() {
		w.problem(n.at, n.path, "share_threshold is only for wildcards, and this descriptor has no *")
	}
	entry := EntryPattern{Key: n.key, Value: n.value, Shared: n.share}
	descriptor := append(slices.Clone(above), entry)
	rule := LimitRule{Descriptor: descriptor, Pos: n.at}
	switch {
	case n.limit != nil:
		term, more := w.term(n)
		rule.Terms = []Term{term}
		notes = append(notes, more...)
	case len(n.children) == 0:
		rule.Exempt = true
	}
	if w.Explain {
		notes = append(explainEnvoyNode(n, descriptor), notes...)
	}
	if n.limit != nil || rule.Exempt {
		rule.Comment = strings.Join(notes, "\n")
		w.doc.Rules = append(w.doc.Rules, rule)
		notes = nil
	}
	before := len(w.doc.Rules)
	w.siblings(n.children, descriptor)
	if len(notes) > 0 && len(w.doc.Rules) > before { // an inner node has no rule of its own
		first := &w.doc.Rules[before]
		first.Comment = strings.Join(append(notes, first.Comment), "\n")
	}
}

// term translates n's rate_limit.
func (w *envoyWriter) term(n *envoyNode) (Term, []string) {
	l := n.limit
	t := Term{Kind: limiter.KindFixed, Amount: l.amount, Every: l.unit.Duration(), Name: l.name, Shadow: n.shadow || w.Shadow, AnyOf: n.quota || w.AnyOf, Pos: l.at}
	if l.unlimited {
		// The reference service neither answers an unlimited rule's name nor
		// lets it be replaced, and its modes change nothing.
		t = Term{Kind: limiter.KindUnlimited, Pos: l.at}
	}
	var notes []string
	for _, name := range l.replaces {
		switch {
		case slices.Contains(t.Replaces, name):
		case w.names[name]:
			t.Replaces = append(t.Replaces, name)
		default:
			notes = append(notes, fmt.Sprintf("replaces %q is left out: no limit that counts has that name", name))
		}
	}
	return t, notes
}

// checkTexts reports what is too long for a policy, or not allowed in it.
func (w *envoyWriter) checkTexts(n *envoyNode) bool {
	ok := true
	if len(n.key) > TextBytesMax || len(n.value) > TextBytesMax {
		w.problem(n.at, n.path, fmt.Sprintf("key or value is longer than %d bytes", TextBytesMax))
		ok = false
	}
	if n.limit != nil && !n.limit.unlimited && !validLimitName(n.limit.name) {
		w.problem(n.limit.at, n.path, fmt.Sprintf("name %q is not printable ASCII of at most %d bytes", n.limit.name, NameBytesMax))
		ok = false
	}
	return ok
}

// losses reports the keys of n that have no equivalent.
func (w *envoyWriter) losses(n *envoyNode) []string {
	var lost []string
	if n.metadata != nil {
		lost = append(lost, w.loss(*n.metadata, n.path, "metadata: Headgate sends no dynamic metadata")...)
	}
	if n.detailed {
		lost = append(lost, w.loss(n.at, n.path, "detailed_metric: Headgate's metrics have no label for a descriptor's values")...)
	}
	if n.valueToMetric {
		lost = append(lost, w.loss(n.at, n.path, "value_to_metric: Headgate's metrics have no label for a descriptor's values")...)
	}
	return lost
}

// validLimitName reports whether a policy accepts name, or has none to accept.
func validLimitName(name string) bool {
	return len(name) <= NameBytesMax && !strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' })
}
