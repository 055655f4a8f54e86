package policy

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// envoyFieldsMin is how many fields any file may have, aliases expanded; one of
// more bytes than that may have as many as bytes. Without aliases no file can
// reach this, with them a small one can be a very large tree.
const envoyFieldsMin = 1 << 16

// An envoyReader turns one file of the reference service into descriptors.
// What it can't read it reports and leaves out.
type envoyReader struct {
	*envoyImporter
	file    string
	anchors map[string]ast.Node         // as of the node that Visit is at
	targets map[*ast.AliasNode]ast.Node // what each alias means; absent if nothing
	open    map[ast.Node]bool           // mappings being read, to refuse an alias to itself
	fields  int                         // that may still be read
}

// An envoyField is one field of a mapping, its anchors and aliases resolved.
type envoyField struct {
	name  string
	at    Position
	value ast.Node
}

// read returns the file's domain, nil if it has none worth going on with.
func (r *envoyReader) read(text []byte) *envoyDomain {
	everything := func(token.Tokens) *syntaxError { return nil }
	bodies, bad := parseYAML(chunk{text: bytes.TrimPrefix(text, []byte("\ufeff"))}, everything)
	if bad != nil {
		r.problem(Position{r.file, max(1, bad.line), max(1, bad.column)}, "", bad.message)
		return nil
	}
	if len(bodies) == 0 {
		r.problem(Position{r.file, 1, 1}, "", "the file is empty: it has no domain")
		return nil
	}
	r.fields = max(envoyFieldsMin, len(text))
	ast.Walk(r, bodies[0])
	d := r.readRoot(bodies[0])
	if len(bodies) > 1 {
		lost := r.loss(r.pos(bodies[1]), "", "the reference service reads only the first document of a file: this second one is not in force there")
		if d != nil {
			d.notes = append(d.notes, lost...)
		}
	}
	return d
}

// Visit binds each alias to the last anchor of its name before it: a name may be
// used again. It makes envoyReader an ast.Visitor.
func (r *envoyReader) Visit(n ast.Node) ast.Visitor {
	switch m := n.(type) {
	case *ast.AnchorNode:
		if m.Name != nil && m.Name.GetToken() != nil {
			r.anchors[m.Name.GetToken().Value] = m.Value
		}
	case *ast.AliasNode:
		name := m.Value.GetToken().Value
		target, ok := r.anchors[name]
		if !ok {
			r.problem(r.pos(n), "", fmt.Sprintf("no anchor before this is called %q (a value that starts with * needs quotes)", name))
			break
		}
		r.targets[m] = target
	}
	return r
}

func (r *envoyReader) pos(n ast.Node) Position {
	if n != nil {
		if t := n.GetToken(); t != nil && t.Position != nil {
			return Position{r.file, t.Position.Line, t.Position.Column}
		}
	}
	return Position{r.file, 1, 1}
}

func (r *envoyReader) readRoot(root ast.Node) *envoyDomain {
	d := &envoyDomain{at: r.pos(root)}
	fields, ok := r.mapping(root, "")
	if !ok {
		return nil
	}
	for _, f := range fields {
		switch f.name {
		case "domain":
			d.name, d.at = r.text(f, ""), f.at
		case "descriptors":
			d.roots = r.descriptors(f, "", 1)
		default:
			d.notes = append(d.notes, r.misplaced(f, "", "the top level")...)
		}
	}
	if d.name == "" {
		r.problem(d.at, "", "domain is missing or empty")
		return nil
	}
	return d
}

// descriptors reads a list of descriptors, all of them siblings.
func (r *envoyReader) descriptors(f envoyField, parent string, depth int) []*envoyNode {
	items, ok := r.sequence(f, parent)
	if !ok {
		return nil
	}
	if depth > DepthMax {
		r.problem(f.at, parent, fmt.Sprintf("descriptors are nested more than %d deep", DepthMax))
		return nil
	}
	nodes := make([]*envoyNode, 0, len(items))
	for _, item := range items {
		if n := r.descriptor(item, parent, depth); n != nil {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func (r *envoyReader) descriptor(item ast.Node, parent string, depth int) *envoyNode {
	fields, ok := r.mapping(item, parent)
	if !ok {
		return nil
	}
	defer r.close(item)
	n := &envoyNode{at: r.pos(item)}
	if len(fields) > 0 {
		n.at = fields[0].at
	}
	for _, f := range fields { // the path is needed to report the other fields
		switch f.name {
		case "key":
			n.key = r.text(f, parent)
		case "value":
			n.value = r.text(f, parent)
		}
	}
	n.path = joinEnvoyPath(parent, n.composite())
	if n.key == "" {
		r.problem(n.at, n.path, "descriptor has no key")
		return nil
	}
	for _, f := range fields {
		r.descriptorField(n, f, depth)
	}
	return n
}

func (r *envoyReader) descriptorField(n *envoyNode, f envoyField, depth int) {
	switch f.name {
	case "key", "value":
	case "rate_limit":
		n.limit = r.limit(f, n)
	case "descriptors":
		n.children = r.descriptors(f, n.path, depth+1)
	case "shadow_mode":
		n.shadow = r.boolean(f, n.path)
	case "quota_mode":
		n.quota = r.boolean(f, n.path)
	case "share_threshold":
		n.share = r.boolean(f, n.path)
	case "detailed_metric":
		n.detailed = r.boolean(f, n.path)
	case "value_to_metric":
		n.valueToMetric = r.boolean(f, n.path)
	case "metadata":
		if m, ok := f.value.(*ast.MappingNode); f.value.Type() != ast.NullType && (!ok || len(m.Values) > 0) {
			n.metadata = &f.at
		}
	default:
		n.notes = append(n.notes, r.misplaced(f, n.path, "a descriptor")...)
	}
}

// limit reads a rate_limit block; null is none.
func (r *envoyReader) limit(f envoyField, n *envoyNode) *envoyLimit {
	if f.value.Type() == ast.NullType {
		return nil
	}
	fields, ok := r.mapping(f.value, n.path)
	if !ok {
		return nil
	}
	defer r.close(f.value)
	l := &envoyLimit{at: f.at}
	unit := ""
	for _, f := range fields {
		switch f.name {
		case "unit":
			unit = r.text(f, n.path)
			l.unit = envoyUnit(unit)
		case "requests_per_unit":
			l.amount = r.amount(f, n.path)
		case "unlimited":
			l.unlimited = r.boolean(f, n.path)
		case "name":
			l.name = r.text(f, n.path)
		case "replaces":
			l.replaces = r.replaces(f, n)
		default:
			n.notes = append(n.notes, r.misplaced(f, n.path, "rate_limit")...)
		}
	}
	if !l.unlimited && !hasField(fields, "requests_per_unit") {
		n.notes = append(n.notes, "requests_per_unit is missing: the reference service reads 0, which bans")
	}
	r.checkLimit(l, unit, n.path)
	return l
}

// checkLimit reports what the reference service refuses of a whole rate_limit.
func (im *envoyImporter) checkLimit(l *envoyLimit, unit, path string) {
	switch {
	case l.unlimited && l.unit != 0:
		im.problem(l.at, path, "an unlimited rate_limit has no unit")
	case !l.unlimited && l.unit == 0:
		im.problem(l.at, path, fmt.Sprintf("unit %q is not one of second, minute, hour, day, week, month, year", unit))
	}
	if l.name != "" && slices.Contains(l.replaces, l.name) {
		im.problem(l.at, path, fmt.Sprintf("rate_limit %q replaces itself", l.name))
	}
}

func (r *envoyReader) replaces(f envoyField, n *envoyNode) []string {
	items, ok := r.sequence(f, n.path)
	if !ok {
		return nil
	}
	var names []string
	for _, item := range items {
		fields, ok := r.mapping(item, n.path)
		if !ok {
			continue
		}
		r.close(item)
		name := ""
		for _, f := range fields {
			if f.name == "name" {
				name = r.text(f, n.path)
			} else {
				n.notes = append(n.notes, r.misplaced(f, n.path, "replaces")...)
			}
		}
		if name == "" {
			r.problem(r.pos(item), n.path, "replaces has an entry without a name")
			continue
		}
		names = append(names, name)
	}
	return names
}

// misplaced reports a field that has no meaning where it stands. One that the
// reference service knows elsewhere it ignores here: that is a note, since
// ignoring it too is exact.
func (r *envoyReader) misplaced(f envoyField, path, where string) []string {
	if slices.Contains(envoyKeys(), f.name) {
		return []string{fmt.Sprintf("line %d: the reference service ignores %s in %s, and so does this import", f.at.Line, f.name, where)}
	}
	r.report.add(Problem{
		Position: f.at, Path: path, Message: fmt.Sprintf("unknown key %q", f.name),
		Suggestion: closest(f.name, envoyKeys()),
	})
	return nil
}

// mapping returns the fields of n, a merge key (<<) expanded where the
// reference service means the same by it: it merges where the key stands, and
// joins mappings inside. The caller closes n when it has read what is below it.
func (r *envoyReader) mapping(n ast.Node, path string) ([]envoyField, bool) {
	body := r.resolve(n)
	var pairs []*ast.MappingValueNode
	switch m := body.(type) {
	case *ast.MappingNode:
		pairs = m.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{m}
	default:
		r.problem(r.pos(n), path, "not a mapping of keys to values")
		return nil, false
	}
	if r.open[body] {
		r.problem(r.pos(n), path, "an alias refers to what contains it")
		return nil, false
	}
	if r.fields < 0 {
		return nil, false
	}
	if r.fields -= len(pairs) + 1; r.fields < 0 {
		r.problem(r.pos(n), path, "too many fields, aliases expanded")
		return nil, false
	}
	r.open[body] = true
	fields := make([]envoyField, 0, len(pairs))
	var merged []envoyField
	for i, p := range pairs {
		if _, ok := p.Key.(*ast.MergeKeyNode); ok {
			if i > 0 {
				r.problem(r.pos(p.Key), path, "<< is not the first key of its mapping: the reference service merges it over the keys before it; write << first, or what it merges in full")
			}
			merged = append(merged, r.merge(p.Value, path)...)
			continue
		}
		key, ok := p.Key.(*ast.StringNode)
		switch {
		case !ok:
			r.problem(r.pos(p.Key), path, "a key is not a string")
		case hasField(fields, key.Value):
			r.problem(r.pos(p.Key), path, fmt.Sprintf("the key %q is there twice", key.Value))
		default:
			fields = append(fields, envoyField{key.Value, r.pos(p.Key), r.resolve(p.Value)})
		}
	}
	for _, f := range merged {
		i := fieldIndex(fields, f.name)
		if i < 0 {
			fields = append(fields, f)
		} else if isMapping(f.value) && isMapping(fields[i].value) {
			r.problem(fields[i].at, path, f.name+" is in the mapping and in what << merges into it: the reference service joins the two; write one in full, without the other")
			fields[i].value = ast.Null(f.value.GetToken()) // half of it would be reported again
		}
	}
	return fields, true
}

func isMapping(n ast.Node) bool {
	return n.Type() == ast.MappingType || n.Type() == ast.MappingValueType
}

func fieldIndex(fields []envoyField, name string) int {
	return slices.IndexFunc(fields, func(f envoyField) bool { return f.name == name })
}

func hasField(fields []envoyField, name string) bool {
	return fieldIndex(fields, name) >= 0
}

// merge returns the fields that a merge key brings in: those of one mapping or
// of a list of mappings, the first of which wins.
func (r *envoyReader) merge(n ast.Node, path string) []envoyField {
	sources := []ast.Node{n}
	if s, ok := r.resolve(n).(*ast.SequenceNode); ok {
		sources = s.Values
	}
	var fields []envoyField
	for _, s := range sources {
		more, ok := r.mapping(s, path)
		if ok {
			r.close(s)
		}
		for _, f := range more {
			i := fieldIndex(fields, f.name)
			if i < 0 {
				fields = append(fields, f)
			} else if isMapping(f.value) && isMapping(fields[i].value) {
				r.problem(r.pos(s), path, f.name+" is in two of the mappings that << merges: the reference service joins the two; write one in full, without the other")
			}
		}
	}
	return fields
}

func (r *envoyReader) close(n ast.Node) { delete(r.open, r.resolve(n)) }

// sequence returns the items of f; null is an empty list.
func (r *envoyReader) sequence(f envoyField, path string) ([]ast.Node, bool) {
	switch s := f.value.(type) {
	case *ast.SequenceNode:
		return s.Values, true
	case *ast.NullNode:
		return nil, true
	default:
		r.problem(f.at, path, f.name+" is not a list")
		return nil, false
	}
}

// resolve follows anchors, aliases and tags. An alias to nothing, which Visit
// has reported, or to itself resolves to null.
func (r *envoyReader) resolve(n ast.Node) ast.Node {
	for range len(r.targets) + 8 {
		switch m := n.(type) {
		case *ast.AnchorNode:
			n = m.Value
		case *ast.TagNode:
			n = m.Value
		case *ast.AliasNode:
			target, ok := r.targets[m]
			if !ok {
				return ast.Null(n.GetToken())
			}
			n = target
		case nil:
			return ast.Null(token.New("null", "null", &token.Position{Line: 1, Column: 1}))
		default:
			return n
		}
	}
	return ast.Null(n.GetToken())
}

// text returns a scalar as it is written; null is empty. As in the reference
// service, whole numbers and booleans are taken as their text, and numbers that
// are no int64 are refused unless they are quoted.
func (r *envoyReader) text(f envoyField, path string) string {
	text := f.value.GetToken().Value
	switch s := f.value.(type) {
	case *ast.StringNode:
		if s.Token.Type != token.StringType {
			return s.Value // quoted
		}
		text = s.Value
	case *ast.LiteralNode:
		return s.Value.Value
	case *ast.NullNode:
		return ""
	case *ast.IntegerNode, *ast.BoolNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
	default:
		r.problem(f.at, path, f.name+" is not a string")
		return ""
	}
	if isRefusedNumber(text) {
		r.problem(f.at, path, fmt.Sprintf("%s %s is a number, but no whole one of 64 bits: the reference service refuses it; quote it", f.name, text))
	}
	return text
}

// isRefusedNumber reports whether the reference service's YAML reader takes an
// unquoted text for a number other than an int64. Its schema check knows no
// such type.
func isRefusedNumber(s string) bool {
	switch strings.TrimLeft(s, "+-") {
	case ".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN":
		return true
	case "":
		return false
	}
	if s[0] != '.' { // with no digit before the point, _ makes it a string
		s = strings.ReplaceAll(s, "_", "")
		if _, err := strconv.ParseInt(s, 0, 64); err == nil {
			return false
		}
		if _, err := strconv.ParseUint(s, 0, 64); err == nil {
			return true
		}
	}
	notDecimal := func(c rune) bool { return !strings.ContainsRune("0123456789+-.eE", c) }
	_, err := strconv.ParseFloat(s, 64)
	return err == nil && !strings.ContainsFunc(s, notDecimal)
}

func (r *envoyReader) amount(f envoyField, path string) uint64 {
	switch f.value.(type) {
	case *ast.NullNode:
		return 0
	case *ast.IntegerNode:
		// The reference service's rules: base prefixes, a leading 0 is octal.
		v, err := strconv.ParseUint(strings.ReplaceAll(f.value.GetToken().Value, "_", ""), 0, 32)
		if err == nil {
			return v
		}
	}
	r.problem(f.at, path, fmt.Sprintf("requests_per_unit %q is not a whole number from 0 to 4294967295", f.value.GetToken().Value))
	return 0
}

func (r *envoyReader) boolean(f envoyField, path string) bool {
	switch b := f.value.(type) {
	case *ast.BoolNode:
		return b.Value
	case *ast.NullNode:
		return false
	case *ast.StringNode: // YAML 1.1, which the reference service reads
		if b.Token.Type == token.StringType {
			switch strings.ToLower(b.Value) {
			case "y", "yes", "on":
				return true
			case "n", "no", "off":
				return false
			}
		}
	}
	r.problem(f.at, path, f.name+" is not true or false")
	return false
}

// envoyKeys are the keys that the reference service knows anywhere. It refuses a
// file with any other.
func envoyKeys() []string {
	return []string{
		"domain", "descriptors", "key", "value", "rate_limit", "unit", "requests_per_unit",
		"unlimited", "name", "replaces", "shadow_mode", "quota_mode", "detailed_metric",
		"value_to_metric", "share_threshold", "metadata",
	}
}

func joinEnvoyPath(parent, composite string) string {
	if parent == "" {
		return composite
	}
	return parent + " / " + composite
}
