package conformance

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A pair is grpc-go's server, Headgate's, and what they may differ in.
type pair struct {
	grpc, headgate string // addresses
	rules          []rule
	used           map[int]bool // rules, by line
}

func startPair(tb testing.TB) *pair {
	tb.Helper()
	headgate := startProduct(tb)
	return &pair{grpc: startReference(tb, headgate), headgate: headgate, rules: rules(tb), used: map[int]bool{}}
}

// compare plays s to both and returns what is not allowed to differ.
func (p *pair) compare(tb testing.TB, s script) []difference {
	tb.Helper()
	var found []difference
	for _, d := range differences(s, play(tb, p.grpc, s), play(tb, p.headgate, s)) {
		allowed := false
		for i := range p.rules {
			if p.rules[i].allows(&d) {
				allowed = true
				p.used[p.rules[i].line] = true
				break
			}
		}
		if !allowed {
			found = append(found, d)
		}
	}
	return found
}

// singles are one request each, ordinary but for one choice, to each of some
// paths.
func singles() []script {
	var list []script
	for path := range 6 {
		var x exchange
		for choice := range x.choices() {
			if choice == 0 && path > 0 {
				continue // the choice is the path
			}
			for value := range tableLengths()[choice] {
				x := exchange{path: byte(path), payload: []byte{0, 0, 0, 0, 1, 7}}
				*x.choices()[choice] = byte(value)
				list = append(list, script{wait: true, exchanges: []exchange{x}})
			}
		}
	}
	return list
}

// combinations are all that encoding, flag and body can be together, two
// long fields, and some other choices in pairs.
func combinations() []script {
	long := exchange{} // two fields that together are beyond the bound
	for i, f := range metadata() {
		if len(f) == 1 && f[0].name == "x-long" {
			long.metadata, long.more = byte(i), byte(i)
		}
	}
	list := []script{{wait: true, exchanges: []exchange{long}}}
	for i := range metadata() { // a field in the first of several frames
		list = append(list, script{wait: true, exchanges: []exchange{{metadata: byte(i), more: long.more, block: 1}}})
	}
	for encoding := range encodings() {
		for flag := range flags() {
			for body := range bodies() {
				x := exchange{encoding: byte(encoding), flag: byte(flag), body: byte(body), payload: []byte{7}}
				list = append(list, script{wait: true, exchanges: []exchange{x}})
			}
		}
	}
	return append(list, pairsOf("metadata block", "authority metadata", "body end", "body length", "method timeout", "metadata more")...)
}

// pairsOf are all that two choices of a request, named in one string, can be
// together.
func pairsOf(names ...string) []script {
	of := map[string]func(*exchange) *byte{
		"authority": func(x *exchange) *byte { return &x.authority },
		"block":     func(x *exchange) *byte { return &x.block },
		"body":      func(x *exchange) *byte { return &x.body },
		"end":       func(x *exchange) *byte { return &x.end },
		"length":    func(x *exchange) *byte { return &x.length },
		"metadata":  func(x *exchange) *byte { return &x.metadata },
		"more":      func(x *exchange) *byte { return &x.more },
		"method":    func(x *exchange) *byte { return &x.method },
		"timeout":   func(x *exchange) *byte { return &x.timeout },
	}
	size := func(name string) int {
		var x exchange
		return tableLengths()[slices.Index(x.choices(), of[name](&x))]
	}
	var list []script
	for _, two := range names {
		first, second, _ := strings.Cut(two, " ")
		for i := range size(first) {
			for j := range size(second) {
				var x exchange
				*of[first](&x), *of[second](&x) = byte(i), byte(j)
				list = append(list, script{wait: true, exchanges: []exchange{x}})
			}
		}
	}
	return list
}

// tableLengths are how many values each choice of an exchange has.
func tableLengths() []int {
	return []int{
		len(paths()), len(methods()), len(schemes()), len(authorities()), len(contentTypes()), len(tes()), len(timeouts()),
		len(encodings()), len(metadata()), len(metadata()),
		len(bodies()), len(flags()), len(lengths()), len(splits()), len(paddings()), len(ends()), len(blocks()),
		len(befores()), len(afters()),
	}
}

// random returns a script with up to six odd choices in each request.
func random(r *rand.Rand) script {
	s := script{wait: r.IntN(2) == 0, exchanges: make([]exchange, 1+r.IntN(exchangesMax))}
	for i := range s.exchanges {
		x := &s.exchanges[i]
		x.path = byte(r.IntN(6))
		for range r.IntN(7) {
			choice := r.IntN(len(x.choices()))
			*x.choices()[choice] = byte(r.IntN(tableLengths()[choice]))
		}
		x.payload = make([]byte, r.IntN(payloadMax))
		for j := range x.payload {
			x.payload[j] = byte(r.Uint32())
		}
	}
	return s
}

// TestAnswersAreGRPCGoS plays every single oddity and many mixtures,
// and holds testdata/differences.txt to what is needed.
func TestAnswersAreGRPCGoS(t *testing.T) {
	p := startPair(t)
	report := newReport(t)
	for _, s := range slices.Concat(singles(), combinations()) {
		report.add(p.compare(t, s))
	}
	mixtures := 1500
	if testing.Short() {
		mixtures = 300
	}
	r := rand.New(rand.NewPCG(4, 2))
	for range mixtures {
		report.add(p.compare(t, random(r)))
	}
	report.end()
	for _, rule := range p.rules {
		if !p.used[rule.line] {
			t.Errorf("testdata/differences.txt:%d: nothing differs in this way: take it out", rule.line)
		}
	}
}

// TestTheHarnessNoticesAnotherServer keeps the comparison able to fail.
func TestTheHarnessNoticesAnotherServer(t *testing.T) {
	headgate := startProduct(t)
	p := &pair{grpc: startReference(t, headgate), headgate: startHandler(t, headgate), used: map[int]bool{}}
	noticed := map[string]bool{}
	for _, s := range singles() {
		for _, d := range p.compare(t, s) {
			noticed[d.field] = true
		}
	}
	for _, field := range []string{"end", "http", "status", "message", "body", "connection"} {
		if !noticed[field] {
			t.Errorf("no %s differs between grpc-go's two servers, but some do", field)
		}
	}
}

// A report collects differences, and shows the first few of each sort.
type report struct {
	t     *testing.T
	kinds map[string]int
}

func newReport(t *testing.T) *report {
	t.Helper()
	return &report{t, map[string]int{}}
}

const shownMax = 2 // of each sort

func (r *report) add(found []difference) {
	r.t.Helper()
	for _, d := range found {
		kind := d.field + ": grpc-go " + short(d.theirs) + ", Headgate " + short(d.ours)
		r.kinds[kind]++
		if r.kinds[kind] <= shownMax {
			r.t.Error(d.String())
		}
	}
}

func (r *report) end() {
	r.t.Helper()
	for kind, n := range r.kinds {
		if n > shownMax {
			r.t.Errorf("%d × %s", n, kind)
		}
	}
}

func short(s string) string { return strings.ToValidUTF8(s[:min(len(s), 40)], "…") }

// TestScriptsSurviveTheirBytes keeps parse and bytes inverse: the corpus is
// written with one and read with the other.
func TestScriptsSurviveTheirBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		s := random(r)
		again := parse(s.bytes())
		if string(again.bytes()) != string(s.bytes()) || len(again.exchanges) != len(s.exchanges) {
			t.Fatalf("%x became %x", s.bytes(), again.bytes())
		}
	}
}

// FuzzAgainstGRPC plays any script to both servers.
func FuzzAgainstGRPC(f *testing.F) {
	p := startPair(f)
	for _, s := range singles() {
		if s.exchanges[0].path == 0 {
			f.Add(s.bytes())
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, d := range p.compare(t, parse(data)) {
			t.Error(d.String())
		}
	})
}
