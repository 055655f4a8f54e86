package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/api/admin"
)

func newCounterReset() *cobra.Command {
	var (
		output outputFormat
		client adminClient
		choice counterChoice
		in     admin.CounterReset
	)
	cmd := &cobra.Command{
		Use:   "reset DOMAIN [KEY=VALUE[,KEY=VALUE]...]... | reset --key FINGERPRINT | reset DOMAIN --limit NAME --all",
		Short: "Make counters as if unused",
		Long: `Reset makes the counters that a call with these attributes would charge, or the one
with a fingerprint, or all of one limit, as if nothing had been used, at once. It is in
the node's audit log ("headgate policy mode --history") and in its log.

Of a concurrency limit a reset ends every slot that is held: whoever holds one goes on,
so for a while more than the limit may be under way.

Exit codes: 0 reset, also if nothing was used, 2 misuse (also what the node does not
have), 3 server or network trouble.`,
		Example: `  headgate counter reset shop path=/login,user=alice --reason "locked out by a broken client"
  headgate counter reset shop user=alice --limit logins
  headgate counter reset --key a1b2c3d4e5f60718
  headgate counter reset shop --limit logins --all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			sel, err := choice.selection(args)
			if err != nil {
				return misuse(err)
			}
			in.CounterSelection = *sel
			var out admin.CountersReset
			if err := client.post(cmd.Context(), "/v1/counters/reset", &in, &out); err != nil {
				return err
			}
			warn(cmd, out.Warnings)
			if output == outputJSON {
				return printed(printJSON(cmd.OutOrStdout(), out))
			}
			text := fmt.Sprintf("reset %d", out.Reset)
			if len(out.Keys) > 0 {
				text += fmt.Sprintf(" of %d counters: %s", len(out.Keys), strings.Join(out.Keys, ", "))
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return printed(err)
		},
	}
	choice.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&in.All, "all", false, "all counters of --limit, whatever they count")
	f.StringVar(&in.Reason, "reason", "", "why, for the audit log: one line of `text`")
	addAdmin(cmd, &client)
	addOutput(cmd, &output)
	return cmd
}

// warn prints what could not be done beside a change that was made.
func warn(cmd *cobra.Command, warnings []string) {
	for _, warning := range warnings {
		fmt.Fprintf(cmd.ErrOrStderr(), "headgate: warning: %s\n", warning)
	}
}
