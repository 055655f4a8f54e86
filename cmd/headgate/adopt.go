package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/internal/app"
)

func newAdopt() *cobra.Command {
	var order app.AdoptOrder
	cmd := &cobra.Command{
		Use:   "adopt --data-dir DIR",
		Short: "Let a node start with a data directory that was copied here",
		Long: `Adopt is for a data directory that was moved by copying it, to another machine or disk. A
node refuses one that has quotas and is not where it was made, since two nodes that spend
from copies of one store exceed its quotas. A volume that is attached elsewhere is where
it was made, and needs no adoption.

Adopt it only if the original is never started again. A copy may be older than what the
original granted last, so nothing is granted any more from periods that have begun, as
after a restore. --keep-open-windows says that it was copied after the original had
stopped for good.

What can't be told from the original is not refused: a snapshot of a volume or of a virtual
machine, started a second time.

Exit codes: 0 adopted, 2 misuse (also a directory that is in use, or has no quotas), 3 disk
trouble.`,
		Example: `  headgate adopt --data-dir /var/lib/headgate
  headgate adopt --data-dir /var/lib/headgate --keep-open-windows`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			order.Log = quietLog()
			a, err := app.Adopt(cmd.Context(), order)
			switch {
			case errors.Is(err, app.ErrNothingDurable), errors.Is(err, app.ErrLocked), errors.Is(err, app.ErrRestoring), errors.Is(err, os.ErrNotExist):
				return misuse(err)
			case err != nil:
				return trouble(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "adopted %s\nfrozen    %s\n", order.Dir, frozen(a.Frozen))
			return printed(err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&order.Dir, "data-dir", "", "the `directory`")
	f.BoolVar(&order.KeepOpenWindows, "keep-open-windows", false, "go on with periods that have begun: only if it was copied after the original had stopped for good")
	if err := cmd.MarkFlagRequired("data-dir"); err != nil {
		panic(err) // the flag was added above
	}
	return cmd
}
