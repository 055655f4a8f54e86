package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/api/admin"
	"github.com/headgate/headgate/internal/app"
	"github.com/headgate/headgate/internal/obs"
)

func newBackup() *cobra.Command {
	var (
		output outputFormat
		client adminClient
		in     admin.BackupRequest
		dir    string
	)
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Save the durable quotas of a node to a file",
		Long: `Backup writes to FILE what the durable quotas of a node need to live on elsewhere: the
records of all counters, each group of them as of one moment, and the secret of the key
hash. The node goes on meanwhile. FILE is written beside its place, read back and checked,
and only then takes it, also that of an older backup: it is whole or not there.

With --data-dir it is that of a node that is stopped. What is not in it: policies and
settings, which are files of yours, the modes of domains, the audit log, and the counters
of the other kinds, which are in memory.

FILE is not encrypted, and its secret lets who has it find out which values were counted,
by trying: keep it as you keep a key. Its mode is 0600. It is in the node's audit log.

Exit codes: 0 the backup is whole, 2 misuse (also a node that has no durable quotas), 3
server, network or disk trouble.`,
		Example: `  headgate backup /var/backups/headgate/$(date +%F).backup
  headgate backup last.backup --data-dir /var/lib/headgate
  headgate backup verify last.backup`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fill := func(w io.Writer) error { return client.download(cmd.Context(), "/v1/backup", &in, w) }
			if dir != "" {
				fill = app.BackupDir(cmd.Context(), dir, readVersion().Version, quietLog())
			}
			m, err := app.BackupFile(args[0], fill)
			switch {
			case errors.Is(err, app.ErrNothingDurable), errors.Is(err, app.ErrLocked), errors.Is(err, os.ErrNotExist):
				return misuse(err)
			case err != nil:
				return asTrouble(err)
			}
			return printBackup(cmd, args[0], m, output)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "data-dir", "", "data `directory` of a node that is stopped, instead of a running one")
	f.StringVar(&in.Reason, "reason", "", "why, for the audit log: one line of `text`")
	addAdmin(cmd, &client)
	addOutput(cmd, &output)
	cmd.AddCommand(newBackupVerify())
	return cmd
}

func newBackupVerify() *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Read a backup to its end and say what is in it",
		Long: `Verify reads all of a backup, as a restore does, and compares every checksum and count.
Of a file that is damaged it says which part is, and where.

Exit codes: 0 it is whole, 1 it is damaged, 2 misuse (also a file that is not there, or
that a newer version wrote), 3 it can't be read.`,
		Example: `  headgate backup verify last.backup
  headgate backup verify last.backup -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, damaged, err := app.VerifyBackup(args[0])
			switch {
			case damaged:
				return &failure{exitNo, err}
			case errors.Is(err, os.ErrNotExist), app.IsNewerFormat(err):
				return misuse(err)
			case err != nil:
				return trouble(err)
			}
			return printBackup(cmd, args[0], m, output)
		},
	}
	addOutput(cmd, &output)
	return cmd
}

// asTrouble is trouble for what is not a failure already.
func asTrouble(err error) error {
	var f *failure
	if errors.As(err, &f) {
		return &failure{f.code, err}
	}
	return trouble(err)
}

// quietLog is where a store tells of what goes wrong in a command.
func quietLog() *slog.Logger { return obs.NewLogger(os.Stderr, "error", "text") }

func printBackup(cmd *cobra.Command, file string, m *app.BackupManifest, output outputFormat) error {
	w := cmd.OutOrStdout()
	if output == outputJSON {
		return printed(printJSON(w, m))
	}
	_, err := fmt.Fprintf(w, "%s is whole: %d counters in %d groups\nmade      %s by headgate %s\nstore     %s\ntenure    %d\n",
		file, m.Counters(), len(m.Groups), m.MadeAt.UTC().Format(time.RFC3339), m.Build, m.Store, m.Tenure())
	return printed(err)
}
