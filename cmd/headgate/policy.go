package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/internal/app"
	"github.com/headgate/headgate/policy"
)

func newPolicy() *cobra.Command {
	cmd := newGroup("policy", "Check, test, import and switch policies",
		"Policies are YAML documents, one for each domain: docs/reference/policy.md describes them.",
		"  headgate policy validate policies/\n  headgate policy test deploy/examples/tests/\n  headgate policy import envoy ratelimit.yaml > imported.yaml")
	cmd.AddCommand(newValidate(), newImport(), newMode(), newSchema(), newPolicyTest(), newDiff())
	return cmd
}

func newValidate() *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "validate PATH...",
		Short: "Say what is wrong with policies",
		Long: `Validate reads policy files, and of directories the files *.yaml and *.yml, as a
server would, and prints everything that is wrong with them; what is right but may
surprise is a warning, which changes no exit code. A file without a
document is wrong; a domain without limits is not.

Exit codes: 0 valid, 1 not valid, 2 misuse (also a file that can't be read, or a
directory without any).`,
		Example: `  headgate policy validate policies/
  headgate policy validate shop.yaml llm.yaml -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sources, err := app.LoadPolicies(args...)
			if err != nil {
				return misuse(err)
			}
			docs, problems := app.ParsePolicies(sources)
			if err := printValidity(cmd.OutOrStdout(), output, docs, problems); err != nil {
				return trouble(err)
			}
			if len(problems) > 0 {
				return answerNo()
			}
			return nil
		},
	}
	addOutput(cmd, &output)
	return cmd
}

// A validity is what `headgate policy validate -o json` prints.
type validity struct {
	Valid    bool          `json:"valid"`
	Domains  int           `json:"domains"`
	Limits   int           `json:"limits"`
	Problems []problemJSON `json:"problems"`
	Warnings []problemJSON `json:"warnings"`
}

// A problemJSON is a policy.Problem.
type problemJSON struct {
	File       string `json:"file"`
	Line       int    `json:"line"`
	Column     int    `json:"column"`
	Path       string `json:"path,omitempty"`
	Value      string `json:"value,omitempty"`
	Message    string `json:"message"`
	Expected   string `json:"expected,omitempty"`
	Suggestion string `json:"suggestion,omitempty"`
}

func printValidity(w io.Writer, output outputFormat, docs []*policy.Document, problems policy.Problems) error {
	v := validity{Valid: len(problems) == 0, Domains: len(docs)}
	for _, doc := range docs {
		for _, rule := range doc.Rules {
			v.Limits += len(rule.Terms)
		}
	}
	warnings := policy.Warnings(docs)
	if output == outputJSON {
		v.Problems, v.Warnings = problemsJSON(problems), problemsJSON(warnings)
		return printJSON(w, v)
	}
	for _, warning := range warnings {
		at := warning.Position
		warning.Position = policy.Position{}
		if _, err := fmt.Fprintf(w, "%s:%d:%d: warning: %v\n", at.File, at.Line, at.Column, warning); err != nil {
			return err
		}
	}
	if v.Valid {
		_, err := fmt.Fprintf(w, "valid: %s, %s\n", count(v.Domains, "domain"), count(v.Limits, "limit"))
		return err
	}
	_, err := fmt.Fprintf(w, "%v\n%s\n", problems, count(len(problems), "problem"))
	return err
}

func problemsJSON(problems policy.Problems) []problemJSON {
	list := make([]problemJSON, 0, len(problems))
	for _, p := range problems {
		list = append(list, problemJSON{p.File, p.Line, p.Column, p.Path, p.Value, p.Message, p.Expected, p.Suggestion})
	}
	return list
}

// count returns "1 limit" or "2 limits".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
