package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/policy"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema [policy|test]",
		Short: "Print the JSON Schema of policies, for editors",
		Long: `Schema prints a JSON Schema (draft 7) of policy documents, or of the files of
"headgate policy test", made of the keys that this version's parser knows. Editors
complete and explain keys with it: docs/reference/policy.md says how. What only
several keys together can get wrong, "headgate policy validate" finds.`,
		Example: `  headgate policy schema > policy.schema.json
  headgate policy schema test > policy-test.schema.json`,
		ValidArgs: []string{"policy", "test"},
		Args:      cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text := policy.Schema()
			if len(args) > 0 {
				switch args[0] {
				case "policy":
				case "test":
					text = policy.TestsSchema()
				default:
					return misuse(fmt.Errorf("%q is neither policy nor test", args[0]))
				}
			}
			if _, err := cmd.OutOrStdout().Write(text); err != nil {
				return trouble(err)
			}
			return nil
		},
	}
}
