package main

import (
	"github.com/spf13/cobra"

	"github.com/headgate/headgate/api/admin"
)

func newQuotaAdjust() *cobra.Command {
	var in admin.QuotaAdjustment
	c := quotaCorrection{path: "/v1/quotas/adjust", body: &in, in: &in.QuotaCorrection}
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
		RunE: c.run,
	}
	cmd.Flags().Int64Var(&in.By, "by", 0, "`units` to add; negative: to take")
	requireFlag(cmd, "by")
	c.flags(cmd)
	return cmd
}
