package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A limitadorSelector is what a limit's conditions and variables select.
type limitadorSelector struct {
	when  []Condition
	by    []string
	never string // why no call is selected; empty if some may be
	old   bool   // keys are written without descriptors[0]
}

// A fact is what one part of a condition demands of an attribute, which must be
// there unless the fact is that it is absent. A value must match, or must not if
// not is set.
type fact struct {
	Matcher
	absent bool
}

// facts are those of one limit, by attribute, in the order of their appearance.
type facts struct {
	attrs []string
	of    map[string][]fact
	limit *limitadorLimit
	old   bool
	never string
}

// translateLimitador returns whom l is for, or what of it can't be carried over.
func translateLimitador(l *limitadorLimit) (*limitadorSelector, []Problem) {
	fs := &facts{of: map[string][]fact{}, limit: l}
	s := &limitadorSelector{}
	var problems []Problem
	refuse := func(e limitadorText, err error) {
		problems = append(problems, Problem{Position: e.at, Path: e.path, Value: e.text, Message: err.Error()})
	}
	for _, v := range l.variables {
		attr, err := fs.variable(v.text)
		if err != nil {
			refuse(v, err)
		} else if !slices.Contains(s.by, attr) {
			s.by = append(s.by, attr)
		}
	}
	for _, c := range l.conditions {
		if err := fs.condition(c.text); err != nil {
			refuse(c, err)
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	s.old, s.never = fs.old, fs.never
	for _, attr := range fs.attrs {
		m, never, err := combine(fs.of[attr], slices.Contains(s.by, attr))
		switch {
		case err != nil:
			problems = append(problems, Problem{Position: l.at, Path: l.path, Message: fmt.Sprintf("conditions on %q: %v", attr, err)})
		case never && s.never == "":
			s.never = fmt.Sprintf("no value of %q meets its conditions", attr)
		case m != nil:
			s.when = append(s.when, Condition{attr, *m})
		}
	}
	if len(s.when) > ConditionsMax || len(s.by) > ConditionsMax {
		problems = append(problems, Problem{Position: l.at, Path: l.path, Message: fmt.Sprintf("more than %d attributes in conditions, or in variables", ConditionsMax)})
	}
	return s, problems
}

// oldCondition is a condition of Limitador before 1.0: `key == value`, without
// quotes, one blank at each side.
func oldCondition() *regexp.Regexp {
	return regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.:-]*) == ([A-Za-z0-9_.:/@%+-]+)$`)
}

// oldKey is a key of Limitador 1.
func oldKey() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.:-]*$`) }

func (fs *facts) variable(text string) (string, error) {
	n, err := parseCEL(text)
	if err == nil {
		var attr string
		if attr, err = fs.attribute(n); err == nil {
			return attr, checkKey(attr)
		}
	}
	if oldKey().MatchString(text) && !strings.HasPrefix(text, "descriptors") {
		fs.old = true
		return text, checkKey(text)
	}
	return "", err
}

// condition adds what a whole condition demands.
func (fs *facts) condition(text string) error {
	if m := oldCondition().FindStringSubmatch(text); m != nil && !strings.HasPrefix(m[1], "descriptors") && !strings.HasPrefix(m[1], "limit.") && m[2] != "true" && m[2] != "false" && m[2] != "null" {
		fs.old = true
		return fs.add(m[1], fact{Matcher: Matcher{Values: []string{m[2]}}})
	}
	n, err := parseCEL(text)
	if err != nil {
		return err
	}
	return fs.predicate(n, false)
}

// predicate adds what n demands, or its opposite.
func (fs *facts) predicate(n *celNode, not bool) error {
	switch {
	case n.op == "!":
		return fs.predicate(n.args[0], !not)
	case n.op == "&&" && !not, n.op == "||" && not:
		return errors.Join(fs.predicate(n.args[0], not), fs.predicate(n.args[1], not))
	case n.op == "||" || n.op == "&&":
		return fs.either(n, not)
	case n.op == "bool":
		if (n.text == "true") == not {
			fs.never = "a condition is constantly false"
		}
		return nil
	}
	if done, err := fs.aboutLimit(n, not); done {
		return err
	}
	attr, f, err := fs.atom(n, not)
	if err != nil {
		return err
	}
	return fs.add(attr, f)
}

func (fs *facts) add(attr string, f fact) error {
	if err := checkKey(attr); err != nil {
		return err
	}
	for _, v := range f.Values {
		if len(v) > TextBytesMax {
			return fmt.Errorf("a value of %d bytes: at most %d", len(v), TextBytesMax)
		}
	}
	if _, ok := fs.of[attr]; !ok {
		fs.attrs = append(fs.attrs, attr)
	}
	fs.of[attr] = append(fs.of[attr], f)
	return nil
}

func checkKey(attr string) error {
	if attr == "" || len(attr) > TextBytesMax {
		return fmt.Errorf("a key of %d bytes: 1 to %d", len(attr), TextBytesMax)
	}
	return nil
}

// either adds an alternative: of equalities, or of beginnings, of one attribute.
func (fs *facts) either(n *celNode, not bool) error {
	var a alternative
	if err := fs.gather(&a, n, not); err != nil {
		return err
	}
	return fs.add(a.attr, a.fact)
}

// An alternative is what an attribute may be or begin with.
type alternative struct {
	attr string
	fact fact // without values: nothing yet
}

// gather adds what n, or its opposite, allows to a.
func (fs *facts) gather(a *alternative, n *celNode, not bool) error {
	if n.op == "!" {
		return fs.gather(a, n.args[0], !not)
	}
	if n.op == "||" && !not || n.op == "&&" && not {
		if err := fs.gather(a, n.args[0], not); err != nil {
			return err
		}
		return fs.gather(a, n.args[1], not)
	}
	attr, f, err := fs.atom(n, not)
	switch {
	case err != nil:
		return err
	case f.Not || f.absent || len(f.Values) == 0 || f.Kind == MatchRegex:
		return &celError{n.at, "|| is translated only between what an attribute may be, or begin with"}
	case len(a.fact.Values) == 0:
		a.attr, a.fact = attr, f
	case attr != a.attr || f.Kind != a.fact.Kind:
		return &celError{n.at, "|| is translated only between conditions of one kind on one key"}
	default:
		a.fact.Values = append(a.fact.Values, f.Values...)
	}
	return nil
}

// aboutLimit decides a comparison of the limit's own name or id, which is known.
func (fs *facts) aboutLimit(n *celNode, not bool) (done bool, err error) {
	if n.op != "==" && n.op != "!=" {
		return false, nil
	}
	left, right := n.args[0], n.args[1]
	if left.op == "string" {
		left, right = right, left
	}
	if left.op != "select" || left.args[0].op != "ident" || left.args[0].text != "limit" || right.op != "string" {
		return false, nil
	}
	value, known := map[string]string{"name": fs.limit.name, "id": fs.limit.id}[left.text]
	if !known {
		return true, &celError{left.at, "limit has name and id only"}
	}
	holds := (value != "" && value == right.text) == (n.op == "==")
	if holds == not {
		fs.never = "its own name or id does not meet a condition"
	}
	return true, nil
}

// atom reads one comparison.
func (fs *facts) atom(n *celNode, not bool) (string, fact, error) {
	text := func(m *celNode) (string, error) {
		if m.op != "string" {
			return "", &celError{m.at, "only a string stands here in what is translated"}
		}
		return m.text, nil
	}
	one := func(key *celNode, kind MatchKind, value *celNode, not bool) (string, fact, error) {
		attr, err := fs.attribute(key)
		if err != nil {
			return "", fact{}, err
		}
		v, err := text(value)
		return attr, fact{Matcher: Matcher{Kind: kind, Values: []string{v}, Not: not}}, err
	}
	switch {
	case n.op == "==" || n.op == "!=":
		key, value := n.args[0], n.args[1]
		if key.op == "string" {
			key, value = value, key
		}
		return one(key, MatchExact, value, not != (n.op == "!="))
	case n.op == "in":
		return fs.membership(n, not)
	case n.op == "call" && n.text == "has" && !n.self && len(n.args) == 1 && n.args[0].op == "select":
		attr, err := fs.attribute(n.args[0])
		return attr, fact{Matcher: Matcher{Kind: MatchAny}, absent: not}, err
	case n.op == "call" && n.self && len(n.args) == 2:
		return fs.function(n, not, one)
	}
	return "", fact{}, &celError{n.at, n.shown() + " is not translated"}
}

// membership reads `key in [texts]`, and `"key" in descriptors[0]`.
func (fs *facts) membership(n *celNode, not bool) (string, fact, error) {
	left, right := n.args[0], n.args[1]
	if left.op == "string" {
		if err := fs.descriptor(right); err != nil {
			return "", fact{}, err
		}
		return left.text, fact{Matcher: Matcher{Kind: MatchAny}, absent: not}, nil
	}
	attr, err := fs.attribute(left)
	if err != nil {
		return "", fact{}, err
	}
	if right.op != "list" || len(right.args) == 0 {
		return "", fact{}, &celError{right.at, "in is translated only with a list of strings, or a descriptor"}
	}
	f := fact{Matcher: Matcher{Not: not}}
	for _, item := range right.args {
		if item.op != "string" {
			return "", fact{}, &celError{item.at, "only strings stand in a list that is translated"}
		}
		f.Values = append(f.Values, item.text)
	}
	return attr, f, nil
}

// function reads a call of a function of a string.
func (fs *facts) function(n *celNode, not bool, one func(*celNode, MatchKind, *celNode, bool) (string, fact, error)) (string, fact, error) {
	kinds := map[string]MatchKind{"startsWith": MatchPrefix, "endsWith": MatchGlob, "contains": MatchGlob, "matches": MatchRegex}
	kind, known := kinds[n.text]
	if !known {
		return "", fact{}, &celError{n.at, fmt.Sprintf("the function %s is not translated", n.text)}
	}
	attr, f, err := one(n.args[0], kind, n.args[1], not)
	if err != nil {
		return attr, f, err
	}
	v := f.Values[0]
	switch n.text {
	case "startsWith":
		if v == "" {
			f.Kind, f.Values = MatchAny, nil
		}
	case "endsWith", "contains":
		if strings.Contains(v, "*") {
			return "", f, &celError{n.at, n.text + " of a text with a * is not translated"}
		}
		f.Values[0] = "*" + v
		if n.text == "contains" {
			f.Values[0] += "*"
		}
	case "matches":
		if f.Values[0], err = fromRustRegex(v); err != nil {
			return "", f, &celError{n.args[1].at, err.Error()}
		}
	}
	if f.Kind == MatchAny && f.Not { // nothing begins otherwise
		return attr, fact{Matcher: Matcher{Kind: MatchExact}}, nil
	}
	return attr, f, nil
}

// shown names n for people.
func (n *celNode) shown() string {
	switch n.op {
	case "call":
		return "the function " + n.text
	case "ident", "select", "index":
		return "a value that is no comparison"
	case "string", "number", "null", "list":
		return "a " + n.op + " that is no comparison"
	default:
		return n.op
	}
}

// attribute returns the key of the first descriptor that n reads.
func (fs *facts) attribute(n *celNode) (string, error) {
	switch {
	case n.op == "select" && n.args[0].op == "index":
		return n.text, fs.descriptor(n.args[0])
	case n.op == "index" && n.args[1].op == "string":
		return n.args[1].text, fs.descriptor(n.args[0])
	}
	if key, ok := path(n); ok && !strings.HasPrefix(key, "limit.") && key != "limit" && key != "descriptors" {
		fs.old = true
		return key, nil
	}
	return "", &celError{n.at, `no key of a descriptor: descriptors[0].key or descriptors[0]["key"]`}
}

// path returns n as a name with dots, as Limitador 1 has keys.
func path(n *celNode) (string, bool) {
	switch n.op {
	case "ident":
		return n.text, true
	case "select":
		above, ok := path(n.args[0])
		return above + "." + n.text, ok
	}
	return "", false
}

// descriptor reports an error unless n is descriptors[0].
func (fs *facts) descriptor(n *celNode) error {
	if n.op != "index" || n.args[0].op != "ident" || n.args[0].text != "descriptors" || n.args[1].op != "number" {
		return &celError{n.at, "only descriptors[0] is translated"}
	}
	if n.args[1].text != "0" {
		return &celError{n.at, fmt.Sprintf("descriptors[%s]: a policy can't tell which descriptor of a request is meant", n.args[1].text)}
	}
	return nil
}
