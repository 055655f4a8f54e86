//go:build gates

package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEveryLinterCatchesAViolation adds one deliberate violation per linter to
// a copy of the tree and wants each of them reported, by that linter. The
// violations are gates/LINTER.go.txt; the first line of each is
// `// at PATH`, where it goes.
func TestEveryLinterCatchesAViolation(t *testing.T) {
	dir := copyOfTree(t)
	violations := map[string]string{} // linter → file
	names, err := filepath.Glob("gates/*.go.txt")
	if err != nil {
		t.Fatal(err)
	}
	targets := []string{"run", "--output.json.path", "stdout", "--output.text.path", "stderr", "--show-stats=false", "--issues-exit-code", "7"}
	for _, name := range names {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(src), "\n")
		at := strings.TrimPrefix(first, "// at ")
		write(t, filepath.Join(dir, at), string(src))
		violations[strings.TrimSuffix(filepath.Base(name), ".go.txt")] = at
		if pkg := "./" + filepath.Dir(at); !slices.Contains(targets, pkg) {
			targets = append(targets, pkg)
		}
	}
	var report struct {
		Issues []struct {
			FromLinter string
			Pos        struct{ Filename string }
		}
	}
	stdout, code := tool(t, dir, "golangci-lint", targets...)
	if err := json.NewDecoder(bytes.NewReader(stdout)).Decode(&report); err != nil {
		t.Fatalf("%v in %q", err, stdout)
	}
	if code != 7 {
		t.Errorf("golangci-lint ended with %d, want 7", code)
	}
	for _, linter := range enabledLinters(t) {
		at, ok := violations[linter]
		if !ok {
			t.Errorf("linter %s is enabled, but nothing proves it: write gates/%s.go.txt", linter, linter)
			continue
		}
		found := false
		for _, issue := range report.Issues {
			found = found || issue.FromLinter == linter && issue.Pos.Filename == at
		}
		if !found {
			t.Errorf("linter %s let %s pass", linter, at)
		}
	}
}

// TestTheFormatterCatchesAViolation proves the gofumpt gate of `make lint`.
func TestTheFormatterCatchesAViolation(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x.go"), "package x\n\nfunc f() {\n\n\treturn\n}\n") // gofmt accepts it
	if out, _ := tool(t, root, "gofumpt", "-l", dir); !strings.Contains(string(out), "x.go") {
		t.Errorf("gofumpt -l printed %q", out)
	}
}

// TestTheProtoGatesCatchViolations proves buf lint, buf breaking and the check
// that generated files are fresh.
func TestTheProtoGatesCatchViolations(t *testing.T) {
	const proto = "api/proto/headgate/v1/decision.proto"
	for _, tc := range []struct {
		name     string
		old, new string // in decision.proto
		gate     []string
	}{
		{"a message without a comment is lint", "\n}\n", "\n}\n\nmessage Silent {}\n", []string{"go", "tool", "-modfile=internal/tools/go.mod", "buf", "lint"}},
		{"a changed field number is breaking", " = 1;", " = 1001;", []string{"sh", "api/proto/breaking.sh", "HEAD"}},
		{"a changed comment makes generated files stale", "// ", "// Changed. ", []string{"make", "--no-print-directory", "generate-check"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := copyOfTree(t)
			commitAll(t, dir)
			if code := run(t, dir, tc.gate); code != 0 {
				t.Fatalf("%v fails without the violation", tc.gate)
			}
			path := filepath.Join(dir, proto)
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(src), tc.old, tc.new, 1)
			if changed == string(src) {
				t.Fatalf("%s has no %q", proto, tc.old)
			}
			write(t, path, changed)
			if code := run(t, dir, tc.gate); code == 0 {
				t.Errorf("%v lets it pass", tc.gate)
			}
		})
	}
}

// enabledLinters returns the linters and formatters that .golangci.yml enables.
func enabledLinters(t *testing.T) []string {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(root, ".golangci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, ok1 := strings.Cut(string(src), "\n  enable:\n")
	list, _, ok2 := strings.Cut(list, "\n  settings:\n")
	if !ok1 || !ok2 {
		t.Fatal("no list of linters in .golangci.yml")
	}
	linters := []string{"gci", "gofumpt"}
	for line := range strings.Lines(list) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "- "); ok {
			linters = append(linters, name)
		}
	}
	return linters
}

// copyOfTree copies the files that git tracks or would track.
func copyOfTree(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	list, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range strings.Split(strings.TrimRight(string(list), "\x00"), "\x00") {
		src, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, but not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(src))
	}
	return dir
}

func commitAll(t *testing.T, dir string) {
	t.Helper()
	for _, args := range [][]string{
		{"init", "-q"},
		{"add", "-A"},
		{"-c", "user.name=gates", "-c", "user.email=gates@invalid", "commit", "-q", "-m", "copy"},
	} {
		if code := run(t, dir, append([]string{"git"}, args...)); code != 0 {
			t.Fatalf("git %v failed", args)
		}
	}
}

func write(t *testing.T, path, src string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tool runs a pinned tool in dir and returns what it printed and how it ended.
func tool(t *testing.T, dir, name string, args ...string) (stdout []byte, code int) {
	t.Helper()
	modfile, err := filepath.Abs(filepath.Join(root, "internal/tools/go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", append([]string{"tool", "-modfile=" + modfile, name}, args...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err = cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	t.Logf("%s: %s", name, stderr.Bytes())
	return stdout, cmd.ProcessState.ExitCode()
}

// run runs a command in dir and returns its exit code.
func run(t *testing.T, dir string, args []string) int {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	t.Logf("%v: %s", args, out)
	return cmd.ProcessState.ExitCode()
}
