package main

import (
	"github.com/spf13/cobra"

	"github.com/headgate/headgate/policy"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of policies, for editors",
		Long: `Schema prints a JSON Schema (draft 7) of policy documents, made of the keys that
this version's parser knows. Editors complete and explain keys with it:
docs/reference/policy.md says how. What only several keys together can get wrong,
"headgate policy validate" finds.`,
		Example: `  headgate policy schema > policy.schema.json`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := cmd.OutOrStdout().Write(policy.Schema()); err != nil {
				return trouble(err)
			}
			return nil
		},
	}
}
