package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// file applies a YAML document.
func (l *loader) file(name string, text []byte) {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		l.problem(syntaxProblem(name, err))
		return
	}
	for i, doc := range file.Docs {
		if i > 0 && doc.Body != nil {
			l.problem(Problem{Source: at(name, doc.Body), Bound: "a settings file has one document"})
			return
		}
		if doc.Body != nil && doc.Body.Type() != ast.NullType {
			l.mapping(name, "", doc.Body)
		}
	}
}

func syntaxProblem(name string, err error) Problem {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) && syntax.Token != nil {
		pos := syntax.Token.Position
		return Problem{Source: fmt.Sprintf("%s:%d:%d", name, pos.Line, pos.Column), Bound: syntax.Message}
	}
	return Problem{Source: name, Bound: err.Error()}
}

func at(name string, n ast.Node) string {
	pos := n.GetToken().Position
	return fmt.Sprintf("%s:%d:%d", name, pos.Line, pos.Column)
}

// mapping applies the keys under path ("" or ending in a dot).
func (l *loader) mapping(file, path string, n ast.Node) {
	values, ok := pairsOf(n)
	if !ok {
		l.problem(Problem{Source: at(file, n), Path: strings.TrimSuffix(path, "."), Bound: "must be a mapping of settings"})
		return
	}
	for _, v := range values {
		l.pair(file, path, v)
	}
}

func pairsOf(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	default:
		return nil, false
	}
}

func (l *loader) pair(file, path string, v *ast.MappingValueNode) {
	key := v.Key.GetToken().Value
	full := path + key
	if strings.Contains(key, ".") {
		l.problem(Problem{Source: at(file, v.Key), Path: full, Bound: "must be nested: one key for each part of the path"})
		return
	}
	if f, ok := l.fields[full]; ok {
		l.leaf(file, f, v)
		return
	}
	siblings := l.keysUnder(path)
	if !slices.Contains(siblings, key) {
		l.problem(Problem{Source: at(file, v.Key), Path: full, Bound: "unknown setting" + suggest(key, siblings)})
		return
	}
	if v.Value.Type() != ast.NullType { // a component with everything commented out
		l.mapping(file, full+".", v.Value)
	}
}

// keysUnder returns the keys that path, "" or ending in a dot, may have.
func (l *loader) keysUnder(path string) []string {
	var keys []string
	for _, f := range Fields(&l.config) {
		if rest, ok := strings.CutPrefix(f.Path, path); ok {
			key, _, _ := strings.Cut(rest, ".")
			keys = append(keys, key)
		}
	}
	return slices.Compact(keys)
}

func (l *loader) leaf(file string, f Field, v *ast.MappingValueNode) {
	source := at(file, v.Value)
	if seq, ok := v.Value.(*ast.SequenceNode); ok && f.IsList() {
		list := make([]string, 0, len(seq.Values))
		for _, item := range seq.Values {
			text, ok := scalar(item)
			if !ok {
				l.problem(Problem{Source: at(file, item), Path: f.Path, Bound: "must be a list of texts"})
				return
			}
			list = append(list, text)
		}
		f.SetList(list)
		l.sources[f.Path] = source
		return
	}
	text, ok := scalar(v.Value)
	switch {
	case ok:
		l.set(f, source, text)
	case f.IsList():
		l.problem(Problem{Source: source, Path: f.Path, Bound: "must be a list of texts"})
	default:
		l.problem(Problem{Source: source, Path: f.Path, Bound: "must be a single value"})
	}
}

// scalar returns the text of a plain or quoted value.
func scalar(n ast.Node) (string, bool) {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	default:
		return "", false
	}
}
