package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate/headgate/policy"
)

func TestAFileWithoutADocumentIsRefusedAtStart(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "spaces": "\n \n", "comments": "# domain: shop\n", "markers": "---\n---\n# nothing\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t, hourly(1))
			write(t, c.Policy.Paths[0], text)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := Run(ctx, Options{Config: c, Log: slog.New(slog.DiscardHandler), Started: func(Addrs) { cancel() }})
			var ps policy.Problems
			if !errors.Is(err, ErrPolicies) || !errors.As(err, &ps) || len(ps) != 1 || !strings.Contains(err.Error(), c.Policy.Paths[0]+":1:1: the file has no document") {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func TestADomainWithoutLimitsIsFine(t *testing.T) {
	for _, text := range []string{"domain: shop\nlimits: []\n", "# shop\ndomain: shop\n"} {
		docs, problems := ParsePolicies([]policy.Source{{Name: "a", Text: []byte(text)}, {Name: "b", Text: []byte("domain: b\n")}})
		if len(docs) != 2 || len(problems) != 0 {
			t.Errorf("%q: %d documents, %v", text, len(docs), problems)
		}
	}
}

func TestWhatIsWrongInAFileIsNotSaidTwice(t *testing.T) {
	_, problems := ParsePolicies([]policy.Source{{Name: "a", Text: []byte("domain: [")}, {Name: "b", Text: []byte("limits: []\n")}, {Name: "c"}})
	files := map[string]int{}
	for _, p := range problems {
		files[p.File]++
	}
	if len(problems) != 3 || len(files) != 3 {
		t.Errorf("%v", problems)
	}
}

// A shell's `>` empties a file before it is written.
func TestAnEmptiedFileKeepsTheOldPolicy(t *testing.T) {
	c := testConfig(t, "")
	dir := t.TempDir()
	c.Policy.Paths = []string{dir}
	write(t, filepath.Join(dir, "shop.yaml"), hourly(1))
	write(t, filepath.Join(dir, "other.yaml"), strings.Replace(hourly(1), "shop", "other", 1))
	n := startNode(t, c)
	allow(t, n, "alice", true, false)
	if err := os.Truncate(filepath.Join(dir, "shop.yaml"), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the emptied file is refused", func() bool { return policyReport(t, n).Refused })
	p := policyReport(t, n)
	if p.Version != 1 || len(p.Problems) != 1 || !strings.Contains(p.Problems[0], "shop.yaml:1:1") {
		t.Errorf("%+v", p)
	}
	allow(t, n, "alice", false)
}

func TestPoliciesThatCannotBeLoadedAreOneError(t *testing.T) {
	dir, empty := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, "shop.yaml")
	write(t, file, hourly(1))
	for name, paths := range map[string][]string{
		"a missing file": {filepath.Join(dir, "none.yaml")}, "an empty directory": {empty}, "an empty one beside another": {dir, empty},
	} {
		if _, err := LoadPolicies(paths...); !errors.Is(err, ErrPolicies) || !strings.Contains(err.Error(), paths[len(paths)-1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, path := range []string{dir, dir + "/", file, dir + "/./shop.yaml"} {
		if sources, err := LoadPolicies(path); err != nil || len(sources) != 1 {
			t.Errorf("%s: %v, %v", path, sources, err)
		}
	}
	t.Chdir(dir)
	for _, path := range []string{".", "shop.yaml", "./shop.yaml"} {
		if sources, err := LoadPolicies(path); err != nil || len(sources) != 1 {
			t.Errorf("%s: %v, %v", path, sources, err)
		}
	}
}
