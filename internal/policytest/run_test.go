package policytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate/headgate/policy"
)

const shop = `
domain: shop
limits:
  - {name: calls, by: [user], rate: 2/s, burst: 4}
  - {name: daily, by: [user], window: 10/day}
  - {name: watched, by: [user], window: 1/day, shadow: true}
  - {name: banned, when: {user: mallory}, window: 0/day}
  - {name: free, when: {user: root}, unlimited: true}
`

// failuresOf runs the steps, each a line of flow YAML, and returns the failures.
func failuresOf(t *testing.T, policyText string, steps ...string) []string {
	t.Helper()
	return failuresFrom(t, "", policyText, steps...)
}

// failuresFrom is failuresOf for tests that begin at start, if it is not empty.
func failuresFrom(t *testing.T, start, policyText string, steps ...string) []string {
	t.Helper()
	docs, problems := policy.Parse([]policy.Source{{Name: "shop.yaml", Text: []byte(policyText)}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	text := "policies: [shop.yaml]\ndomain: shop\ntests:\n  - name: a\n    steps:\n      - " + strings.Join(steps, "\n      - ") + "\n"
	if start != "" {
		text = "start: " + start + "\n" + text
	}
	tests, problems := policy.ParseTests(policy.Source{Name: "t.yaml", Text: []byte(text)})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	results, err := Run(tests, docs)
	if err != nil || len(results) != 1 {
		t.Fatal(results, err)
	}
	var failures []string
	for _, f := range results[0].Failures {
		failures = append(failures, f.String())
	}
	return failures
}

func TestWhatIsExpectedRightPasses(t *testing.T) {
	if failures := failuresOf(t, shop,
		"{attributes: {user: ann}, repeat: 5, expect: {allowed: 4, denied: 1, denied_by: calls, retry_after: 500ms, limits: [calls, daily, watched]}}",
		"{after: 1s, attributes: {user: ann}, cost: 2, expect: {verdict: allowed, remaining: 0}}",
		"{attributes: {user: ann}, peek: true, expect: {verdict: denied}}",
		"{attributes: {user: ann}, give_back: true, cost: 2, expect: {remaining: 2}}",
		"{after: 1s, attributes: {user: ann}, repeat: 20, every: 500ms, expect: {allowed: 6, denied: 14, denied_by: daily}}",
		"{at: 1d, attributes: {user: ann}, expect: {verdict: allowed}}",
		"{attributes: {user: mallory}, expect: {denied_by: banned, retry_after: never, remaining: 0}}",
		"{descriptors: [{user: ann}, {user: bob}], cost: 2, expect: {verdict: allowed}}",
		"{attributes: {colour: red}, expect: {verdict: allowed, limits: []}}",
	); len(failures) > 0 {
		t.Error(strings.Join(failures, "\n"))
	}
}

func TestWhatIsExpectedWronglyFails(t *testing.T) {
	for want, step := range map[string]string{
		"t.yaml:6: step 1: verdict: expected denied, got allowed":                                "{attributes: {user: ann}, expect: {verdict: denied}}",
		"t.yaml:6: step 1: verdict: expected allowed, got denied by banned, retry after never":   "{attributes: {user: mallory}, expect: {verdict: allowed}}",
		"t.yaml:6: step 1: allowed: expected 3, got 2":                                           "{attributes: {user: ann}, repeat: 2, expect: {allowed: 3}}",
		"t.yaml:6: step 1: denied: expected 1, got 0":                                            "{attributes: {user: ann}, expect: {denied: 1}}",
		"t.yaml:6: step 1: denied_by: expected daily, got calls":                                 "{attributes: {user: ann}, repeat: 5, expect: {denied_by: daily}}",
		"t.yaml:6: step 1: denied_by: expected daily, got none: nothing was denied":              "{attributes: {user: ann}, expect: {denied_by: daily}}",
		"t.yaml:6: step 1: retry_after: expected 1s, got 500ms":                                  "{attributes: {user: ann}, repeat: 5, expect: {retry_after: 1s}}",
		"t.yaml:6: step 1: remaining: expected 4, got 3":                                         "{attributes: {user: ann}, expect: {remaining: 4}}",
		"t.yaml:6: step 1: remaining: expected 4, got none: no enforced limit was reached":       "{attributes: {colour: red}, expect: {remaining: 4}}",
		"t.yaml:6: step 1: limits: expected [calls], got [calls, daily, watched]":                "{attributes: {user: ann}, expect: {limits: [calls]}}",
		`t.yaml:6: step 1: request: expected a decision, got domain: "shpo": no policy has this`: "{domain: shpo, attributes: {user: ann}}",
	} {
		failures := failuresOf(t, shop, step)
		if len(failures) != 1 || !strings.HasPrefix(failures[0], want) {
			t.Errorf("%s:\ngot  %q\nwant %q", step, failures, want)
		}
	}
}

const partners = `
domain: shop
limits:
  - {name: turn, by: [partner], pace: 10/s, max_wait: 250ms}
  - {name: exports, by: [tenant], concurrency: 2, lifetime: 1min}
`

func TestWaitsAreCompared(t *testing.T) {
	if failures := failuresOf(t, partners,
		"{attributes: {partner: p}, expect: {wait: 0s}}",
		"{attributes: {partner: p}, repeat: 2, expect: {allowed: 2, wait: 200ms}}",
		"{attributes: {partner: p}, expect: {denied_by: turn, retry_after: 50ms}}",
		"{attributes: {partner: p}, can_wait: false, expect: {denied_by: turn, retry_after: 300ms}}",
		"{after: 50ms, attributes: {partner: p}, peek: true, expect: {wait: 250ms}}",
		"{attributes: {partner: p}, repeat: 20, every: 100ms, expect: {allowed: 20, wait: 250ms}}",
		"{after: 350ms, attributes: {partner: p}, can_wait: false, expect: {wait: 0s}}",
	); len(failures) > 0 {
		t.Error(strings.Join(failures, "\n"))
	}
	for want, step := range map[string]string{
		"t.yaml:6: step 1: wait: expected 100ms, got 0s":                             "{attributes: {partner: p}, expect: {wait: 100ms}}",
		"t.yaml:6: step 1: wait: expected 0s, got 100ms":                             "{attributes: {partner: p}, repeat: 2, expect: {wait: 0s}}",
		"t.yaml:6: step 1: wait: expected 1s, got none: nothing was allowed":         "{attributes: {partner: p}, cost: 9, expect: {wait: 1s}}",
		"t.yaml:6: step 1: verdict: expected allowed, got 1 allowed, 1 denied (the ": "{attributes: {partner: p}, repeat: 2, can_wait: false, expect: {verdict: allowed}}",
	} {
		if failures := failuresOf(t, partners, step); len(failures) != 1 || !strings.HasPrefix(failures[0], want) {
			t.Errorf("%s:\ngot  %q\nwant %q", step, failures, want)
		}
	}
}

func TestSlotsAreAcquiredRenewedAndReleased(t *testing.T) {
	if failures := failuresOf(t, partners,
		"{attributes: {tenant: t}, acquire: a, expect: {verdict: allowed, remaining: 1}}",
		"{attributes: {tenant: t}, acquire: a, expect: {verdict: allowed, remaining: 1}}", // again: the same slot
		"{attributes: {tenant: t}, acquire: b, lifetime: 10s, expect: {remaining: 0}}",
		"{attributes: {tenant: t}, acquire: c, expect: {denied_by: exports, retry_after: 10s}}",
		"{attributes: {tenant: t}, expect: {denied_by: exports}}", // an anonymous one
		"{after: 9s, attributes: {tenant: t}, renew: b, expect: {verdict: allowed}}",
		"{after: 59s, attributes: {tenant: t}, renew: a, expect: {verdict: denied, denied_by: exports}}", // expired at 1min
		"{attributes: {tenant: t}, release: b, expect: {verdict: allowed, remaining: 2}}",
		"{attributes: {tenant: t}, release: nobody, expect: {verdict: allowed, remaining: 2}}",
		"{attributes: {tenant: t}, cost: 2, expect: {verdict: allowed, remaining: 0}}",
		"{attributes: {tenant: t}, give_back: true, expect: {remaining: 1}}",
	); len(failures) > 0 {
		t.Error(strings.Join(failures, "\n"))
	}
	const want = "t.yaml:6: step 1: request: expected a decision, got lifetime: 2m0s: at most 1m0s"
	if failures := failuresOf(t, partners, "{attributes: {tenant: t}, acquire: a, lifetime: 2min}"); len(failures) != 1 || !strings.HasPrefix(failures[0], want) {
		t.Errorf("%q", failures)
	}
}

func TestEachTestHasFreshCounters(t *testing.T) {
	docs, _ := policy.Parse([]policy.Source{{Name: "shop.yaml", Text: []byte(shop)}})
	const one = "  - {name: a, steps: [{attributes: {user: ann}, cost: 4, expect: {verdict: allowed}}]}\n"
	tests, problems := policy.ParseTests(policy.Source{Name: "t.yaml", Text: []byte("policies: [a]\ndomain: shop\ntests:\n" + one + one)})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	results, err := Run(tests, docs)
	if err != nil || len(results) != 2 || len(results[0].Failures)+len(results[1].Failures) > 0 {
		t.Error(results, err)
	}
}

func TestFailuresAreBounded(t *testing.T) {
	steps := make([]string, FailuresMax+5)
	for i := range steps {
		steps[i] = "{attributes: {user: ann}, expect: {limits: []}}"
	}
	if failures := failuresOf(t, shop, steps...); len(failures) != FailuresMax {
		t.Errorf("%d failures", len(failures))
	}
}

// TestTheExamplesPass runs the test files that we ship.
func TestTheExamplesPass(t *testing.T) {
	names, err := filepath.Glob("../../deploy/examples/tests/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tests, problems := policy.ParseTests(policy.Source{Name: name, Text: text})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		var paths []string
		for _, p := range tests.Policies {
			paths = append(paths, filepath.Join(filepath.Dir(name), p))
		}
		sources, err := policy.Load(paths...)
		if err != nil {
			t.Fatal(err)
		}
		docs, problems := policy.Parse(sources)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		results, err := Run(tests, docs)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			for _, f := range r.Failures {
				t.Error(f)
			}
		}
	}
}
