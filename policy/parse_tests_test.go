package policy

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
)

const testsSchemaFile = "../docs/reference/policy-test.schema.json"

func readFile(tb testing.TB, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Clean(name))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func TestATestFileIsReadAsItSays(t *testing.T) {
	const name = "testdata/tests/working_all.yaml"
	got, problems := ParseTests(Source{name, readFile(t, name)})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if len(got.Tests) != 1 || len(got.Tests[0].Steps) != 6 || got.Start.Time().UTC().Format(time.RFC3339) != "2026-02-28T23:00:30Z" {
		t.Fatalf("%+v", got)
	}
	steps := got.Tests[0].Steps
	first := steps[0]
	if first.At != 90*time.Second || first.Domain != "other" || first.Cost != 1000 || first.Repeat != 3 || first.Every != 10*time.Millisecond || first.Op != limiter.OpCharge ||
		!reflect.DeepEqual(first.Descriptors, [][]Label{{{"user", "ann"}, {"n", "1.10"}, {"yes", "true"}}}) {
		t.Errorf("%+v", first)
	}
	e := first.Expect
	if e.Verdict.Want != limiter.Denied || e.Allowed.Want != 0 || e.Denied.Want != 3 || e.DeniedBy.Want != "calls" || e.RetryAfter.Want != 20*time.Second ||
		e.Remaining.Want != 0 || !reflect.DeepEqual(e.Limits.Want, []string{"a", "calls"}) || e.Limits.Pos.Line != 13 {
		t.Errorf("%+v", e)
	}
	second := steps[1]
	if want := 90*time.Second + 20*time.Millisecond + time.Hour; second.At != want || second.Op != limiter.OpPeek || len(second.Descriptors) != 2 ||
		second.Domain != "shop" || second.Expect.RetryAfter.Want != limiter.Never || len(second.Expect.Limits.Want) != 0 {
		t.Errorf("%+v", second)
	}
	if third := steps[2]; third.At != second.At || third.Op != limiter.OpGiveBack || third.Cost != 1 || third.Repeat != 1 || !third.CanWait || third.Holder != "" {
		t.Errorf("%+v", third)
	}
	if s := steps[3]; s.Op != limiter.OpCharge || s.Holder != "job-1" || s.Cost != 2 || s.Lifetime != 30*time.Second || s.Expect.Wait.Want != 100*time.Millisecond {
		t.Errorf("%+v", s)
	}
	if s := steps[4]; s.Op != limiter.OpRenew || s.Holder != "job-1" || s.Cost != 1 || s.Lifetime != 24*time.Hour || s.Repeat != 2 {
		t.Errorf("%+v", s)
	}
	if s := steps[5]; s.Op != limiter.OpRelease || s.Holder != "job-1" || s.Lifetime != 0 || s.CanWait {
		t.Errorf("%+v", s)
	}
}

func TestEveryMistakeInATestFileIsNamed(t *testing.T) {
	const name = "testdata/tests/busted_many.yaml"
	_, problems := ParseTests(Source{"busted_many.yaml", readFile(t, name)})
	got := problems.Error() + "\n"
	golden := strings.TrimSuffix(name, ".yaml") + ".txt"
	if *updateGolden {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(readFile(t, golden)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for name, text := range map[string]string{
		"no document": "# nothing", "two documents": "a: 1\n---\na: 2\n", "a list": "- a", "no tests": "policies: [a]", "not YAML": "a: [",
		"an anchor": "policies: &a [a]", "too many requests": "policies: [a]\ntests: [{name: a, steps: [" +
			strings.Repeat("{domain: a, attributes: {a: b}, repeat: 1000000}, ", 11) + "]}]",
	} {
		if _, problems := ParseTests(Source{"a.yaml", []byte(text)}); len(problems) == 0 {
			t.Errorf("%s: no problem", name)
		}
	}
}

func TestSchemaIsFreshForTests(t *testing.T) {
	got := TestsSchema()
	if *updateGolden {
		if err := os.WriteFile(testsSchemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, readFile(t, testsSchemaFile)) {
		t.Errorf("%s is stale: make generate", testsSchemaFile)
	}
	s := compileSchema(t, got)
	for name, good := range map[string]bool{
		"testdata/tests/working_all.yaml": true, "../deploy/examples/tests/shop.yaml": true, "testdata/tests/busted_many.yaml": false,
	} {
		for _, v := range yamlValues(t, readFile(t, name)) {
			if err := s.Validate(v); (err == nil) != good {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	misspelt := bytes.Replace(readFile(t, "testdata/tests/working_all.yaml"), []byte("denied_by"), []byte("deniedby"), 1)
	if s.Validate(yamlValues(t, misspelt)[0]) == nil {
		t.Error("a misspelt key is accepted")
	}
}

// FuzzParseTests finds inputs that panic, and step times that go back or are out
// of bounds.
func FuzzParseTests(f *testing.F) {
	for _, name := range []string{"testdata/tests/working_all.yaml", "testdata/tests/busted_many.yaml", "../deploy/examples/tests/shop.yaml"} {
		f.Add(readFile(f, name))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		tests, problems := ParseTests(Source{"a.yaml", text})
		if len(problems) > 0 {
			return
		}
		for _, test := range tests.Tests {
			now := time.Duration(0)
			for _, s := range test.Steps {
				end := s.At + time.Duration(s.Repeat-1)*s.Every
				if s.At < now || end < s.At || end > 11*limiter.PeriodMax || s.Repeat < 1 || s.Repeat > RepeatMax || len(s.Descriptors) == 0 || s.Domain == "" {
					t.Fatalf("%+v after %v", s, now)
				}
				now = end
			}
		}
	})
}
