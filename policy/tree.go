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
	edges textTable  // parent (4 bytes) and text → rule whose next is a node
	nodes []treeNode // the root first
	depth int        // of the deepest node
}

type treeNode struct {
	rule   compactRule // owes nothing if no rule ends here
	extras *nodeExtras // nil: none
}

// leafBit is set in the next of rules whose node has no children.
const leafBit = 1 << 31

// nodeExtras are what few nodes have.
type nodeExtras struct {
	wildcards *wildcards // patterns among the children; nil: none
	shared    string     // the pattern, if its values share a counter; else empty
}

// wildcards are the patterns among the children of one node.
type wildcards struct {
	list   []wildcard // in the order of the document
	prefix prefixTree // literal prefix → span of byPrefix
	// byPrefix has indices to list, in ascending order in each span.
	byPrefix []uint32
}

type wildcard struct {
	glob       glob
	prefixOnly bool // one `*` at the end
	node       uint32
}

// first returns the first pattern's node that matches text.
func (w *wildcards) first(text []byte) (node uint32, ok bool) {
	best := len(w.list)
	for walk := w.prefix.walk(text); ; {
		at, ok := walk.next()
		if !ok {
			break
		}
		if at.n == 1 {
			best = w.better(at.offset, best, text)
			continue
		}
		for _, i := range w.byPrefix[at.offset : at.offset+at.n] {
			if int(i) >= best {
				break
			}
			best = w.better(i, best, text)
		}
	}
	if best == len(w.list) {
		return 0, false
	}
	return w.list[best].node, true
}

// better returns i if pattern i comes before the best one so far and matches.
func (w *wildcards) better(i uint32, best int, text []byte) int {
	if c := &w.list[i]; int(i) < best && (c.prefixOnly || c.glob.matches(text)) {
		return int(i)
	}
	return best
}

// How an entry reached its node, which says what of it tells counters apart.
const (
	byText    = iota // nothing: the text is the node's
	byPattern        // the text, unless it is shared
	byKey            // the value
)

// step goes from a node along e to the rule of the next one, nil if there is
// none. scratch has room that is used again.
func (t *tree) step(parent uint32, e Entry, scratch []byte) (rule *compactRule, how int, text []byte) {
	scratch = binary.BigEndian.AppendUint32(scratch[:0], parent)
	scratch = append(scratch, e.Key...)
	scratch = append(scratch, '_')
	scratch = append(scratch, e.Value...)
	if r := t.edges.find(scratch); r != nil {
		return r, byText, scratch
	}
	if x := t.nodes[parent].extras; x != nil && x.wildcards != nil {
		if n, ok := x.wildcards.first(scratch[edgeParent:]); ok {
			return &t.nodes[n].rule, byPattern, scratch
		}
	}
	return t.edges.find(scratch[:edgeParent+len(e.Key)]), byKey, scratch
}

// edgeParent is how many bytes of an edge's key are the parent's number.
const edgeParent = 4

// appendStep appends what of an entry tells the counters of its node apart.
// The parts of different kinds of steps never have the same bytes.
func (t *tree) appendStep(key []byte, node uint32, e Entry, how int, text []byte) []byte {
	part := e.Value
	switch how {
	case byText:
		return append(key, 0)
	case byPattern:
		part = text[edgeParent:]
		if x := t.nodes[node].extras; x != nil && x.shared != "" {
			shared := x.shared
			// What the service puts into the counter's name is the pattern
			// without `key_`; and all of it if it does not begin so.
			if len(shared) > len(e.Key) && shared[:len(e.Key)] == string(e.Key) && shared[len(e.Key)] == '_' {
				return append(key, 0)
			}
			part = e.Key
		}
	}
	key = binary.AppendUvarint(key, (uint64(len(part))<<1|uint64(how-byPattern))+1)
	return append(key, part...)
}

// A treeBuilder adds rules to a tree.
type treeBuilder struct {
	*builder
	tree     tree
	edges    map[string]uint32 // to nodes
	leaf     []bool            // by node
	edge     []byte
	owner    map[uint32]int      // which rule ends at a node
	patterns map[uint32][]string // texts with wildcards among a node's children, in order
	sharedBy map[uint32]place    // which rule made a node
}

func newTreeBuilder(b *builder) *treeBuilder {
	return &treeBuilder{
		builder: b, tree: tree{nodes: make([]treeNode, 1)}, edges: map[string]uint32{}, leaf: []bool{true},
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
			next = uint32(len(b.tree.nodes))
			b.edges[edge] = next
			b.tree.nodes = append(b.tree.nodes, treeNode{})
			b.leaf = append(b.leaf, true)
			b.leaf[node] = false
			b.sharedBy[next] = place{rule: i}
			if strings.Contains(text, "*") {
				b.patterns[node] = append(b.patterns[node], text)
				if !isPrefixGlob(text) && (strings.HasPrefix(e.Key, "*") || strings.HasPrefix(e.Value, "*")) {
					b.unindexed++
				}
			}
			if e.Shared {
				b.extras(next).shared = text
			}
		} else if x := b.tree.nodes[next].extras; e.Shared != (x != nil && x.shared != "") {
			first := b.sharedBy[next]
			b.failRule(i, Problem{
				Path: ".descriptor", Value: formatEntry(e),
				Message:  "the entry is shared in one rule and not in another, " + first.path(&LimitRule{}),
				Expected: "the same in all rules that begin with it",
			})
		}
		b.tree.depth = max(b.tree.depth, j+1)
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
	b.tree.nodes[node].rule = b.compact(terms, nil, 0)
}

// build indexes the patterns and returns the tree.
func (b *treeBuilder) build() tree {
	for parent, texts := range b.patterns {
		w := &wildcards{list: make([]wildcard, len(texts))}
		groups := map[string][]uint32{}
		for i, text := range texts {
			w.list[i] = wildcard{glob(text), isPrefixGlob(text), b.edges[b.edgeKey(parent, text)]}
			prefix := literalPrefix(text)
			groups[prefix] = append(groups[prefix], uint32(i))
		}
		w.byPrefix, w.prefix = groupByPrefix(groups)
		b.extras(parent).wildcards = w
	}
	for i := range b.tree.nodes {
		next := uint32(i)
		if b.leaf[i] {
			next |= leafBit
		}
		b.tree.nodes[i].rule.next = next
	}
	rules := make(map[string]compactRule, len(b.edges))
	for edge, node := range b.edges {
		rules[edge] = b.tree.nodes[node].rule
	}
	b.tree.edges = newTextTable(rules)
	return b.tree
}

// extras returns a node's extras, made if need be.
func (b *treeBuilder) extras(node uint32) *nodeExtras {
	n := &b.tree.nodes[node]
	if n.extras == nil {
		n.extras = new(nodeExtras)
	}
	return n.extras
}

// groupByPrefix lays groups out in one array and indexes them by their key.
func groupByPrefix(groups map[string][]uint32) ([]uint32, prefixTree) {
	var all []uint32
	spans := make(map[string]span, len(groups))
	for key, group := range groups {
		if len(group) == 1 {
			spans[key] = span{group[0], 1}
			continue
		}
		spans[key] = span{uint32(len(all)), uint32(len(group))}
		all = append(all, group...)
	}
	return all, newPrefixTree(spans)
}
