package policy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones of quotas, on machines that know none

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

var updateGolden = flag.Bool("update", false, "write the golden files of policies and match scripts anew")

// golden compares got with a file, or writes the file with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *updateGolden {
		if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
	}
}

// testPolicies returns the sources of testdata/policies/PREFIX_*.yaml.
func testPolicies(tb testing.TB, prefix string) []Source {
	tb.Helper()
	names, err := filepath.Glob("testdata/policies/" + prefix + "_*.yaml")
	if err != nil || len(names) == 0 {
		tb.Fatalf("no files: %v", err)
	}
	sources := make([]Source, len(names))
	for i, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		sources[i] = Source{filepath.Base(name), text}
	}
	return sources
}

// compiled parses and compiles a policy that must be fine.
func compiled(tb testing.TB, text string) *Snapshot {
	tb.Helper()
	docs, problems := Parse([]Source{{"test.yaml", []byte(text)}})
	if len(problems) > 0 {
		tb.Fatalf("parse: %v", problems)
	}
	s, problems := Compile(docs, Options{})
	if len(problems) > 0 {
		tb.Fatalf("compile: %v", problems)
	}
	return s
}

func TestEveryMistakeIsReportedWhereItIs(t *testing.T) {
	for _, src := range testPolicies(t, "busted") {
		t.Run(src.Name, func(t *testing.T) {
			_, problems := Parse([]Source{src})
			if problems.Err() == nil {
				t.Fatal("no problem found")
			}
			for _, p := range problems {
				if p.File != src.Name || p.Line < 1 || p.Column < 1 {
					t.Errorf("no position: %+v", p)
				}
			}
			golden(t, strings.TrimSuffix("testdata/policies/"+src.Name, ".yaml")+".txt", problems.Error()+"\n")
		})
	}
}

func TestProblemsOfAllFilesAreReportedAtOnce(t *testing.T) {
	sources := testPolicies(t, "busted")
	seen := map[string]bool{}
	for some := range slices.Chunk(sources, 40) { // all together are above ProblemsMax
		_, problems := Parse(some)
		for _, p := range problems {
			seen[p.File] = true
		}
	}
	for _, src := range sources {
		if !seen[src.Name] {
			t.Errorf("%s: no problem reported", src.Name)
		}
	}
}

func TestEveryFeatureParsesCompilesAndComesBack(t *testing.T) {
	for _, src := range testPolicies(t, "working") {
		t.Run(src.Name, func(t *testing.T) {
			docs, problems := Parse([]Source{src})
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			s, problems := Compile(docs, Options{})
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			for _, doc := range docs {
				again := reparsed(t, doc)
				if !reflect.DeepEqual(bare(doc), bare(again)) {
					t.Errorf("comes back as\n%s\nfrom\n%s", Marshal(again), Marshal(doc))
				}
			}
			for _, l := range s.Limits() {
				if l.Name == "" || len(l.Name) > NameBytesMax {
					t.Errorf("limit has the name %q", l.Name)
				}
			}
		})
	}
}

// TestTheIdentityOfAQuotaIsItsSchedule: any other begins at other times.
func TestTheIdentityOfAQuotaIsItsSchedule(t *testing.T) {
	limit := func(text string) *limiter.Limit {
		return compiled(t, "domain: d\nlimits: [{name: a, by: [x], "+text+"}]").Limits()[0]
	}
	for _, tc := range []struct {
		was, is string
		same    bool
	}{
		{"quota: 10/month", "quota: 20/month, mode: exact, max_debt: 3, notify: [50%]", true},
		{"quota: 10/month", "quota: {amount: 10, every: 1mo}, time_zone: UTC, reset_at: 00:00, day: 1", true},
		{"quota: 10/week", "quota: 10/week, week_start: monday", true},
		{"quota: 10/quarter, month: 2", "quota: 10/quarter, month: 11", true},
		{"quota: 10/month", "quota: 10/31day", false},
		{"quota: 10/day", "quota: 10/24h", false},
		{"quota: 10/month", "quota: 10/month, time_zone: Europe/Berlin", false},
		{"quota: 10/month", "quota: 10/month, reset_at: 09:00", false},
		{"quota: 10/month", "quota: 10/month, day: 2", false},
		{"quota: 10/week", "quota: 10/week, week_start: sunday", false},
		{"quota: 10/year", "quota: 10/year, month: 4", false},
		{"quota: 10/day", "quota: 10/day, rolling: 24", false},
		{"quota: 10/day", "window: 10/day", false},
	} {
		was, is := limit(tc.was), limit(tc.is)
		if (was.ID == is.ID) != tc.same {
			t.Errorf("%s and %s: the same counter = %v", tc.was, tc.is, was.ID == is.ID)
		}
	}
	one, other := limit("quota: 10/month, notify: [50%]"), limit("quota: 10/month, notify: [60%]")
	if one.ID != other.ID || one.Def == other.Def {
		t.Error("other marks have another identity or the same definition")
	}
}

// reparsed writes and reads a document.
func reparsed(t interface {
	Helper()
	Fatalf(string, ...any)
}, doc *Document,
) *Document {
	t.Helper()
	text := Marshal(doc)
	docs, problems := Parse([]Source{{"again.yaml", text}})
	if len(problems) > 0 || len(docs) != 1 {
		t.Fatalf("%d documents and problems %v in\n%s", len(docs), problems, text)
	}
	return docs[0]
}

// bare returns a copy of doc without positions and comments.
func bare(doc *Document) *Document {
	d := *doc
	d.Pos, d.Comment = Position{}, ""
	if d.Gubernator != nil {
		g := *d.Gubernator
		g.Pos, d.Gubernator = Position{}, &g
	}
	d.Rules = nil
	for _, r := range doc.Rules {
		r.Pos, r.listed, r.Comment = Position{}, false, ""
		terms := r.Terms
		r.Terms = nil
		for _, t := range terms {
			t.Pos, t.at = Position{}, Position{}
			overrides := t.Overrides
			t.Overrides = nil
			for _, o := range overrides {
				o.Pos = Position{}
				t.Overrides = append(t.Overrides, o)
			}
			r.Terms = append(r.Terms, t)
		}
		if len(r.Descriptor) == 0 {
			r.Descriptor = nil
		}
		d.Rules = append(d.Rules, r)
	}
	return &d
}

func TestMarshalledDocumentsParseBackToThemselves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := randomDocument(t, rapid.StringMatching(`[a-z]{1,3}|[ -~]{1,8}|[\x01-\x{2fff}]{1,6}`))
		doc.Comment = rapid.String().Draw(t, "comment")
		text := Marshal(doc)
		docs, problems := Parse([]Source{{"random.yaml", text}})
		for _, p := range problems {
			// Random rules may clash; that is reported, and correctly so.
			if !strings.Contains(p.Message, "counts the same") && !strings.Contains(p.Message, "entries are those") &&
				!strings.Contains(p.Message, "shared in one") && !strings.Contains(p.Message, "regular expressions, neg") {
				t.Fatalf("problem %v in\n%s", p, text)
			}
		}
		if len(docs) != 1 || !reflect.DeepEqual(bare(doc), bare(docs[0])) {
			t.Fatalf("comes back as\n%s\nfrom\n%s", Marshal(docs[0]), text)
		}
		if string(Marshal(docs[0])) != string(Marshal(bare(doc))) {
			t.Fatal("the text is not canonical")
		}
	})
}

func TestSpansAreWrittenAsTheyAreRead(t *testing.T) {
	for span, want := range map[time.Duration]string{
		time.Millisecond:                     "1ms",
		time.Second:                          "s",
		90 * time.Second:                     "90s",
		74_040 * time.Millisecond:            "74040ms",
		(1<<32 - 1) * time.Millisecond:       "4294967295ms",
		1 << 32 * time.Millisecond:           "4294967s296ms",
		limiter.PeriodMax - time.Millisecond: "31622399s999ms",
		limiter.PeriodMax:                    "366day",
	} {
		got := formatEvery(span)
		if back, bad := parseEvery(got); got != want || bad != nil || back != span {
			t.Errorf("%v is written as %s, want %s, and read as %v, %v", span, got, want, back, bad)
		}
	}
}

func TestLineEndsAndByteOrderMarksDoNotMatter(t *testing.T) {
	for _, src := range testPolicies(t, "working") {
		want, _ := Parse([]Source{src})
		windows := "\ufeff" + strings.ReplaceAll(string(src.Text), "\n", "\r\n")
		got, problems := Parse([]Source{{src.Name, []byte(windows)}})
		if len(problems) > 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", src.Name, problems)
		}
	}
}

func TestProblemsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("domain: d\nlimits:\n")
	for range ProblemsMax + 50 {
		b.WriteString("  - rat: 1/s\n")
	}
	_, problems := Parse([]Source{{"many.yaml", []byte(b.String())}})
	if len(problems) != ProblemsMax+1 {
		t.Fatalf("%d problems", len(problems))
	}
	if last := problems[ProblemsMax].String(); last != "and 50 more problems" {
		t.Errorf("the last one is %q", last)
	}
}

func TestHostileTextIsRefusedBeforeItCosts(t *testing.T) {
	for name, text := range map[string]string{
		"brackets":       "domain: d\nlimits: " + strings.Repeat("[", 100_000),
		"braces":         strings.Repeat("{a: ", 100_000),
		"dashes":         strings.Repeat("- ", 100_000),
		"deep mapping":   deepMapping(2000),
		"an alias":       "domain: &d d\nlimits: *d\n",
		"laughs":         "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
		"merge key":      "domain: d\n<<: {limits: []}\n",
		"a tag":          "domain: !!binary ZA==\nlimits: []\n",
		"a complex key":  "? domain\n: d\n",
		"not text":       "domain: \xff\n",
		"unclosed quote": "domain: \"d\n",
		"a directive":    "%YAML 1.2\n---\ndomain: d\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := Parse([]Source{{"hostile.yaml", []byte(text)}})
			if len(problems) == 0 {
				t.Fatal("accepted")
			}
			if len(problems.Error()) > 1000 {
				t.Errorf("a problem of %d bytes", len(problems.Error()))
			}
		})
	}
}

func deepMapping(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestHashIgnoresSpellingAndFiles(t *testing.T) {
	a := compiled(t, "domain: a\nlimits: [{by: [x], rate: 60/min}]\n---\ndomain: b\n")
	b := compiled(t, "# hello\ndomain: b\n---\ndomain: \"a\"\ncharge: all_or_nothing\nlimits:\n  - rate: {amount: 6_0, every: 60s}\n    by:\n      - x\n")
	c := compiled(t, "domain: a\nlimits: [{by: [x], rate: 61/min}]\n---\ndomain: b\n")
	if a.Hash() != b.Hash() {
		t.Error("equal policies have different hashes")
	}
	if a.Hash() == c.Hash() {
		t.Error("different policies have equal hashes")
	}
}

func TestIdentityIsKeptWhenOnlyTheAmountChanges(t *testing.T) {
	id := func(text string) limiter.LimitID {
		return compiled(t, "domain: d\nlimits: ["+text+"]").Limits()[0].ID
	}
	def := func(text string) limiter.DefHash {
		return compiled(t, "domain: d\nlimits: ["+text+"]").Limits()[0].Def
	}
	const base = "{by: [x, y], when: {p: [a, b]}, rate: 10/s}"
	for _, same := range []string{
		"{by: [x, y], when: {p: [a, b]}, rate: 20/s, burst: 5}",
		"{by: [y, x], when: {p: [b, a]}, rate: 10/s}",
		"{by: [x, y], when: {p: [a, b]}, rate: 10/s, shadow: true}",
	} {
		if id(base) != id(same) {
			t.Errorf("%s has another identity", same)
		}
	}
	for _, other := range []string{
		"{by: [x], when: {p: [a, b]}, rate: 10/s}",
		"{by: [x, y], when: {p: [a]}, rate: 10/s}",
		"{by: [x, y], when: {p: [a, b]}, rate: 10/min}",
		"{by: [x, y], when: {p: [a, b]}, window: 10/s}",
		"{by: [x, y], when: {p: {not: [a, b]}}, rate: 10/s}",
		"{by: [x, y], when: {p: [a, b]}, quota: 10/36h}",
	} {
		if id(base) == id(other) {
			t.Errorf("%s has the same identity", other)
		}
	}
	if def(base) == def("{by: [x, y], when: {p: [a, b]}, rate: 20/s}") {
		t.Error("another amount has the same definition hash")
	}
	if id("{name: n, by: [x], rate: 1/s}") != id("{name: n, by: [x], when: {p: q}, rate: 1/s}") {
		t.Error("a named limit is identified by its selector")
	}
}

func TestDocumentsMadeByProgramsAreCheckedByCompile(t *testing.T) {
	good := &Document{Domain: "d", Rules: []LimitRule{{By: []string{"x"}, Terms: []Term{{Kind: limiter.KindFixed, Amount: 1, Every: UnitHour.Duration()}}}}}
	if _, problems := Compile([]*Document{good}, Options{}); len(problems) > 0 {
		t.Error(problems)
	}
	bad := &Document{Domain: "d", Rules: []LimitRule{{By: []string{"x"}, Terms: []Term{{Kind: limiter.KindRate, Every: UnitHour.Duration()}}}}}
	if s, problems := Compile([]*Document{bad}, Options{}); len(problems) != 1 || s != nil {
		t.Errorf("problems are %v", problems)
	}
	if _, problems := Compile([]*Document{good, good}, Options{}); len(problems) != 1 {
		t.Errorf("problems of one domain twice are %v", problems)
	}
}

func FuzzParse(f *testing.F) {
	for _, prefix := range []string{"working", "busted"} {
		for _, src := range testPolicies(f, prefix) {
			f.Add(src.Text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<14 {
			return
		}
		docs, problems := Parse([]Source{{"fuzz.yaml", text}})
		for _, p := range problems {
			if p.Message == "" || len(p.String()) > 8*TextBytesMax {
				t.Errorf("a problem of %d bytes", len(p.String()))
			}
		}
		if len(problems) > 0 {
			return
		}
		s, problems := Compile(docs, Options{})
		if len(problems) > 0 {
			t.Fatalf("parses and does not compile: %v", problems)
		}
		for _, doc := range docs {
			if again := reparsed(t, doc); !reflect.DeepEqual(bare(doc), bare(again)) {
				t.Fatalf("comes back as\n%s\nfrom\n%s", Marshal(again), Marshal(doc))
			}
			var r Request
			var c limiter.Call
			r.Domain = []byte(doc.Domain)
			r.AddDescriptor()
			r.AddEntry([]byte("a"), []byte("b"))
			if o := s.Match(&r, &c); o != Matched && o != TooManyCharges {
				t.Fatal(o)
			}
		}
	})
}

func ExampleParse() {
	docs, problems := Parse([]Source{{Name: "shop.yaml", Text: []byte(`
domain: shop
limits:
  - name: per-client
    by: [remote_address]
    rate: 100/s
    brust: 200
`)}})
	fmt.Println(len(docs))
	for _, p := range problems {
		fmt.Println(p.File, p.Line, p.Path, p.Message, p.Suggestion)
	}
	// Output:
	// 1
	// shop.yaml 7 limits[0].brust unknown key burst
}
