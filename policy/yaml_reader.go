package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// A node is a place in a YAML document: the value there and the way to it.
type node struct {
	value ast.Node
	up    *node
	key   string // in up; empty for an item of a list
	index int    // in up, for an item of a list
}

// path spells the way from the document's root, such as limits[3].rate.
func (n *node) path() string {
	if n.up == nil {
		return ""
	}
	if n.key == "" {
		return n.up.path() + "[" + strconv.Itoa(n.index) + "]"
	}
	return strings.TrimPrefix(n.up.path()+"."+n.key, ".")
}

// written returns the value as the author wrote it, if it is a scalar.
func (n *node) written() string {
	switch v := n.value.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode, *ast.NullNode:
		return ""
	case *ast.LiteralNode:
		return v.Value.Value
	default:
		return v.GetToken().Value
	}
}

// A field is one `key: value` of a mapping.
type field struct {
	node
	keyNode ast.Node
}

// fields are a mapping's, in the order of the document and without duplicates.
type fields []*field

// get returns the field named key, or nil.
func (fs fields) get(key string) *field {
	for _, f := range fs {
		if f.key == key {
			return f
		}
	}
	return nil
}

// A reader turns the syntax tree of one document into a Document and reports
// what it can't use. It goes on after each problem.
type reader struct {
	*report
	grammar *grammar
	file    string
	lines   int // of the file before the tree
}

// position returns where an AST node begins.
func (r *reader) position(v ast.Node) Position {
	switch m := v.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			v = m.Values[0].Key
		}
	case *ast.MappingValueNode:
		v = m.Key
	}
	at := Position{File: r.file, Line: r.lines + 1, Column: 1}
	if tk := v.GetToken(); tk != nil && tk.Position != nil {
		at.Line, at.Column = r.lines+tk.Position.Line, max(1, tk.Position.Column)
	}
	return at
}

// fail reports what is wrong with n.
func (r *reader) fail(n *node, f *flaw) {
	r.add(Problem{
		Position: r.position(n.value), Path: n.path(), Value: n.written(),
		Message: f.message, Expected: f.expected, Suggestion: f.suggestion,
	})
}

// failKey reports what is wrong with the presence of f.
func (r *reader) failKey(f *field, fl *flaw) {
	r.add(Problem{
		Position: r.position(f.keyNode), Path: f.path(),
		Message: fl.message, Expected: fl.expected, Suggestion: fl.suggestion,
	})
}

// locate gives a problem that was found without the text the position of what
// its path leads to from body: of a list's item, of a key's value if that is a
// scalar, else of the key.
func (r *reader) locate(p *Problem, body ast.Node) {
	at, found := body, body
	for rest := p.Path; rest != ""; rest = strings.TrimPrefix(rest, ".") {
		if rest[0] == '[' {
			var digits string
			digits, rest, _ = strings.Cut(rest[1:], "]")
			i, err := strconv.Atoi(digits)
			list, ok := at.(*ast.SequenceNode)
			if err != nil || !ok || i >= len(list.Values) {
				return
			}
			at, found = list.Values[i], list.Values[i]
			continue
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		v := valueOf(at, rest[:end])
		if v == nil {
			return
		}
		at, found, rest = v.Value, v.Value, rest[end:]
		if _, ok := at.(ast.ScalarNode); !ok {
			found = v.Key
		}
	}
	p.Position = r.position(found)
}

// valueOf returns the value of a key of a mapping, with the key, or nil.
func valueOf(n ast.Node, key string) *ast.MappingValueNode {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	}
	for _, v := range values {
		if v.Key.GetToken().Value == key {
			return v
		}
	}
	return nil
}

// mapping returns the fields of n; ok is false if n is no mapping. Duplicate
// keys are reported; known, if not nil, tells which keys may be there.
func (r *reader) mapping(n *node, known []string) (fs fields, ok bool) {
	var values []*ast.MappingValueNode
	switch m := n.value.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		r.fail(n, &flaw{message: "is " + kindOf(n.value), expected: "keys and values"})
		return nil, false
	}
	seen := make(map[string]bool, len(values))
	for _, v := range values {
		f := &field{node{v.Value, n, v.Key.GetToken().Value, 0}, v.Key}
		switch {
		case f.key == "":
			r.add(Problem{Position: r.position(v.Key), Path: n.path(), Message: "has an empty key"})
		case seen[f.key]:
			r.failKey(f, &flaw{message: "the key is written twice"})
		case known != nil && !slices.Contains(known, f.key):
			r.failKey(f, &flaw{message: "unknown key", expected: "one of " + strings.Join(known, ", "), suggestion: closest(f.key, known)})
		default:
			fs = append(fs, f)
		}
		seen[f.key] = true
	}
	return fs, true
}

// sequence returns the items of a list of at least one and at most limit items.
func (r *reader) sequence(n *node, limit int) []*node {
	list, ok := n.value.(*ast.SequenceNode)
	if !ok {
		r.fail(n, &flaw{message: "is " + kindOf(n.value), expected: "a list"})
		return nil
	}
	if len(list.Values) == 0 {
		r.fail(n, &flaw{message: "is an empty list", expected: "at least one item"})
	}
	if len(list.Values) > limit {
		r.fail(n, &flaw{message: fmt.Sprintf("has %d items", len(list.Values)), expected: fmt.Sprintf("at most %d", limit)})
		return nil
	}
	items := make([]*node, len(list.Values))
	for i, v := range list.Values {
		items[i] = &node{v, n, "", i}
	}
	return items
}

// scalar returns the text of n: a number or a boolean is taken as it is
// written.
func (r *reader) scalar(n *node) (string, bool) {
	switch v := n.value.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return v.GetToken().Value, true
	default:
		r.fail(n, &flaw{message: "is " + kindOf(n.value), expected: "a text or a number"})
		return "", false
	}
}

// text returns the scalar n if it is neither empty nor too long.
func (r *reader) text(n *node) (string, bool) {
	s, ok := r.scalar(n)
	switch {
	case !ok:
		return "", false
	case s == "":
		r.fail(n, &flaw{message: "is empty", expected: fmt.Sprintf("1 to %d bytes", TextBytesMax)})
		return "", false
	case len(s) > TextBytesMax:
		r.fail(n, &flaw{message: fmt.Sprintf("has %d bytes", len(s)), expected: fmt.Sprintf("at most %d", TextBytesMax)})
		return "", false
	}
	return s, true
}

// boolean reads true or false.
func (r *reader) boolean(n *node) bool {
	b, ok := n.value.(*ast.BoolNode)
	if !ok || (b.GetToken().Value != "true" && b.GetToken().Value != "false") {
		r.fail(n, &flaw{message: "is " + kindOf(n.value), expected: "true or false"})
		return false
	}
	return b.Value
}

// choice reads one of a few words and returns its index, or −1.
func (r *reader) choice(n *node, words ...string) int {
	s, ok := r.scalar(n)
	if !ok {
		return -1
	}
	i := slices.Index(words, s)
	if i < 0 {
		r.fail(n, &flaw{message: "unknown word", expected: "one of " + strings.Join(words, ", "), suggestion: closest(s, words)})
	}
	return i
}

// number reads a whole number.
func (r *reader) number(n *node) (uint64, bool) {
	s, ok := r.scalar(n)
	if !ok {
		return 0, false
	}
	v, f := parseAmount(s)
	if f != nil {
		r.fail(n, f)
	}
	return v, f == nil
}

// kindOf names what a value is, for people.
func kindOf(v ast.Node) string {
	switch v.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "missing"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "a boolean"
	default:
		return "a text"
	}
}
