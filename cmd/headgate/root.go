package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// newRoot returns the whole command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "headgate",
		Short: "Rate limits and quotas that any API gateway can ask for",
		Long: `Headgate answers API gateways that ask "may this call pass?".

Exit codes of every command:
  0  fine
  1  the answer is no: denied, invalid, or can't be imported
  2  misuse: the command line, or a file that it names, is wrong
  3  the server or the network is in the way`,
		Example: `  headgate serve --policy policies/
  headgate check shop remote_address=192.0.2.1
  headgate policy validate policies/`,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(explainFlag)
	root.AddCommand(newServe(), newCheck(), newCounter(), newQuota(), newBackup(), newRestore(), newAdopt(), newPolicy(), newBench(), newVersion())
	return root
}

// newGroup returns a command that only holds others: alone it prints its help,
// and a word that is none of its commands is a misuse.
func newGroup(use, short, long, example string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

// noSuchCommand refuses a word that is none of cmd's commands.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if names := cmd.SuggestionsFor(args[0]); len(names) > 0 {
		return fmt.Errorf("%w; did you mean %q?", err, names[0])
	}
	return err
}
