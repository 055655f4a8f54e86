package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestTheGuideOfBackupsIsTrue runs docs/guides/backup.md against a node with the policy
// that the page shows.
func TestTheGuideOfBackupsIsTrue(t *testing.T) {
	text, err := os.ReadFile("../../docs/guides/backup.md")
	if err != nil {
		t.Fatal(err)
	}
	const onTheNode = `headgate() {
		case "$1 $2" in
		"check "*) command headgate "$@" --server "$GRPC" ;;
		"backup verify") command headgate "$@" ;;
		"backup "*) command headgate "$@" --admin "$ADMIN" ;;
		*) command headgate "$@" ;;
		esac
	}
`
	testscript.Run(t, testscript.Params{
		Files:               []string{filepath.Join("testdata/guide", "backup.txtar")},
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Values[scriptNode{}] = new(scriptNode)
			_, policy, _ := strings.Cut(string(text), "```yaml\n")
			policy, _, _ = strings.Cut(policy, "```")
			return os.WriteFile(filepath.Join(e.WorkDir, "shop.yaml"), []byte(policy), 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"node": startNode, "stopnode": stopNode,
			"guide": func(ts *testscript.TestScript, _ bool, _ []string) { runBlocks(ts, onTheNode, string(text)) },
		},
	})
}
