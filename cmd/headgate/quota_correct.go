package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/api/admin"
)

// A quotaCorrection is what the commands share that correct the amount of one counter.
type quotaCorrection struct {
	path string                   // of the admin API
	body any                      // that is posted there
	in   *admin.QuotaCorrection   // its part that is the same for all
	text func(added int64) string // for people, before the counter; nil: none

	output   outputFormat
	client   adminClient
	choice   counterChoice
	revision uint64
}

// flags gives cmd the flags that say which counter, and why.
func (c *quotaCorrection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.choice.limit, "limit", "", "only this limit's counter, by `name`")
	f.Uint64Var(&c.revision, "revision", 0, "refuse if the counter has another `revision`")
	f.StringVar(&c.in.Reason, "reason", "", "why, for the audit log: one line of `text`")
	requireFlag(cmd, "reason")
	addAdmin(cmd, &c.client)
	addOutput(cmd, &c.output)
}

func (c *quotaCorrection) run(cmd *cobra.Command, args []string) error {
	sel, err := c.choice.selection(args)
	if err != nil {
		return misuse(err)
	}
	c.in.CounterSelection = *sel
	if cmd.Flags().Changed("revision") {
		c.in.Revision = &c.revision
	}
	var out admin.QuotaAdjusted
	if err := c.client.post(cmd.Context(), c.path, c.body, &out); err != nil {
		return err
	}
	warn(cmd, out.Warnings)
	if c.output == outputJSON {
		return printed(printJSON(cmd.OutOrStdout(), out))
	}
	if c.text != nil {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), c.text(out.By)); err != nil {
			return printed(err)
		}
	}
	return printQuotas(cmd, &admin.Quotas{Quotas: []admin.Quota{out.Quota}}, c.output)
}

// requireFlag has cmd refuse to run without a flag that it has.
func requireFlag(cmd *cobra.Command, name string) {
	if err := cmd.MarkFlagRequired(name); err != nil {
		panic(err)
	}
}
