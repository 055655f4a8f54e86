package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestGuideFromEnvoyRateLimitWorksAsWritten(t *testing.T) {
	runGuide(t, "docs/guides/from-envoy-ratelimit.md", "from_envoy.txtar")
}

func TestGuideFromLimitadorWorksAsWritten(t *testing.T) {
	runGuide(t, "docs/guides/from-limitador.md", "from_limitador.txtar")
}

func TestGuideFromGubernatorWorksAsWritten(t *testing.T) {
	runGuide(t, "docs/guides/from-gubernator.md", "from_gubernator.txtar")
}

// runGuide runs testdata/guide/SCRIPT, whose command `guide` runs the blocks of
// commands (sh) of a page in one shell, in the script's directory, and looks for
// the lines that the blocks after them (text) promise, in order; … is any text.
func runGuide(t *testing.T, page, script string) {
	t.Helper()
	_, params := guideOf(t, page, script, "")
	testscript.Run(t, params)
}

// runGuideOnNode is runGuide for a page whose first block of YAML is the policy of the node
// that the script runs; wrap is a shell function, headgate, that says where that listens.
func runGuideOnNode(t *testing.T, page, script, wrap string) {
	t.Helper()
	text, params := guideOf(t, page, script, wrap)
	params.Setup = func(e *testscript.Env) error {
		e.Values[scriptNode{}] = new(scriptNode)
		_, policy, _ := strings.Cut(text, "```yaml\n")
		policy, _, _ = strings.Cut(policy, "```")
		return os.WriteFile(filepath.Join(e.WorkDir, "shop.yaml"), []byte(policy), 0o600)
	}
	params.Cmds["node"], params.Cmds["stopnode"] = startNode, stopNode
	testscript.Run(t, params)
}

// guideOf returns the text of a page, and what runs its script.
func guideOf(t *testing.T, page, script, wrap string) (string, testscript.Params) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text), testscript.Params{
		Files:               []string{filepath.Join("testdata/guide", script)},
		RequireExplicitExec: true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"guide": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) > 0 {
					ts.Fatalf("usage: guide")
				}
				runBlocks(ts, wrap, string(text))
			},
		},
	}
}

var guideBlock = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$")

// runBlocks runs the commands of a page after those of setup.
func runBlocks(ts *testscript.TestScript, setup, page string) {
	const mark = "\x1e\n"
	commands := "set -euo pipefail\nexec 2>&1\n" + setup
	var promises []string // what is said of each block
	for _, m := range guideBlock.FindAllStringSubmatch(page, -1) {
		if m[1] == "text" {
			promises[len(promises)-1] = m[2]
			continue
		}
		commands += m[2] + "printf '" + mark + "'\n"
		promises = append(promises, "")
	}
	if len(promises) == 0 {
		ts.Fatalf("the page has no commands")
	}
	ts.Check(ts.Exec("bash", "-c", commands))
	outputs := strings.Split(ts.ReadFile("stdout"), mark)
	for i, promise := range promises {
		lines := strings.Split(outputs[i], "\n")
		for want := range strings.Lines(promise) {
			want = strings.TrimRight(want, "\n")
			pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + "$")
			for len(lines) > 0 && !pattern.MatchString(lines[0]) {
				lines = lines[1:]
			}
			if len(lines) == 0 {
				ts.Fatalf("block %d does not print %q here; it prints\n%s", i, want, outputs[i])
			}
			lines = lines[1:]
		}
	}
}
