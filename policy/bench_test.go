package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
)

// A workload is a policy of n rules of one shape, and a request whose first
// entry takes values that fit them. Values are made when they are asked for: in
// a request they have just been read, and here, too, only what the match reads
// of the policy may be in far memory.
type workload struct {
	snapshot *Snapshot
	requests [flight]*Request
	calls    [flight]limiter.Call
	shape    string
	rules    int
	random   *rand.Rand
	texts    [batch][]byte // memory of values
	values   [batch][]byte
}

// flight is how many requests a door has in hand at once.
const flight = 16

// batch is how many values are made and then matched, so that making them is not
// measured.
const batch = 256

func newWorkload(tb testing.TB, shape string, n int) *workload {
	tb.Helper()
	s, problems := Compile([]*Document{workloadDocument(shape, n)}, Options{})
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	w := &workload{snapshot: s, shape: shape, rules: n, random: rand.New(rand.NewPCG(1, 2))}
	for i := range w.texts {
		w.texts[i] = make([]byte, 0, 64)
	}
	for i := range w.requests {
		r := &Request{Domain: []byte("bench")}
		r.AddDescriptor()
		r.AddEntry([]byte("v"), nil)
		if !strings.HasPrefix(shape, "tree") {
			r.AddEntry([]byte("user"), []byte("user-17"))
		}
		w.requests[i] = r
	}
	runtime.GC() // what compiling left is not matching's cost
	return w
}

func workloadDocument(shape string, n int) *Document {
	doc := &Document{Domain: "bench", Pos: Position{File: "bench", Line: 1}, Rules: make([]LimitRule, n)}
	for i := range doc.Rules {
		rule := &doc.Rules[i]
		rule.Terms = []Term{{Name: fmt.Sprintf("limit %d", i), Kind: limiter.KindRate, Amount: 100, Every: time.Second}}
		workloadRule(rule, shape, scatter(i))
	}
	return doc
}

// scatter maps the numbers below 1 M to one another without order.
func scatter(i int) int {
	const mask = 1<<20 - 1
	for range 3 {
		i = i * 0x9e375 & mask
		i ^= i >> 9
	}
	return i
}

// workloadRule sets the selector of a rule.
func workloadRule(rule *LimitRule, shape string, id int) {
	when := func(m Matcher) { rule.When = []Condition{{"v", m}} }
	name := fmt.Sprintf("/service-%06x/", id)
	switch shape {
	case "exact":
		when(Matcher{Values: []string{name}})
	case "list":
		when(Matcher{Values: []string{name, name + "a", name + "b", name + "c"}})
	case "prefix":
		when(Matcher{Kind: MatchPrefix, Values: []string{name}})
	case "prefixes":
		name = fmt.Sprintf("/service-%06x/%s", id, strings.Repeat("x", id%32))
		when(Matcher{Kind: MatchPrefix, Values: []string{name}})
	case "glob":
		when(Matcher{Kind: MatchGlob, Values: []string{name + "*/items"}})
	case "cidr":
		when(Matcher{Kind: MatchCIDR, Values: []string{netip.PrefixFrom(workloadAddress(id), 28).String()}})
	case "cidrs":
		when(Matcher{Kind: MatchCIDR, Values: []string{netip.PrefixFrom(workloadAddress(id), 28+id%5).String()}})
	case "tree":
		rule.Descriptor = []EntryPattern{{Key: "v", Value: name}}
	case "treeglob":
		rule.Descriptor = []EntryPattern{{Key: "v", Value: name + "*/items"}}
	default:
		panic(shape)
	}
}

func workloadAddress(id int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(id >> 12), byte(id >> 4), byte(id << 4)})
}

// workloadValue appends a value that fits a rule.
func workloadValue(b []byte, shape string, id int) []byte {
	if strings.HasPrefix(shape, "cidr") {
		return workloadAddress(id).AppendTo(b)
	}
	const digits = "0123456789abcdef"
	b = append(b, "/service-"...)
	for shift := 20; shift >= 0; shift -= 4 {
		b = append(b, digits[id>>shift&15])
	}
	b = append(b, '/')
	switch shape {
	case "list":
		return append(b, "abc"[id%3])
	case "prefixes":
		b = append(b, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"[:id%32]...)
		fallthrough
	case "prefix":
		return append(b, "items/17"...)
	case "glob", "treeglob":
		return append(b, "x/items"...)
	}
	return b
}

// draw makes a batch of values of rules below n.
func (w *workload) draw(n int) {
	for i := range w.values {
		w.values[i] = workloadValue(w.texts[i][:0], w.shape, scatter(w.random.IntN(n)))
	}
}

// alone matches a batch of values of rules below n, one after another, and
// returns what it took.
func (w *workload) alone(b *testing.B, n int) time.Duration {
	b.Helper()
	w.draw(n)
	r, c := w.requests[0], &w.calls[0]
	value := &r.entries[0].Value
	start := time.Now()
	for i := range w.values {
		c.Reset()
		*value = w.values[i]
		if w.snapshot.Match(r, c) != Matched || len(c.Charges()) != 1 {
			b.Fatalf("no match of %s", *value)
		}
	}
	return time.Since(start)
}

// inFlight is alone with several requests in hand, as a door has that reads
// several at once: it foresees them all, then matches them all.
func (w *workload) inFlight(b *testing.B, n int) time.Duration {
	b.Helper()
	w.draw(n)
	start := time.Now()
	for i := 0; i < batch; i += flight {
		more := false
		for j, r := range w.requests {
			r.entries[0].Value = w.values[i+j]
			more = w.snapshot.Foresee(r) || more
		}
		for j := 0; more && j < flight; j++ {
			w.snapshot.Foresee(w.requests[j])
		}
		for j, r := range w.requests {
			c := &w.calls[j]
			c.Reset()
			if w.snapshot.Match(r, c) != Matched || len(c.Charges()) != 1 {
				b.Fatalf("no match of %s", r.entries[0].Value)
			}
		}
	}
	return time.Since(start)
}

// shapes are those that docs/adr/0004-one-matcher.md has an aim for, then the
// prefixes of 32 lengths and the networks of 5.
func shapes() []string {
	return []string{"exact", "list", "prefix", "cidr", "glob", "tree", "treeglob", "prefixes", "cidrs"}
}

// BenchmarkMatch measures one match of one descriptor that one of n rules fits,
// as ns/match. "random" asks for all rules alike, so that most of what it needs
// is in far memory; "hot" asks for 256 of them, which shows what the work itself
// costs.
func BenchmarkMatch(b *testing.B) {
	for _, shape := range shapes() {
		for _, n := range matchSizes() {
			w := newWorkload(b, shape, n)
			b.Run(fmt.Sprintf("%s/random/%d", shape, n), func(b *testing.B) { w.benchmark(b, n) })
			b.Run(fmt.Sprintf("%s/hot/%d", shape, n), func(b *testing.B) { w.benchmark(b, min(n, 256)) })
		}
	}
}

func (w *workload) benchmark(b *testing.B, n int) {
	b.Helper()
	b.ReportAllocs()
	var took time.Duration
	rounds := 0
	for b.Loop() {
		took += w.alone(b, n)
		rounds++
	}
	b.ReportMetric(0, "ns/op") // of batches, with making them
	b.ReportMetric(float64(took.Nanoseconds())/float64(rounds*batch), "ns/match")
}

// BenchmarkMatchRatio compares the policies of BenchmarkMatch's three sizes in
// turns, so that what else the machine does touches all of them: medians of
// ns/match, and of the rounds' ratios to 10 rules, with the requests in flight as
// a door has them, and alone. A round's time is the median of its batches', which
// leaves out those in which something else had the processor. -benchtime says how
// many rounds.
func BenchmarkMatchRatio(b *testing.B) {
	for _, shape := range shapes() {
		var loads []*workload
		for _, n := range matchSizes() {
			loads = append(loads, newWorkload(b, shape, n))
		}
		b.Run(shape+"/flight", func(b *testing.B) { compareSizes(b, loads, (*workload).inFlight) })
		b.Run(shape+"/alone", func(b *testing.B) { compareSizes(b, loads, (*workload).alone) })
	}
}

func matchSizes() []int { return []int{10, 1000, mostRules()} }

// mostRules is 100,000, or less where benchmarks are only tried (-short).
func mostRules() int {
	if testing.Short() {
		return 10_000
	}
	return 100_000
}

func compareSizes(b *testing.B, loads []*workload, match func(*workload, *testing.B, int) time.Duration) {
	b.Helper()
	times, ratios := make([][]float64, len(loads)), make([][]float64, len(loads))
	var took [512]float64
	for b.Loop() {
		for i, w := range loads {
			for j := range took {
				took[j] = float64(match(w, b, w.rules).Nanoseconds()) / batch
			}
			t := middle(took[:])
			times[i] = append(times[i], t)
			ratios[i] = append(ratios[i], t/times[0][len(times[0])-1])
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, n := range matchSizes() {
		b.ReportMetric(middle(times[i]), fmt.Sprintf("ns/%06d", n))
		b.ReportMetric(middle(ratios[i]), fmt.Sprintf("x/%06d", n))
	}
}

// middle sorts v and returns its median.
func middle(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// BenchmarkCompile compiles 100,000 rules and says how much memory they keep.
func BenchmarkCompile(b *testing.B) {
	for _, shape := range shapes() {
		n := mostRules()
		doc := workloadDocument(shape, n)
		b.Run(shape, func(b *testing.B) {
			var s *Snapshot
			for b.Loop() {
				s, _ = Compile([]*Document{doc}, Options{})
			}
			runtime.GC()
			var with, without runtime.MemStats
			runtime.ReadMemStats(&with)
			runtime.KeepAlive(s)
			runtime.GC()
			runtime.ReadMemStats(&without)
			b.ReportMetric(float64(with.HeapAlloc-without.HeapAlloc)/float64(n), "B/rule")
		})
	}
}
