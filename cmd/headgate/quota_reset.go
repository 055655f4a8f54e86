package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/api/admin"
)

func newQuotaReset() *cobra.Command {
	var in admin.QuotaReset
	c := quotaCorrection{path: "/v1/quotas/reset", body: &in, in: &in.QuotaCorrection}
	c.text = func(added int64) string {
		if added == 0 {
			return "all of it remains already"
		}
		return fmt.Sprintf("reset: %d units added", added)
	}
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
		RunE: c.run,
	}
	c.flags(cmd)
	return cmd
}
