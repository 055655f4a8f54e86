//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tutorialTimeout bounds the whole tutorial, a build included.
const tutorialTimeout = 4 * time.Minute

// A step is one block of commands and what the page says they print.
type step struct {
	page     string
	line     int // of the page
	commands string
	output   []string // each must be a line of the output, in order; … is any text
}

var fenced = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$")

// TestTutorialWorksAsWritten runs every command of docs/tutorial.md, in order,
// in one shell, and compares what they print with what the page says. It uses
// the page's own ports: they must be free. Like its reader, it works in the
// checkout and starts with an empty tmp: what was there is gone.
func TestTutorialWorksAsWritten(t *testing.T) {
	pageWorksAsWritten(t, "docs/tutorial.md")
}

// TestTLSGuideWorksAsWritten does so with docs/guides/tls.md.
func TestTLSGuideWorksAsWritten(t *testing.T) {
	pageWorksAsWritten(t, "docs/guides/tls.md")
}

func pageWorksAsWritten(t *testing.T, name string) {
	t.Helper()
	page, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	steps := pageSteps(name, string(page))
	needPorts(t, string(page))
	outputs := runSteps(t, steps)
	for i, s := range steps {
		if i >= len(outputs) {
			t.Fatalf("%s:%d: the commands before it failed", s.page, s.line)
		}
		s.compare(t, outputs[i])
	}
}

var pagePort = regexp.MustCompile(`(?:127\.0\.0\.1:|http\.server )(\d+)`)

// needPorts fails the test, before it removes anything, if a port of the page is
// taken.
func needPorts(t *testing.T, page string) {
	t.Helper()
	seen := map[string]bool{}
	for _, m := range pagePort.FindAllStringSubmatch(page, -1) {
		if seen[m[1]] {
			continue
		}
		seen[m[1]] = true
		l, err := net.Listen("tcp", "127.0.0.1:"+m[1])
		if err != nil {
			t.Errorf("the page needs port %s for itself: stop what listens there (`make run`?): %v", m[1], err)
			continue
		}
		_ = l.Close()
	}
	if t.Failed() {
		t.FailNow()
	}
}

func pageSteps(name, page string) []step {
	var steps []step
	for _, m := range fenced.FindAllStringSubmatchIndex(page, -1) {
		kind, text := page[m[2]:m[3]], page[m[4]:m[5]]
		if kind == "sh" {
			steps = append(steps, step{page: name, line: 1 + strings.Count(page[:m[0]], "\n"), commands: text})
			continue
		}
		last := &steps[len(steps)-1]
		last.output = strings.Split(strings.TrimSpace(text), "\n")
	}
	return steps
}

// runSteps returns what each step printed; fewer than steps if one failed.
func runSteps(t *testing.T, steps []step) []string {
	t.Helper()
	const mark = "\x1e"
	var script strings.Builder
	script.WriteString("set -euo pipefail\nexec 2>&1\n")
	for _, s := range steps {
		fmt.Fprintf(&script, "%s\nprintf '%s'\n", s.commands, mark)
	}
	ctx, cancel := context.WithTimeout(t.Context(), tutorialTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.Dir = "../.."
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	group := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = group
	out, err := cmd.CombinedOutput()
	_ = group() // what a failed step left behind
	if err != nil {
		t.Errorf("the page's commands end with %v; it printed:\n%s", err, strings.ReplaceAll(string(out), mark, "--\n"))
	}
	outputs := strings.Split(string(out), mark)
	return outputs[:len(outputs)-1] // what follows the last mark belongs to no finished step
}

// compare looks for the promised lines in what the commands printed.
func (s *step) compare(t *testing.T, output string) {
	t.Helper()
	lines := strings.Split(strings.ReplaceAll(output, "\r", ""), "\n")
	next := 0
	for _, want := range s.output {
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(want)), "…", ".*") + "$")
		for next < len(lines) && !pattern.MatchString(strings.TrimSpace(lines[next])) {
			next++
		}
		if next == len(lines) {
			t.Errorf("%s:%d: the commands do not print %q here; they print:\n%s", s.page, s.line, want, output)
			return
		}
		next++
	}
}
