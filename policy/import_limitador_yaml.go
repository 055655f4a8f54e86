package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// A limitadorLimit is one limit as it is written.
type limitadorLimit struct {
	at        Position
	path      string // such as [3]
	namespace string
	name, id  string
	maxValue  uint64
	seconds   uint64

	conditions []limitadorText
	variables  []limitadorText
}

// A limitadorText is an expression and where it is.
type limitadorText struct {
	at   Position
	path string
	text string
}

// label is what answers name a limit by: its name, else its id.
func (l *limitadorLimit) label() string {
	if l.name != "" {
		return l.name
	}
	return l.id
}

// identity is what Limitador tells limits apart by.
func (l *limitadorLimit) identity() string {
	texts := func(list []limitadorText) string {
		var all []string
		for _, e := range list {
			all = append(all, fmt.Sprintf("%q", e.text))
		}
		slices.Sort(all)
		return strings.Join(slices.Compact(all), ",")
	}
	return fmt.Sprintf("%d|%s|%s", l.seconds, texts(l.conditions), texts(l.variables))
}

// limitadorKeys are the keys of a limit.
func limitadorKeys() []string {
	return []string{"namespace", "max_value", "seconds", "name", "id", "conditions", "variables"}
}

// A limitadorReader turns a limits file into limits. What it can't read it
// reports and leaves out.
type limitadorReader struct{ *reader }

// read returns the limits of a file: of its only document, a list.
func (r *limitadorReader) read(text []byte) (limits []*limitadorLimit) {
	documents := 0
	for _, c := range chunks(text) {
		if c.isBlank() {
			continue
		}
		bodies, bad := parseYAML(c, checkPlain)
		if bad != nil {
			r.add(Problem{Position: Position{r.file, c.lines + max(1, bad.line), max(1, bad.column)}, Message: bad.message, Expected: bad.expected})
			return nil
		}
		r.lines = c.lines
		for _, body := range bodies {
			if documents++; documents > 1 {
				r.add(Problem{Position: r.position(body), Message: "a second document", Expected: "one list of limits"})
				return limits
			}
			limits = r.list(body)
		}
	}
	if documents == 0 {
		r.add(Problem{Position: Position{r.file, 1, 1}, Message: "the file is empty", Expected: "a list of limits, maybe []"})
	}
	return limits
}

func (r *limitadorReader) list(body ast.Node) (limits []*limitadorLimit) {
	list, ok := body.(*ast.SequenceNode)
	if !ok {
		r.add(Problem{Position: r.position(body), Message: "is " + kindOf(body), Expected: "a list of limits"})
		return nil
	}
	if len(list.Values) > RulesMax {
		r.add(Problem{Position: r.position(body), Message: fmt.Sprintf("has %d limits", len(list.Values)), Expected: fmt.Sprintf("at most %d", RulesMax)})
		return nil
	}
	root := &node{value: body}
	for i, v := range list.Values {
		if l := r.limit(&node{v, root, "", i}); l != nil {
			limits = append(limits, l)
		}
	}
	return limits
}

// limit reads one limit, nil if it is none.
func (r *limitadorReader) limit(n *node) *limitadorLimit {
	fs, ok := r.mapping(n, limitadorKeys())
	if !ok {
		return nil
	}
	l := &limitadorLimit{at: r.position(n.value), path: n.path()}
	before := len(r.problems) + r.more
	for _, key := range []string{"namespace", "max_value", "seconds"} {
		if fs.get(key) == nil {
			r.add(Problem{Position: l.at, Path: l.path, Message: key + " is missing"})
		}
	}
	for _, f := range fs {
		switch f.key {
		case "namespace":
			l.namespace, _ = r.text(&f.node)
		case "max_value":
			l.maxValue, _ = r.number(&f.node)
		case "seconds":
			l.seconds, _ = r.number(&f.node)
		case "name":
			l.name = r.optional(f)
		case "id":
			l.id = r.optional(f)
		case "conditions":
			l.conditions = r.expressions(f)
		case "variables":
			l.variables = r.expressions(f)
		}
	}
	if len(r.problems)+r.more > before {
		return nil
	}
	return l
}

func (r *limitadorReader) optional(f *field) string {
	if f.value.Type() == ast.NullType {
		return ""
	}
	s, _ := r.scalar(&f.node)
	return s
}

// expressions reads a list of expressions; null is an empty one.
func (r *limitadorReader) expressions(f *field) (texts []limitadorText) {
	if list, ok := f.value.(*ast.SequenceNode); f.value.Type() == ast.NullType || ok && len(list.Values) == 0 {
		return nil
	}
	for _, item := range r.sequence(&f.node, ValuesMax) {
		if s, ok := r.scalar(item); ok {
			texts = append(texts, limitadorText{r.position(item.value), item.path(), s})
		}
	}
	return texts
}
