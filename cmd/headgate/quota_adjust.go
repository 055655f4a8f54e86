package main

import (
	"github.com/spf13/cobra"

	"github.com/headgate/headgate/api/admin"
)

func newQuotaAdjust() *cobra.Command {
	var (
		output   outputFormat
		client   adminClient
		choice   counterChoice
		in       admin.QuotaAdjustment
		revision uint64
	)
	cmd := &cobra.Command{
		Use:   "adjust DOMAIN KEY=VALUE[,KEY=VALUE]... --by ±N --reason TEXT",
		Short: "Add to the amount of one counter for its present period, or take from it",
		Long: `Adjust changes the amount of one counter until its period ends, on top of what the
policy says: for a customer who bought more, or was charged by mistake. It is durable
before it is answered, and in force at once: a counter that was exhausted admits again. A
lower amount stops new grants; units that a node holds already may still be spent, and
what was used stays used. One call can still cost no more than the policy's amount.

The attributes must reach one quota: pick one with --limit. With --revision it is refused
if anybody has adjusted the counter since "get -o json" showed it, so that it can be
repeated safely. It is in the node's audit log ("headgate policy mode --history").

Exit codes: 0 adjusted, 2 misuse (also what the node does not have, and another
revision), 3 server or network trouble.`,
		Example: `  headgate quota adjust shop api_key=k1 --by +5000 --reason "bought a pack"
  headgate quota adjust shop api_key=k1 --limit plan --by -100 --revision 1 --reason "ticket 71"`,
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
			if err := client.post(cmd.Context(), "/v1/quotas/adjust", &in, &out); err != nil {
				return err
			}
			warn(cmd, out.Warnings)
			if output == outputJSON {
				return printed(printJSON(cmd.OutOrStdout(), out))
			}
			return printQuotas(cmd, &admin.Quotas{Quotas: []admin.Quota{out.Quota}}, output)
		},
	}
	f := cmd.Flags()
	f.StringVar(&choice.limit, "limit", "", "only this limit's counter, by `name`")
	f.Int64Var(&in.By, "by", 0, "`units` to add; negative: to take")
	f.Uint64Var(&revision, "revision", 0, "refuse if the counter has another `revision`")
	f.StringVar(&in.Reason, "reason", "", "why, for the audit log: one line of `text`")
	for _, name := range []string{"by", "reason"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was added above
		}
	}
	addAdmin(cmd, &client)
	addOutput(cmd, &output)
	return cmd
}
