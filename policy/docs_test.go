package policy

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestTheReferenceIsTrue parses every YAML block of the reference page. Blocks
// marked "refused" must have a problem, the others none.
func TestTheReferenceIsTrue(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "\n```")
	parsed := 0
	for _, block := range blocks {
		mark, text, _ := strings.Cut(block, "\n")
		if !strings.HasPrefix(mark, "yaml") {
			continue
		}
		parsed++
		docs, problems := Parse([]Source{{"policy.md", []byte(text)}})
		if refused := mark == "yaml refused"; refused != (len(problems) > 0) {
			t.Errorf("problems %v in\n%s", problems, text)
		}
		if len(problems) == 0 {
			if _, problems := Compile(docs, Options{}); len(problems) > 0 {
				t.Errorf("problems %v in\n%s", problems, text)
			}
		}
	}
	if parsed < 8 {
		t.Errorf("only %d blocks", parsed)
	}
	g := newGrammar()
	for _, key := range slices.Concat(g.ruleNames, g.document.names(), g.matcher.names(), g.entry.names(), g.override.names(), g.gubernator.names()) {
		if !strings.Contains(string(page), "`"+key) && !strings.Contains(string(page), key+":") {
			t.Errorf("the key %q is not documented", key)
		}
	}
}
