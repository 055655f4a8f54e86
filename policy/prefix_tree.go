package policy

import (
	"bytes"
	"slices"
	"strings"
)

// A prefixTree finds all of its keys that a value begins with, in time that
// depends on the value's length and not on the number of keys: a radix tree in
// three flat arrays. Nodes are numbered level by level, so that the children of
// one node stand together. The zero prefixTree is empty.
type prefixTree struct {
	nodes  []prefixNode
	labels []byte // first bytes of the children's texts
	text   []byte
}

type prefixNode struct {
	text     uint32 // offset of what this node adds to its parent
	length   uint32 // of it
	labels   uint32 // offset of the children's labels
	child    uint32 // number of the first child
	children uint16
	found    bool // a key ends here
	value    span // of that key
}

// newPrefixTree returns the tree of keys.
func newPrefixTree(keys map[string]span) prefixTree {
	if len(keys) == 0 {
		return prefixTree{}
	}
	type job struct {
		sorted []string // keys that share their first `depth` bytes
		depth  int
	}
	sorted := make([]string, 0, len(keys))
	for k := range keys {
		sorted = append(sorted, k)
	}
	slices.Sort(sorted)

	// The root adds nothing even if all keys begin alike: its text is empty.
	var t prefixTree
	t.nodes = append(t.nodes, prefixNode{})
	jobs := []job{{sorted, 0}}
	for at := 0; at < len(jobs); at++ {
		j, n := jobs[at], t.nodes[at]
		end := j.depth
		if at > 0 {
			end += commonPrefix(j.sorted[0][j.depth:], j.sorted[len(j.sorted)-1][j.depth:])
		}
		n.text, n.length = uint32(len(t.text)), uint32(end-j.depth)
		t.text = append(t.text, j.sorted[0][j.depth:end]...)
		rest := j.sorted
		if len(rest[0]) == end {
			n.found, n.value = true, keys[rest[0]]
			rest = rest[1:]
		}
		n.labels, n.child = uint32(len(t.labels)), uint32(len(t.nodes))
		for len(rest) > 0 {
			label := rest[0][end]
			size := len(rest)
			for i, k := range rest {
				if k[end] != label {
					size = i
					break
				}
			}
			t.labels = append(t.labels, label)
			t.nodes = append(t.nodes, prefixNode{})
			jobs = append(jobs, job{rest[:size], end})
			n.children++
			rest = rest[size:]
		}
		t.nodes[at] = n
	}
	return t
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// A prefixWalk visits the keys that a value begins with, shortest first.
type prefixWalk struct {
	tree  *prefixTree
	value []byte // what is left of it
	node  uint32
	done  bool
}

// walk starts a walk over the keys that value begins with.
func (t *prefixTree) walk(value []byte) prefixWalk {
	return prefixWalk{tree: t, value: value, done: len(t.nodes) == 0}
}

// next returns the next key's value; ok is false at the end.
func (w *prefixWalk) next() (v span, ok bool) {
	for !w.done {
		n := &w.tree.nodes[w.node]
		text := w.tree.text[n.text : n.text+n.length]
		if !bytes.HasPrefix(w.value, text) {
			w.done = true
			break
		}
		w.value = w.value[len(text):]
		w.done = true
		if len(w.value) > 0 && n.children > 0 {
			labels := w.tree.labels[n.labels : n.labels+uint32(n.children)]
			if i := bytes.IndexByte(labels, w.value[0]); i >= 0 {
				w.node, w.done = n.child+uint32(i), false
			}
		}
		if n.found {
			return n.value, true
		}
	}
	return span{}, false
}

// prefixFree sorts prefixes and drops those that begin with another of them:
// what they match, that one matches too.
func prefixFree(prefixes []string) []string {
	var free []string
	for _, p := range slices.Sorted(slices.Values(prefixes)) {
		if len(free) == 0 || !strings.HasPrefix(p, free[len(free)-1]) {
			free = append(free, p)
		}
	}
	return free
}
