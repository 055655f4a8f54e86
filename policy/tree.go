package policy

import (
	"encoding/binary"
	"strings"
)

// A tree finds the rules with a descriptor exactly as Envoy's rate limit
// service does. Every node is a step of one entry and is known below its parent
// by one text: `key_value`, or `key` alone for any value. An entry is looked up
// as `key_value`; else the first pattern in the order of the document that
// matches `key_value` is taken; else `key` is looked up. A limit applies only
// where the last entry ends. One text for key and value means that the entry
// {a_b, c} is the entry {a, b_c}, as it is there.
type tree struct {
	edges    textTable    // parent (4 bytes) and text → rule whose next is a node
	patterns []*wildcards // by parent: among the children of nodes with patternsBit
	root     uint32       // as in a rule's next
	depth    int          // of the deepest node
	far      bool         // some table of it is
}

// What is set in the next of a rule beside the number of its node.
const (
	leafBit     = 1 << 31 // the node has no children
	patternsBit = 1 << 30 // it has patterns among its children
	sharedBit   = 1 << 29 // it is a pattern whose values share a counter
	nodeMask    = sharedBit - 1
)

// wildcards are the patterns among the children of one node. The by of their
// rules is their order in the document.
type wildcards struct {
	table prefixTable // by what they begin with; without slots, as the patterns are asked for
	many  []wildcard  // where more than one begins so; in order in each span
}

type wildcard struct {
	glob glob
	rule compactRule
}

// first returns the first pattern that matches text, and its rule; nil if there
// is none.
func (w *wildcards) first(text []byte) (best *compactRule, pattern []byte) {
	t := &w.table.table
	walk := w.table.walk(text)
	for at := walk.next(); at >= 0; at = walk.next() {
		r := &t.records[at]
		if r.kind == oneRule {
			if best == nil || r.rule.by < best.by {
				best, pattern = &r.rule, r.pattern(t.long)
			}
			continue
		}
		many := w.many[r.rule.by : r.rule.by+r.rule.next]
		for i := range many {
			c := &many[i]
			if best != nil && c.rule.by > best.by {
				break
			}
			if c.glob.matches(text) {
				best, pattern = &c.rule, c.glob
				break
			}
		}
	}
	return best, pattern
}

// How an entry reached its node, which says what of it tells counters apart.
const (
	byText    = iota // nothing: the text is the node's
	byPattern        // the text, unless it is shared
	byKey            // the value
)

// A step goes from a node along one entry.
type step struct {
	rule    *compactRule // of the next node, perhaps in room
	room    *compactRule
	how     int
	text    []byte // what was looked up: the parent and the entry's text
	pattern []byte // of byPattern
}

// take goes from a node along e and reports whether there is a next one. The
// room of s.text is used again.
func (s *step) take(t *tree, parent uint32, e Entry) bool {
	s.text = edgeText(s.text, parent, e)
	s.how = byText
	at := t.edges.find(s.text)
	if at < 0 && parent&patternsBit != 0 {
		s.how = byPattern
		if s.rule, s.pattern = t.patterns[parent&nodeMask].first(s.text[edgeParent:]); s.rule != nil {
			return true
		}
	}
	if at < 0 {
		s.how = byKey
		at = t.edges.find(s.text[:edgeParent+len(e.Key)])
	}
	if at < 0 {
		return false
	}
	s.rule, _ = t.edges.rule(at, s.room)
	return true
}

// edgeText returns what is looked up for e, in the room of b.
func edgeText(b []byte, parent uint32, e Entry) []byte {
	b = binary.BigEndian.AppendUint32(b[:0], parent&nodeMask)
	b = append(b, e.Key...)
	b = append(b, '_')
	return append(b, e.Value...)
}

// foresee asks for what take will read, but for what a key without the value
// leads to: that is one node.
func (s *step) foresee(t *tree, parent uint32, e Entry) {
	s.text = edgeText(s.text, parent, e)
	if t.edges.lead(s.text, byTags) == 0 && parent&patternsBit != 0 {
		t.patterns[parent&nodeMask].table.lead(s.text[edgeParent:], byTags)
	}
}

// edgeParent is how many bytes of an edge's key are the parent's number.
const edgeParent = 4

// appendKey appends what of the entry e tells the counters of the next node
// apart. The parts of different kinds of steps never have the same bytes.
func (s *step) appendKey(key []byte, e Entry) []byte {
	part := e.Value
	switch s.how {
	case byText:
		return append(key, 0)
	case byPattern:
		part = s.text[edgeParent:]
		if s.rule.next&sharedBit != 0 {
			// What the service puts into the counter's name is the pattern
			// without `key_`; and all of it if it does not begin so.
			if p := s.pattern; len(p) > len(e.Key) && string(p[:len(e.Key)]) == string(e.Key) && p[len(e.Key)] == '_' {
				return append(key, 0)
			}
			part = e.Key
		}
	}
	key = binary.AppendUvarint(key, (uint64(len(part))<<1|uint64(s.how-byPattern))+1)
	return append(key, part...)
}

// A treeNode is a node while the tree is built.
type treeNode struct {
	rule   compactRule // owes nothing if no rule ends here
	inner  bool        // it has children
	shared bool
}

// A treeBuilder adds rules to a tree.
type treeBuilder struct {
	*builder
	nodes    []treeNode        // the root first
	depth    int               // of the deepest
	edges    map[string]uint32 // to nodes
	edge     []byte
	owner    map[uint32]int      // which rule ends at a node
	patterns map[uint32][]string // texts with wildcards among a node's children, in order
	sharedBy map[uint32]place    // which rule made a node
}

func newTreeBuilder(b *builder) *treeBuilder {
	return &treeBuilder{
		builder: b, nodes: make([]treeNode, 1), edges: map[string]uint32{},
		owner: map[uint32]int{}, patterns: map[uint32][]string{}, sharedBy: map[uint32]place{},
	}
}

// edgeKey returns the key of the edge from a node by a text.
func (b *treeBuilder) edgeKey(parent uint32, text string) string {
	b.edge = binary.BigEndian.AppendUint32(b.edge[:0], parent)
	return string(append(b.edge, text...))
}

// add adds rule i, whose terms are compiled.
func (b *treeBuilder) add(i int, rule *LimitRule, terms []term) {
	node := uint32(0)
	for j, e := range rule.Descriptor {
		text := e.Key
		if e.Value != "" {
			text += "_" + e.Value
		}
		edge := b.edgeKey(node, text)
		next, ok := b.edges[edge]
		if !ok {
			next = uint32(len(b.nodes))
			b.edges[edge] = next
			b.nodes = append(b.nodes, treeNode{shared: e.Shared})
			b.nodes[node].inner = true
			b.sharedBy[next] = place{rule: i}
			if strings.Contains(text, "*") {
				b.patterns[node] = append(b.patterns[node], text)
				if !isPrefixGlob(text) && (strings.HasPrefix(e.Key, "*") || strings.HasPrefix(e.Value, "*")) {
					b.unindexed++
				}
			}
		} else if e.Shared != b.nodes[next].shared {
			first := b.sharedBy[next]
			b.failRule(i, Problem{
				Path: ".descriptor", Value: formatEntry(e),
				Message:  "the entry is shared in one rule and not in another, " + first.path(&LimitRule{}),
				Expected: "the same in all rules that begin with it",
			})
		}
		b.depth = max(b.depth, j+1)
		node = next
	}
	if first, ok := b.owner[node]; ok {
		b.failRule(i, Problem{
			Path: ".descriptor", Value: strings.TrimPrefix(selectorText(rule), "descriptor "),
			Message:  "the entries are those of " + place{rule: first}.path(&LimitRule{}),
			Expected: "one rule for one list of entries; several limits for it go in the rule's own list, limits: [{…}, {…}]",
		})
		return
	}
	b.owner[node] = i
	b.nodes[node].rule = b.compact(terms, nil, 0)
}

// build indexes nodes and patterns.
func (b *treeBuilder) build() tree {
	t := tree{root: b.next(0), depth: b.depth}
	entries := make([]textEntry, 0, len(b.edges))
	for edge, node := range b.edges {
		entries = append(entries, textEntry{text: edge, rule: b.rule(node)})
	}
	t.edges = newTextTable(entries, b.slotsFrom)
	for parent, texts := range b.patterns {
		if t.patterns == nil {
			t.patterns = make([]*wildcards, len(b.nodes))
		}
		t.patterns[parent] = b.wildcards(parent, texts)
		t.far = t.far || t.patterns[parent].table.table.far()
	}
	t.far = t.far || t.edges.far()
	return t
}

// next returns a node's number and its bits. Leaves need no number, and most of them
// are the same without it, which takes less room.
func (b *treeBuilder) next(node uint32) uint32 {
	next, n := node, &b.nodes[node]
	if !n.inner {
		next = leafBit
	}
	if len(b.patterns[node]) > 0 {
		next |= patternsBit
	}
	if n.shared {
		next |= sharedBit
	}
	return next
}

// rule returns the rule that leads to a node.
func (b *treeBuilder) rule(node uint32) compactRule {
	rule := b.nodes[node].rule
	rule.next = b.next(node)
	return rule
}

// wildcards indexes the patterns of a node's children by what they begin with.
func (b *treeBuilder) wildcards(parent uint32, texts []string) *wildcards {
	groups := map[string][]wildcard{}
	for i, text := range texts {
		rule := b.rule(b.edges[b.edgeKey(parent, text)])
		rule.by = uint32(i)
		prefix := literalPrefix(text)
		groups[prefix] = append(groups[prefix], wildcard{glob(text), rule})
	}
	w, keys := &wildcards{}, make([]prefixKey, 0, len(groups))
	for prefix, group := range groups {
		k := prefixKey{value: prefix, length: uint16(len(prefix)), rule: group[0].rule, rest: string(group[0].glob[len(prefix):])}
		if len(group) > 1 {
			k.rule, k.rest, k.kind = compactRule{by: uint32(len(w.many)), next: uint32(len(group))}, "", manyRules
			w.many = append(w.many, group...)
		}
		keys = append(keys, k)
	}
	w.table = newPrefixTable(false, keys, noSlots)
	return w
}
