package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/internal/app"
	"github.com/headgate/headgate/internal/policytest"
	"github.com/headgate/headgate/policy"
)

func newPolicyTest() *cobra.Command {
	var (
		output   outputFormat
		policies []string
	)
	cmd := &cobra.Command{
		Use:   "test PATH...",
		Short: "Try policies with requests over simulated time",
		Long: `Test reads test files, and of directories the files *.yaml and *.yml: each names
policies, and has tests with requests at simulated moments and what is expected of
them. Requests are matched and decided by the code of a node, without one.
docs/guides/testing-policies.md describes the files.

Exit codes: 0 passed, 1 a test failed, 2 misuse (also a test file or a policy that
can't be read or is wrong).`,
		Example: `  headgate policy test deploy/examples/tests/
  headgate policy test shop_test.yaml --policy candidate.yaml -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := runPolicyTests(args, policies)
			if err != nil {
				return misuse(err)
			}
			if err := printTests(cmd.OutOrStdout(), output, report); err != nil {
				return trouble(err)
			}
			if report.Failed > 0 {
				return answerNo()
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&policies, "policy", nil, "`file or directory` with policies to try instead of those that the test files name; repeat for several")
	addOutput(cmd, &output)
	return cmd
}

// A testReport is what `headgate policy test -o json` prints.
type testReport struct {
	Passed int          `json:"passed"`
	Failed int          `json:"failed"`
	Tests  []testResult `json:"tests"`
}

type testResult struct {
	File     string        `json:"file"`
	Line     int           `json:"line"`
	Name     string        `json:"name"`
	Passed   bool          `json:"passed"`
	Failures []testFailure `json:"failures,omitempty"`

	lines []string
}

type testFailure struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Step     int    `json:"step"`
	What     string `json:"what"`
	Expected string `json:"expected"`
	Got      string `json:"got"`
}

// runPolicyTests runs test files; an error says that one, or a policy, is wrong.
func runPolicyTests(paths, policies []string) (*testReport, error) {
	sources, err := policy.Load(paths...)
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, errors.New("no files named *.yaml or *.yml there")
	}
	report := &testReport{Tests: []testResult{}}
	for _, src := range sources {
		tests, problems := policy.ParseTests(src)
		if len(problems) > 0 {
			return nil, fmt.Errorf("not a test file:\n%w", problems)
		}
		docs, err := testedPolicies(tests, policies)
		if err != nil {
			return nil, err
		}
		results, err := policytest.Run(tests, docs)
		if err != nil {
			return nil, err
		}
		for _, r := range results {
			report.add(r)
		}
	}
	return report, nil
}

// testedPolicies reads the policies that tests are about.
func testedPolicies(tests *policy.Tests, instead []string) ([]*policy.Document, error) {
	paths := instead
	if len(paths) == 0 {
		for _, p := range tests.Policies {
			if !filepath.IsAbs(p) {
				p = filepath.Join(filepath.Dir(tests.File), p)
			}
			paths = append(paths, p)
		}
	}
	sources, err := app.LoadPolicies(paths...)
	if err != nil {
		return nil, fmt.Errorf("policies of %s: %w", tests.File, err)
	}
	docs, problems := app.ParsePolicies(sources)
	if len(problems) > 0 {
		return nil, fmt.Errorf("policies of %s:\n%w", tests.File, problems)
	}
	return docs, nil
}

func (t *testReport) add(r policytest.Result) {
	out := testResult{File: r.Pos.File, Line: r.Pos.Line, Name: r.Name, Passed: len(r.Failures) == 0}
	for _, f := range r.Failures {
		out.lines = append(out.lines, f.String())
		out.Failures = append(out.Failures, testFailure{f.Pos.File, f.Pos.Line, f.Step, f.What, f.Expected, f.Got})
	}
	if out.Passed {
		t.Passed++
	} else {
		t.Failed++
	}
	t.Tests = append(t.Tests, out)
}

func printTests(w io.Writer, output outputFormat, report *testReport) error {
	if output == outputJSON {
		return printJSON(w, report)
	}
	for _, t := range report.Tests {
		if t.Passed {
			continue
		}
		fmt.Fprintf(w, "%s:%d: failed: %s\n", t.File, t.Line, t.Name)
		for _, line := range t.lines {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
	if report.Failed > 0 {
		_, err := fmt.Fprintf(w, "%s, %d failed\n", count(len(report.Tests), "test"), report.Failed)
		return err
	}
	_, err := fmt.Fprintf(w, "passed: %s\n", count(report.Passed, "test"))
	return err
}
