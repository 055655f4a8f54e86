package obs

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"

	"github.com/headgate/headgate/limiter"
)

// A Top ranks the keys that are seen most, by the Space-Saving algorithm
// (Metwally, Agrawal, El Abbadi 2005): a key whose share of what was seen is
// above 1/K is among the K kept, and its Count is at most Error too high.
// Samples add their own error; see docs/reference/metrics.md.
type Top struct {
	samplers []*sampler // one per stripe, set once

	mu    sync.Mutex // guards what follows
	kept  topHeap    // the least first
	byKey map[limiter.Key]*topEntry
	max   int
}

// A TopKey is one line of a ranking.
type TopKey struct {
	Domain string `json:"domain"`
	Limit  string `json:"limit"`
	// Key is the fingerprint that answers and logs use too.
	Key string `json:"key"`
	// Text is the values behind the key, where the limit says `labels: true`.
	Text string `json:"text,omitempty"`
	// Count estimates the requests of the last minutes: it halves every minute.
	Count float64 `json:"count"`
	// Error is how much too high Count is at most, samples apart.
	Error float64 `json:"error"`
}

type topEntry struct {
	key   limiter.Key
	line  TopKey
	place int // in the heap
}

func newTop(keysMax int) *Top {
	return &Top{max: keysMax, byKey: make(map[limiter.Key]*topEntry, keysMax)}
}

// Drain takes over what was noted since the last time. Call it a few times a
// second.
func (t *Top) Drain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.samplers {
		s.drain(t.see)
	}
}

// Decay halves all counts, and drops what counts for nothing any more. Call it
// once a minute.
func (t *Top) Decay() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.kept {
		e.line.Count /= 2
		e.line.Error /= 2
	}
	for len(t.kept) > 0 && t.kept[0].line.Count < 0.5 { // halving keeps the order
		e, _ := heap.Pop(&t.kept).(*topEntry)
		delete(t.byKey, e.key)
	}
}

// Keys returns the ranking, the most seen first.
func (t *Top) Keys() []TopKey {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := make([]TopKey, 0, len(t.kept))
	for _, e := range t.kept {
		lines = append(lines, e.line)
	}
	slices.SortFunc(lines, func(a, b TopKey) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key))
	})
	return lines
}

// see counts weight requests for the key of n. t.mu is held.
func (t *Top) see(n *note, weight float64) {
	e := t.byKey[n.key]
	if e == nil {
		e = t.admit(n.key)
		e.line.Domain, e.line.Limit, e.line.Key = n.domain, n.limit, n.key.Fingerprint()
		e.line.Text = string(n.text)
	}
	e.line.Count += weight
	heap.Fix(&t.kept, e.place)
}

// admit returns an entry for key: a new one, or that of the key seen least,
// whose count is the new one's possible error.
func (t *Top) admit(key limiter.Key) *topEntry {
	if len(t.kept) < t.max {
		e := &topEntry{key: key}
		t.byKey[key] = e
		heap.Push(&t.kept, e)
		return e
	}
	e := t.kept[0]
	delete(t.byKey, e.key)
	e.key = key
	e.line = TopKey{Count: e.line.Count, Error: e.line.Count}
	t.byKey[key] = e
	return e
}

// topHeap is a container/heap with the least count first.
type topHeap []*topEntry

func (h topHeap) Len() int           { return len(h) }
func (h topHeap) Less(i, j int) bool { return h[i].line.Count < h[j].line.Count }

func (h topHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *topHeap) Push(x any) {
	e, _ := x.(*topEntry) // the heap holds nothing else
	e.place = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *topHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	*h = (*h)[:last]
	return e
}
