package arch_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	markdownLink = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)
	testName     = regexp.MustCompile("`((?:Test|Fuzz|Benchmark|Example)[A-Za-z0-9_]+)`")
	testFunc     = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)[A-Za-z0-9_]+)\(`)
	codePath     = regexp.MustCompile("`((?:api|bench|cmd|deploy|docs|internal|limiter|policy)/[A-Za-z0-9_./-]*)`")
	docPath      = regexp.MustCompile(`docs/[a-z0-9_/-]+\.md`)
)

func TestLinksInTheDocsLeadSomewhere(t *testing.T) {
	eachFile(t, ".md", func(name string, text []byte) {
		for _, m := range markdownLink.FindAllSubmatch(text, -1) {
			target := string(m[1])
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), filepath.FromSlash(target))); err != nil {
				t.Errorf("%s: link to %s, which does not exist", name, target)
			}
		}
	})
}

func TestDocsThatTheCodeNamesExist(t *testing.T) {
	eachFile(t, ".go", func(name string, text []byte) {
		for _, doc := range docPath.FindAllString(string(text), -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(doc))); err != nil {
				t.Errorf("%s names %s, which does not exist", name, doc)
			}
		}
	})
}

// TestArchitectureNamesWhatExists keeps the map of the code true: every path
// and every test that holds an invariant is there.
func TestArchitectureNamesWhatExists(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	var tests []string
	eachFile(t, "_test.go", func(_ string, text []byte) {
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			tests = append(tests, string(m[1]))
		}
	})
	for _, m := range testName.FindAllSubmatch(page, -1) {
		if !slices.Contains(tests, string(m[1])) {
			t.Errorf("docs/architecture.md names %s, which is no test", m[1])
		}
	}
	for _, m := range codePath.FindAllSubmatch(page, -1) {
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(string(m[1])))); err != nil {
			t.Errorf("docs/architecture.md names %s, which does not exist", m[1])
		}
	}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "**Invariant:**") && !strings.Contains(line, "`") {
			t.Errorf("docs/architecture.md: an invariant that no test holds: %s", line)
		}
	}
}

func TestEveryDecisionIsListed(t *testing.T) {
	index, err := os.ReadFile(filepath.Join(root, "docs/adr/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs/adr/[0-9]*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		number, title, _ := strings.Cut(strings.TrimPrefix(string(bytes.SplitN(text, []byte("\n"), 2)[0]), "# "), ": ")
		if row := "[" + number + "](" + filepath.Base(page) + ") | " + title; !strings.Contains(string(index), row) {
			t.Errorf("docs/adr/README.md lacks the row | %s |", row)
		}
	}
}

func TestPagesStayShort(t *testing.T) {
	for page, linesMax := range map[string]int{"README.md": 150, "docs/architecture.md": 200} {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(text, []byte("\n")); lines > linesMax {
			t.Errorf("%s has %d lines: at most %d", page, lines, linesMax)
		}
	}
}

// TestTheBuiltInSampleIsTheExample keeps the two copies one: Go can only embed
// what lies below the package.
func TestTheBuiltInSampleIsTheExample(t *testing.T) {
	example, err := os.ReadFile(filepath.Join(root, "deploy/examples/shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	builtIn, err := os.ReadFile(filepath.Join(root, "internal/app/sample.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(example, builtIn) {
		t.Error("internal/app/sample.yaml is not deploy/examples/shop.yaml: copy it")
	}
}

func eachFile(t *testing.T, suffix string, visit func(name string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != root && (base == "testdata" || base == "bin" || base == "tmp" || base[0] == '.') {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, suffix) {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		visit(name, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
