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
	request  *Request
	shape    string
	rules    int
	random   *rand.Rand
	texts    [batch][]byte // memory of values
	values   [batch][]byte
	call     limiter.Call
}

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
		w.texts[i] = make([]byte, 0, 48)
	}
	w.request = &Request{Domain: []byte("bench")}
	w.request.AddDescriptor()
	w.request.AddEntry([]byte("v"), nil)
	if !strings.HasPrefix(shape, "tree") {
		w.request.AddEntry([]byte("user"), []byte("user-17"))
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

// match matches a batch of values of rules below n and returns what it took.
func (w *workload) match(b *testing.B, n int) time.Duration {
	b.Helper()
	for i := range w.values {
		w.values[i] = workloadValue(w.texts[i][:0], w.shape, scatter(w.random.IntN(n)))
	}
	value := &w.request.entries[0].Value
	start := time.Now()
	for i := range w.values {
		w.call.Reset()
		*value = w.values[i]
		if w.snapshot.Match(w.request, &w.call) != Matched || len(w.call.Charges()) != 1 {
			b.Fatalf("no match of %s", *value)
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
		for _, n := range []int{10, 1000, 100_000} {
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
		took += w.match(b, n)
		rounds++
	}
	b.ReportMetric(0, "ns/op") // of batches, with making them
	b.ReportMetric(float64(took.Nanoseconds())/float64(rounds*batch), "ns/match")
}

// BenchmarkMatchRatio compares the policies of BenchmarkMatch's three sizes in
// turns, so that what else the machine does touches all of them: medians of
// ns/match, and of the rounds' ratios to 10 rules. -benchtime says how many
// rounds.
func BenchmarkMatchRatio(b *testing.B) {
	for _, shape := range shapes() {
		sizes := []int{10, 1000, 100_000}
		var loads []*workload
		for _, n := range sizes {
			loads = append(loads, newWorkload(b, shape, n))
		}
		b.Run(shape, func(b *testing.B) {
			times, ratios := make([][]float64, len(sizes)), make([][]float64, len(sizes))
			for b.Loop() {
				for i, w := range loads {
					var took time.Duration
					const batches = 512
					for range batches {
						took += w.match(b, w.rules)
					}
					t := float64(took.Nanoseconds()) / (batches * batch)
					times[i] = append(times[i], t)
					ratios[i] = append(ratios[i], t/times[0][len(times[0])-1])
				}
			}
			b.ReportMetric(0, "ns/op")
			for i, n := range sizes {
				slices.Sort(times[i])
				slices.Sort(ratios[i])
				b.ReportMetric(times[i][len(times[i])/2], fmt.Sprintf("ns/%06d", n))
				b.ReportMetric(ratios[i][len(ratios[i])/2], fmt.Sprintf("x/%06d", n))
			}
		})
	}
}

// BenchmarkCompile compiles 100,000 rules and says how much memory they keep.
func BenchmarkCompile(b *testing.B) {
	for _, shape := range shapes() {
		const n = 100_000
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
			b.ReportMetric(float64(with.HeapAlloc-without.HeapAlloc)/n, "B/rule")
		})
	}
}
