package arch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A claim is a comment of a page that says which test runs its blocks:
//
//	<!-- run by TestName -->
//
// Right above a block it is about that block. Elsewhere it is about the `sh` and
// `text` blocks that follow it, up to the next such claim: commands and what they
// print belong together, and whatever else a page has is claimed one by one.
var (
	claim = regexp.MustCompile(`^<!-- run by (Test\w+) -->$`)
	fence = regexp.MustCompile("^ {0,3}```+([a-z]*)( [a-z]+)*$")
)

// A claimedBlock is one fenced block of a page.
type claimedBlock struct {
	line int    // of its first fence, from 1
	kind string // sh, text, yaml …; may be empty
	test string // that runs it; empty: none says so
}

// claimedBlocks lists the blocks of a page.
func claimedBlocks(page string) (blocks []claimedBlock, err error) {
	var all, next string // claims: of the commands from here on, of the next block
	inside := false
	for i, line := range strings.Split(page, "\n") {
		line = strings.TrimRight(line, " \r")
		m := fence.FindStringSubmatch(line)
		switch {
		case inside:
			inside = !strings.HasPrefix(strings.TrimLeft(line, " "), "```")
		case claim.MatchString(line):
			next = claim.FindStringSubmatch(line)[1]
		case m != nil:
			b := claimedBlock{line: i + 1, kind: m[1], test: next}
			if next == "" && (b.kind == "sh" || b.kind == "text") {
				b.test = all
			}
			blocks, inside, next = append(blocks, b), true, ""
		case strings.HasPrefix(strings.TrimLeft(line, " "), "```"):
			return nil, fmt.Errorf("line %d: a fence that is not ```kind: %s", i+1, line)
		case strings.TrimSpace(line) != "":
			if next != "" { // no block follows at once: it is about the commands from here on
				all, next = next, ""
			}
		}
	}
	if inside {
		return nil, fmt.Errorf("a block that does not end")
	}
	return blocks, nil
}

// TestEveryBlockOfTheGuidesIsRun holds docs/tutorial.md and docs/guides to their
// word: for each fenced block a test is named that exists and reads the page.
func TestEveryBlockOfTheGuidesIsRun(t *testing.T) {
	readers := map[string][]string{} // by test: the pages that its file names
	eachFile(t, "_test.go", func(_ string, text []byte) {
		pages := docPath.FindAllString(string(text), -1)
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			readers[string(m[1])] = append(readers[string(m[1])], pages...)
		}
	})
	pages, err := filepath.Glob(filepath.Join(root, "docs/guides/*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	for _, name := range append(pages, filepath.Join(root, "docs/tutorial.md")) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		page, err := filepath.Rel(root, name)
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := claimedBlocks(string(text))
		if err != nil {
			t.Errorf("%s: %v", page, err)
		}
		for _, b := range blocks {
			read, exists := readers[b.test]
			switch {
			case b.test == "":
				t.Errorf("%s:%d: no test runs this block (%s): write one, and <!-- run by TestName --> above the block", page, b.line, b.kind)
			case !exists:
				t.Errorf("%s:%d: %s, which is said to run this block, does not exist", page, b.line, b.test)
			case !slices.Contains(read, filepath.ToSlash(page)):
				t.Errorf("%s:%d: the file of %s, which is said to run this block, does not name %s", page, b.line, b.test, page)
			}
		}
	}
}

func TestABlockThatNoTestClaimsIsFound(t *testing.T) {
	const page = "# Page\n\n```sh\na\n```\n\n<!-- run by TestPage -->\n\nText.\n\n```sh\nb\n```\n```text\nb\n```\n\n" +
		"```yaml\nc\n```\n\n<!-- run by TestYAML -->\n```yaml\n# ```sh\nd\n```\n\n```sh\ne\n```\n"
	got, err := claimedBlocks(page)
	if err != nil {
		t.Fatal(err)
	}
	want := []claimedBlock{
		{3, "sh", ""},
		{11, "sh", "TestPage"},
		{14, "text", "TestPage"},
		{18, "yaml", ""},
		{23, "yaml", "TestYAML"},
		{28, "sh", "TestPage"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	for _, page := range []string{"```sh\nnever ends\n", "````{weird}\n"} {
		if _, err := claimedBlocks(page); err == nil {
			t.Errorf("%q: no error", page)
		}
	}
}
