package main

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/api/admin"
)

func newCounterTop() *cobra.Command {
	var (
		output outputFormat
		client adminClient
		denied bool
		n      int
	)
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show the counters that were charged, or denied, most in the last minutes",
		Long: `Top ranks counters by an estimate of the requests of the last minutes, which halves
every minute; docs/reference/metrics.md says how good it is. The node keeps
admin.top_keys of them.

Exit codes: 0 shown, also if there are none, 2 misuse, 3 server or network trouble.`,
		Example: `  headgate counter top
  headgate counter top --denied -n 5 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 1 {
				return misuse(fmt.Errorf("-n %d: must be at least 1", n))
			}
			var top admin.Top
			if err := client.get(cmd.Context(), "/v1/keys", &top); err != nil {
				return err
			}
			keys := top.Hot
			if denied {
				keys = top.Denied
			}
			keys = keys[:min(n, len(keys))]
			w := cmd.OutOrStdout()
			if output == outputJSON {
				return printed(printJSON(w, map[string][]admin.TopKey{"keys": keys}))
			}
			return printed(table(w, "DOMAIN\tLIMIT\tCOUNTER\tREQUESTS\tVALUES", len(keys), func(i int) string {
				k := &keys[i]
				return fmt.Sprintf("%s\t%s\t%s\t%.0f\t%s", k.Domain, k.Limit, k.Key, k.Count, orDash(printable(k.Text)))
			}))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&denied, "denied", false, "those that were denied most")
	f.IntVarP(&n, "number", "n", 20, "show so many at most")
	addAdmin(cmd, &client)
	addOutput(cmd, &output)
	return cmd
}

// printable returns s without what a terminal would act on: callers chose it.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, s)
}
