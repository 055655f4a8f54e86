package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headgate/headgate/limiter"
)

// LimitadorOptions say how to import.
type LimitadorOptions struct {
	// Lossy leaves out each limit that can't be carried over and says so in a
	// comment. Otherwise that is a problem.
	Lossy bool
	// Explain writes into each rule's comment what it means and where it
	// differs from Limitador.
	Explain bool
}

// Bounds of a limit that can be carried over, in Limitador's unit.
const (
	limitadorSecondsMax = 366 * 24 * 60 * 60
	limitadorValueMax   = 1 << 55
)

// A limitadorImporter carries one import.
type limitadorImporter struct {
	LimitadorOptions
	report report
	limits map[string]*limitadorDocument
}

// A limitadorDocument is a namespace that is being translated.
type limitadorDocument struct {
	doc   *Document
	notes []string
	seen  map[string]*limitadorLimit // by identity
	names map[string]bool            // of terms
}

// ImportLimitador translates limits files of Limitador
// (github.com/Kuadrant/limitador), one source a file, to policies, one document
// for each namespace, in the order of the files. It translates the conditions
// that compare entries of the first descriptor with texts; which limits apply to
// a request with one descriptor, and what is charged, is exact.
// docs/guides/from-limitador.md lists the differences.
//
// The error is Problems: everything that is wrong with the files, and, unless
// o.Lossy, every limit that can't be carried over.
func ImportLimitador(files []Source, o LimitadorOptions) ([]*Document, error) {
	im := &limitadorImporter{LimitadorOptions: o, limits: map[string]*limitadorDocument{}}
	var order []*limitadorDocument
	for _, f := range files {
		r := &limitadorReader{reader: &reader{report: &im.report, file: f.Name}}
		for _, l := range r.read(f.Text) {
			d := im.limits[l.namespace]
			if d == nil {
				d = im.newDocument(l)
				order = append(order, d)
			}
			im.limit(d, l)
		}
	}
	docs := make([]*Document, 0, len(order))
	for _, d := range order {
		d.doc.Comment = strings.Join(d.notes, "\n")
		docs = append(docs, d.doc)
		if len(im.report.problems) == 0 {
			checkDocument(d.doc, nil, &im.report) // what only the whole shows
		}
	}
	if err := im.report.result().Err(); err != nil {
		return nil, err
	}
	return docs, nil
}

func (im *limitadorImporter) newDocument(first *limitadorLimit) *limitadorDocument {
	d := &limitadorDocument{
		doc:   &Document{Domain: first.namespace, Charge: limiter.AllOrNothing, Pos: first.at},
		notes: []string{"Imported from limits of Limitador."},
		seen:  map[string]*limitadorLimit{},
		names: map[string]bool{},
	}
	if im.Explain {
		d.notes = append(d.notes, explainLimitadorNamespace()...)
	}
	im.limits[first.namespace] = d
	return d
}

// loss reports that l can't be carried over. If the caller accepts losses it is
// left out, and a comment says so: leaving out a condition would limit calls that
// Limitador does not limit.
func (im *limitadorImporter) loss(d *limitadorDocument, l *limitadorLimit, p Problem) {
	if im.Lossy {
		d.notes = append(d.notes, fmt.Sprintf("LOST (%s:%d): the limit %s: %s", p.File, p.Line, l.path, p.Message))
		return
	}
	p.Message = "can't be carried over: " + p.Message
	p.Expected = "--lossy, to import without this limit"
	im.report.add(p)
}

// limit translates l to a rule of d.
func (im *limitadorImporter) limit(d *limitadorDocument, l *limitadorLimit) {
	if first, ok := d.seen[l.identity()]; ok {
		im.loss(d, l, Problem{Position: l.at, Path: l.path, Message: fmt.Sprintf(
			"Limitador takes it for the limit at %s:%d, whose namespace, seconds, conditions and variables are the same, and keeps one of the two", first.at.File, first.at.Line)})
		return
	}
	d.seen[l.identity()] = l
	selector, problems := translateLimitador(l)
	for _, p := range slices.Concat(l.boundProblems(), problems) {
		im.loss(d, l, p)
	}
	if len(problems) > 0 || len(l.boundProblems()) > 0 {
		return
	}
	if selector.never != "" {
		d.notes = append(d.notes, fmt.Sprintf("%s:%d %s never applies, in Limitador either, and is left out: %s", l.at.File, l.at.Line, l.path, selector.never))
		return
	}
	rule := LimitRule{When: selector.when, By: selector.by, Pos: l.at}
	term := Term{Kind: limiter.KindFixed, Amount: l.maxValue, Every: time.Duration(l.seconds) * time.Second, Name: d.name(l, &rule), Pos: l.at}
	rule.Terms = []Term{term}
	if im.Explain {
		rule.Comment = strings.Join(explainLimitadorLimit(l, selector, term.Name), "\n")
	}
	d.doc.Rules = append(d.doc.Rules, rule)
}

// boundProblems reports what of l is outside what a policy can say.
func (l *limitadorLimit) boundProblems() (ps []Problem) {
	add := func(format string, args ...any) {
		ps = append(ps, Problem{Position: l.at, Path: l.path, Message: fmt.Sprintf(format, args...)})
	}
	if l.seconds < 1 || l.seconds > limitadorSecondsMax {
		add("seconds is %d: a window has 1 to %d", l.seconds, limitadorSecondsMax)
	}
	if l.maxValue > limitadorValueMax {
		add("max_value is %d: at most %d", l.maxValue, uint64(limitadorValueMax))
	}
	if !validLimitName(l.label()) {
		add("the name %q is not printable ASCII of at most %d bytes", l.label(), NameBytesMax)
	}
	return ps
}

// name returns a name for l that no other limit of the domain has: Limitador's
// need not differ, and a rule without one is named by its selector, of which a
// domain may have several here.
func (d *limitadorDocument) name(l *limitadorLimit, rule *LimitRule) string {
	base := l.label()
	unique := base
	if base == "" {
		base = "limit"
		unique = fmt.Sprintf("%s-%d", base, len(d.doc.Rules)+1)
		if !d.names["selector "+limitadorSelectorText(rule, l.seconds)] {
			d.names["selector "+limitadorSelectorText(rule, l.seconds)] = true
			return ""
		}
	}
	for i := 2; d.names["name "+unique]; i++ {
		suffix := fmt.Sprintf("-%d", i)
		unique = base[:min(len(base), NameBytesMax-len(suffix))] + suffix
	}
	d.names["name "+unique] = true
	return unique
}

func limitadorSelectorText(rule *LimitRule, seconds uint64) string {
	return strings.Join(ruleLines(&LimitRule{When: rule.When, By: rule.By, Exempt: true}), "\n") + strconv.FormatUint(seconds, 10)
}

// explainLimitadorNamespace says what holds for every rule of a document.
func explainLimitadorNamespace() []string {
	return []string{
		"Every limit whose conditions hold and whose variables are there applies; if one is over, nothing is charged (charge: all_or_nothing).",
		"difference: windows start at whole multiples of their length since the Unix epoch; in Limitador with the first call after the last window.",
		"difference: descriptors[0] is each descriptor of a request here, not only the first; with one descriptor that is the same.",
		"difference: of two entries with one key in a descriptor the first counts here, the last in Limitador.",
		"difference: counters are kept per limit; Limitador's memory storage evicts all but 1,000.",
	}
}

// explainLimitadorLimit says what l means.
func explainLimitadorLimit(l *limitadorLimit, s *limitadorSelector, name string) []string {
	lines := []string{fmt.Sprintf("%s:%d %s", l.at.File, l.at.Line, l.path)}
	if len(s.by) > 0 {
		lines = append(lines, "one counter for each combination of "+strings.Join(s.by, ", "))
	} else {
		lines = append(lines, "one counter")
	}
	for _, c := range l.conditions {
		lines = append(lines, "if "+c.text)
	}
	if l.maxValue == 0 {
		lines = append(lines, "0 bans: every call to which this applies is over")
	}
	if s.old {
		lines = append(lines, "difference: keys without descriptors[0] are those of Limitador 1 and of its HTTP API; Limitador 2 applies such a limit to no call of Envoy's")
	}
	if name != l.label() {
		lines = append(lines, fmt.Sprintf("named %s: another limit has this name or selector", name))
	}
	return lines
}
