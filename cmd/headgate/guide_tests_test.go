package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheGuideOfPolicyTestsIsTrue runs the guide from its first block to its last:
// yaml blocks are the files that their first line names, console blocks are
// commands and what they print.
func TestTheGuideOfPolicyTestsIsTrue(t *testing.T) {
	page, err := os.ReadFile("../../docs/guides/testing-policies.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	ran := 0
	for i, block := range strings.Split(string(page), "\n```") {
		if i%2 == 0 {
			continue // the text between blocks
		}
		kind, text, _ := strings.Cut(block, "\n")
		switch kind {
		case "yaml":
			first, _, _ := strings.Cut(text, "\n")
			name := strings.TrimPrefix(first, "# ")
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		case "console":
			command, want, _ := strings.Cut(text, "\n")
			args := strings.Fields(strings.TrimPrefix(command, "$ headgate "))
			var out bytes.Buffer
			run(args, &out, &out)
			if got := strings.TrimSuffix(out.String(), "\n"); got != want {
				t.Errorf("%s prints\n%s\nthe guide says\n%s", command, got, want)
			}
			ran++
		default:
			t.Errorf("a block of kind %q is not run", kind)
		}
	}
	if ran < 2 {
		t.Errorf("only %d commands", ran)
	}
}
