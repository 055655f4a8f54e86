package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/internal/app"
)

func newRestore() *cobra.Command {
	var order app.RestoreOrder
	cmd := &cobra.Command{
		Use:   "restore FILE --data-dir DIR",
		Short: "Make a data directory from a backup",
		Long: `Restore makes the data directory of a node from a backup. It must be empty, or not there.
The file is checked to its end first. A restore that is interrupted leaves a directory
that no node starts with: empty it and restore again.

A backup does not know what was granted after it was made. So nothing is granted any more
from periods that have begun, or begin within ten minutes: calls are denied until the next
period, and "headgate quota get" says that they are frozen. --keep-open-windows says that
the node whose backup it is granted nothing after it was made, since it was stopped before;
if that is not so, quotas are exceeded.

The directory is that of a new store. Put policies and settings where the node reads them,
and start it with "headgate serve --data-dir DIR". Never start the original again.

Exit codes: 0 restored, 2 misuse (also a directory that is not empty, a file that is
damaged or that a newer version wrote), 3 disk trouble.`,
		Example: `  headgate restore last.backup --data-dir /var/lib/headgate
  headgate restore last.backup --data-dir /var/lib/headgate --keep-open-windows`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			order.File, order.Log = args[0], quietLog()
			r, err := app.Restore(cmd.Context(), order)
			switch {
			case errors.Is(err, app.ErrBackup), errors.Is(err, app.ErrNotEmpty), errors.Is(err, app.ErrRestoring),
				errors.Is(err, app.ErrLocked), errors.Is(err, os.ErrNotExist):
				return misuse(err)
			case err != nil:
				return trouble(err)
			}
			if order.KeepOpenWindows {
				fmt.Fprintln(cmd.ErrOrStderr(), "headgate: warning: periods that have begun go on: whatever was granted from them after the backup was made is granted once more")
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "restored %d counters into %s\nstore     %s, a new one\nfrozen    %s\n",
				r.From.Counters(), order.Dir, r.Store, frozen(r.Frozen))
			return printed(err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&order.Dir, "data-dir", "", "`directory` to make, empty or not there")
	f.BoolVar(&order.KeepOpenWindows, "keep-open-windows", false, "go on with periods that have begun: only if the original granted nothing after the backup was made")
	if err := cmd.MarkFlagRequired("data-dir"); err != nil {
		panic(err) // the flag was added above
	}
	return cmd
}

func frozen(until time.Time) string {
	if until.IsZero() {
		return "nothing: periods that have begun go on"
	}
	return "periods that begin before " + until.Format(time.RFC3339)
}
