package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/internal/app"
	"github.com/headgate/headgate/policy"
)

func newDiff() *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say what another version of policies would change",
		Long: `Diff compares two policy files, or directories of them, by what they mean:
comments and spelling do not matter. Of each limit that is added, removed or changed
it says whether more or less passes, and whether its counters are kept: a limit whose
identity changes (kind, span, by, name or descriptor) begins with new ones.

Exit codes: 0 no difference, 1 a difference, 2 misuse (also a file that can't be
read or is not valid).`,
		Example: `  headgate policy diff policies/ candidate/
  headgate policy diff shop.yaml shop.new.yaml -o json`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var docs [2][]*policy.Document
			for i, path := range args {
				sources, err := app.LoadPolicies(path)
				if err != nil {
					return misuse(err)
				}
				parsed, problems := app.ParsePolicies(sources)
				if len(problems) > 0 {
					return misuse(fmt.Errorf("%s is not valid:\n%w", path, problems))
				}
				docs[i] = parsed
			}
			changes := policy.Diff(docs[0], docs[1])
			if err := printChanges(cmd.OutOrStdout(), output, changes); err != nil {
				return trouble(err)
			}
			if len(changes) > 0 {
				return answerNo()
			}
			return nil
		},
	}
	addOutput(cmd, &output)
	return cmd
}

// A diffReport is what `headgate policy diff -o json` prints.
type diffReport struct {
	Differs bool         `json:"differs"`
	Changes []changeJSON `json:"changes"`
}

type changeJSON struct {
	Domain   string      `json:"domain"`
	Limit    string      `json:"limit,omitempty"`
	Selector string      `json:"selector,omitempty"`
	Change   string      `json:"change"`
	Effect   string      `json:"effect"`
	Counters string      `json:"counters,omitempty"`
	Identity []string    `json:"identity,omitempty"`
	Fields   []fieldJSON `json:"fields,omitempty"`
	Old      string      `json:"old,omitempty"` // file:line
	New      string      `json:"new,omitempty"`
}

type fieldJSON struct {
	Key  string `json:"key"`
	From string `json:"from"`
	To   string `json:"to"`
}

func printChanges(w io.Writer, output outputFormat, changes []policy.Change) error {
	if output != outputJSON {
		return printChangesText(w, changes)
	}
	report := diffReport{Differs: len(changes) > 0, Changes: make([]changeJSON, 0, len(changes))}
	for i := range changes {
		c := &changes[i]
		j := changeJSON{
			Domain: c.Domain, Limit: c.Limit, Selector: c.Selector, Change: string(c.Kind), Effect: string(c.Effect),
			Counters: string(c.Counters), Identity: c.Identity, Old: place(c.Old), New: place(c.New),
		}
		for _, f := range c.Fields {
			j.Fields = append(j.Fields, fieldJSON(f))
		}
		report.Changes = append(report.Changes, j)
	}
	return printJSON(w, report)
}

func place(p policy.Position) string {
	if p.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

func printChangesText(w io.Writer, changes []policy.Change) error {
	if len(changes) == 0 {
		_, err := fmt.Fprintln(w, "no difference")
		return err
	}
	counts := map[policy.ChangeKind]int{}
	fresh := 0
	for i := range changes {
		c := &changes[i]
		counts[c.Kind]++
		if c.Kind == policy.ChangeChanged && c.Counters == policy.CountersNew {
			fresh++
		}
		printChange(w, c)
	}
	_, err := fmt.Fprintf(w, "%d added, %d removed, %d changed", counts[policy.ChangeAdded], counts[policy.ChangeRemoved], counts[policy.ChangeChanged])
	if err == nil && fresh > 0 {
		_, err = fmt.Fprintf(w, "; %s with new counters", count(fresh, "limit"))
	}
	if err == nil {
		_, err = fmt.Fprintln(w)
	}
	return err
}

func printChange(w io.Writer, c *policy.Change) {
	sign := map[policy.ChangeKind]string{policy.ChangeAdded: "+", policy.ChangeRemoved: "-", policy.ChangeChanged: "~"}[c.Kind]
	what := c.Domain + "/" + c.Limit
	if c.Limit == "" {
		what = "domain " + c.Domain
	}
	fmt.Fprintf(w, "%s %s: %s, %s", sign, what, c.Kind, effectText(c.Effect))
	switch {
	case c.Kind != policy.ChangeChanged || c.Counters == "":
	case c.Counters == policy.CountersKept:
		fmt.Fprint(w, ", counters kept")
	default:
		fmt.Fprintf(w, ", new counters (another %s)", strings.Join(c.Identity, ", "))
	}
	fmt.Fprintln(w)
	for _, f := range c.Fields {
		switch c.Kind {
		case policy.ChangeAdded:
			fmt.Fprintf(w, "    %s: %s\n", f.Key, f.To)
		case policy.ChangeRemoved:
			fmt.Fprintf(w, "    %s: %s\n", f.Key, f.From)
		default:
			fmt.Fprintf(w, "    %s: %s → %s\n", f.Key, orAbsent(f.From), orAbsent(f.To))
		}
	}
}

func orAbsent(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// effectText says an effect in words.
func effectText(e policy.Effect) string {
	switch e {
	case policy.EffectMixed:
		return "stricter and looser"
	case policy.EffectNone:
		return "nothing enforced differs"
	default:
		return string(e)
	}
}
