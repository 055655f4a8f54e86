package policy

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var updateEnvoy = flag.Bool("update-envoy", false, "write the golden files of imported policies anew")

func readTestFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// envoySource reads testdata/envoy/NAME, named as the messages should name it.
func envoySource(t *testing.T, name string) Source {
	t.Helper()
	return Source{Name: name, Text: []byte(readTestFile(t, filepath.Join("testdata/envoy", name)))}
}

// envoyFiles lists testdata/envoy/DIR/*.yaml as DIR/NAME.
func envoyFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata/envoy", dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for i := range files {
		files[i] = dir + "/" + filepath.Base(files[i])
	}
	return files
}

// wantedFindings reads the lines "# want LINE: TEXT" of a file.
func wantedFindings(t *testing.T, text []byte) []Problem {
	t.Helper()
	re := regexp.MustCompile(`^# want (\d+): (.+)$`)
	var want []Problem
	for scan := bufio.NewScanner(strings.NewReader(string(text))); scan.Scan(); {
		if m := re.FindStringSubmatch(scan.Text()); m != nil {
			line, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, Problem{Position: Position{Line: line}, Message: m[2]})
		}
	}
	if len(want) == 0 {
		t.Fatal("the file wants nothing")
	}
	return want
}

// checkFindings compares err with what a file wants, one for one.
func checkFindings(t *testing.T, src Source, err error) {
	t.Helper()
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, want Problems", err)
	}
	want := wantedFindings(t, src.Text)
	if len(problems) != len(want) {
		t.Errorf("got %d problems, want %d:\n%v", len(problems), len(want), err)
	}
	for i := range min(len(problems), len(want)) {
		p := problems[i]
		if p.File != src.Name || p.Line != want[i].Line || p.Column < 1 || !strings.Contains(p.String(), want[i].Message) {
			t.Errorf("problem %d:\n got %v\nwant line %d: %s", i, p, want[i].Line, want[i].Message)
		}
	}
}

func TestImportNamesEveryMistakeAndItsLine(t *testing.T) {
	for _, name := range envoyFiles(t, "bad") {
		t.Run(name, func(t *testing.T) {
			src := envoySource(t, name)
			for _, o := range []EnvoyOptions{{}, {Explain: true, MergeDomains: true}} {
				docs, err := ImportEnvoy([]Source{src}, o)
				if docs != nil {
					t.Errorf("got documents beside problems")
				}
				checkFindings(t, src, err)
			}
		})
	}
}

func TestImportRefusesLossesUnlessTheyAreAccepted(t *testing.T) {
	for _, name := range envoyFiles(t, "lossy") {
		t.Run(name, func(t *testing.T) {
			src := envoySource(t, name)
			_, err := ImportEnvoy([]Source{src}, EnvoyOptions{})
			checkFindings(t, src, err)
			docs, err := ImportEnvoy([]Source{src}, EnvoyOptions{Lossy: true})
			if err != nil {
				t.Fatal(err)
			}
			text := string(Marshal(docs[0]))
			for _, want := range wantedFindings(t, src.Text) {
				if lost := fmt.Sprintf("# LOST (%s:%d): %s", name, want.Line, want.Message); !strings.Contains(text, lost) {
					t.Errorf("no %q in\n%s", lost, text)
				}
			}
			if len(docs[0].Rules) != 1 {
				t.Errorf("got %d rules, want the one that is left", len(docs[0].Rules))
			}
		})
	}
}

func TestImportWritesTheExamplesAsExpected(t *testing.T) {
	for _, name := range envoyFiles(t, "good") {
		t.Run(name, func(t *testing.T) {
			docs, err := ImportEnvoy([]Source{envoySource(t, name)}, EnvoyOptions{Explain: true})
			if err != nil {
				t.Fatal(err)
			}
			got := string(Marshal(docs[0]))
			golden := filepath.Join("testdata/envoy", strings.TrimSuffix(name, ".yaml")+".golden")
			if *updateEnvoy {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if want := readTestFile(t, golden); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if _, problems := Parse([]Source{{Name: golden, Text: []byte(got)}}); len(problems) > 0 {
				t.Errorf("the result is not a valid policy:\n%v", problems)
			}
		})
	}
}

func TestImportJoinsDomainsOnlyIfAsked(t *testing.T) {
	var sources []Source
	for _, name := range envoyFiles(t, "merge") {
		sources = append(sources, envoySource(t, name))
	}
	_, err := ImportEnvoy(sources, EnvoyOptions{})
	const want = `merge/2_second.yaml:1:1: domain "shared" is in merge/1_first.yaml already; --merge-domains joins them, as MERGE_DOMAIN_CONFIG does`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	docs, err := ImportEnvoy(sources, EnvoyOptions{MergeDomains: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) != 2 || docs[0].Domain != "shared" || len(docs[0].Rules) != 2 || docs[1].Domain != "other" {
		t.Errorf("got %d documents: %s", len(docs), Marshal(docs[0]))
	}
	if _, err := ImportEnvoy(append(sources, sources[0]), EnvoyOptions{MergeDomains: true}); err == nil || !strings.Contains(err.Error(), "duplicate descriptor") {
		t.Errorf("the same descriptor in two files: got %v", err)
	}
}

func TestImportLeavesOutReplacementsOfNothing(t *testing.T) {
	src := Source{Name: "f", Text: []byte(`domain: d
descriptors:
- {key: a, rate_limit: {unit: second, requests_per_unit: 1, replaces: [{name: gone}, {name: free}]}}
- {key: b, rate_limit: {unlimited: true, name: free}}
`)}
	docs, err := ImportEnvoy([]Source{src}, EnvoyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rule := docs[0].Rules[0]
	if len(rule.Terms[0].Replaces) != 0 || !strings.Contains(rule.Comment, `replaces "gone"`) || !strings.Contains(rule.Comment, `replaces "free"`) {
		t.Errorf("got %+v", rule)
	}
}

func TestImportBoundsWhatAliasesExpandTo(t *testing.T) {
	var b strings.Builder
	b.WriteString("domain: d\ndescriptors:\n- &a0 {key: a}\n")
	for i := 1; i < 25; i++ {
		fmt.Fprintf(&b, "- &a%d {key: a%d, descriptors: [{key: x, descriptors: [*a%d]}, {key: y, descriptors: [*a%d]}]}\n", i, i, i-1, i-1)
	}
	_, err := ImportEnvoy([]Source{{Name: "bomb", Text: []byte(b.String())}}, EnvoyOptions{})
	if err == nil || !strings.Contains(err.Error(), "aliases expanded") {
		t.Errorf("got %.300v", err)
	}
}

// addFiles gives f the files that a pattern finds.
func addFiles(f *testing.F, pattern string) {
	f.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		f.Add(readFile(f, name))
	}
}

// isValid fails the test unless doc, which text was imported as, is a valid policy
// with the same rules.
func isValid(t *testing.T, doc *Document, text []byte) {
	t.Helper()
	out := Marshal(doc)
	back, problems := Parse([]Source{{Name: "out", Text: out}})
	if len(problems) > 0 || len(back) != 1 || len(back[0].Rules) != len(doc.Rules) {
		t.Fatalf("%v\nfrom\n%s\nto\n%s", problems, text, out)
	}
}

func FuzzImportEnvoy(f *testing.F) {
	addFiles(f, "testdata/envoy/*/*.yaml")
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, o := range []EnvoyOptions{{}, {Lossy: true, Explain: true}} {
			docs, err := ImportEnvoy([]Source{{Name: "fuzz", Text: text}}, o)
			if err != nil {
				continue
			}
			isValid(t, docs[0], text)
		}
	})
}
