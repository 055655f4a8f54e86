package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/api/admin"
)

func newQuotaReset() *cobra.Command {
	var (
		output   outputFormat
		client   adminClient
		choice   counterChoice
		in       admin.QuotaReset
		revision uint64
	)
	cmd := &cobra.Command{
		Use:   "reset DOMAIN KEY=VALUE[,KEY=VALUE]... --reason TEXT",
		Short: "Let one counter have its whole amount again, for its present period",
		Long: `Reset waives what is used of one counter: until its period ends, as much remains as if
nothing had been used. What was used stays in the record, and as much is added to the
amount, beside what "headgate quota adjust" added. It is durable before it is answered and
in force at once. Post-paid use that did not fit, and what a crash stranded, is waived as
well. Of a quota that rolls it holds until the present sub-window ends.

The attributes must reach one quota: pick one with --limit. With --revision it is refused
if anybody has adjusted the counter since "get -o json" showed it, so that it can be
repeated safely. It is in the node's audit log ("headgate policy mode --history").

Exit codes: 0 reset, also if nothing was used, 2 misuse (also what the node does not have,
and another revision), 3 server or network trouble.`,
		Example: `  headgate quota reset shop api_key=k1 --reason "a loop in our own client"
  headgate quota reset shop api_key=k1 --limit plan --revision 1 --reason "ticket 72"`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			sel, err := choice.selection(args)
			if err != nil {
				return misuse(err)
			}
			in.CounterSelection = *sel
			if cmd.Flags().Changed("revision") {
				in.Revision = &revision
			}
			var out admin.QuotaAdjusted
			if err := client.post(cmd.Context(), "/v1/quotas/reset", &in, &out); err != nil {
				return err
			}
			warn(cmd, out.Warnings)
			if output == outputJSON {
				return printed(printJSON(cmd.OutOrStdout(), out))
			}
			text := fmt.Sprintf("reset: %d units added", out.By)
			if out.By == 0 {
				text = "all of it remains already"
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
				return printed(err)
			}
			return printQuotas(cmd, &admin.Quotas{Quotas: []admin.Quota{out.Quota}}, output)
		},
	}
	f := cmd.Flags()
	f.StringVar(&choice.limit, "limit", "", "only this limit's counter, by `name`")
	f.Uint64Var(&revision, "revision", 0, "refuse if the counter has another `revision`")
	f.StringVar(&in.Reason, "reason", "", "why, for the audit log: one line of `text`")
	if err := cmd.MarkFlagRequired("reason"); err != nil {
		panic(err) // the flag was added above
	}
	addAdmin(cmd, &client)
	addOutput(cmd, &output)
	return cmd
}
