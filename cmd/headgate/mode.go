package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/api/admin"
)

// historyDefault is how many records --history shows.
const historyDefault = 50

func newMode() *cobra.Command {
	var (
		output  outputFormat
		client  adminClient
		in      admin.ModeChange
		span    time.Duration
		history bool
	)
	cmd := &cobra.Command{
		Use:   "mode [DOMAIN enforce|shadow|off]",
		Short: "Stop enforcing a domain's limits on a running node, or go on",
		Long: `Mode is the switch for when limits do harm. It takes effect at once, for every
decision that begins after it, without reading policies again:

  shadow   every limit is evaluated, charged and reported, none denies
  off      no limit applies: calls of the domain are allowed and charge nothing
  enforce  as the policy says

The mode stays over reloads and restarts, until --for is over or it is changed.
Without arguments the domains that are not enforced are listed.

Each change is in the node's audit log, which --history shows, and in its log. The
admin API that it uses is on a loopback address: run it on the node's machine.

Exit codes: 0 done, 2 misuse (also a domain that the node does not have), 3 server
or network trouble.`,
		Example: `  headgate policy mode shop shadow --for 30m --reason "checkout denies everybody"
  headgate policy mode shop off
  headgate policy mode shop enforce
  headgate policy mode                     # which domains are not enforced?
  headgate policy mode --history`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) != 0 && len(args) != 2:
				return errors.New("give a domain and enforce, shadow or off, or nothing to list")
			case len(args) == 2 && history:
				return errors.New("--history changes nothing: give no domain beside it")
			case len(args) == 0 && (span != 0 || in.Reason != ""):
				return errors.New("--for and --reason belong to a change: give a domain and a mode")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case history:
				return showHistory(cmd, &client, output)
			case len(args) == 0:
				return listModes(cmd, &client, output)
			}
			in.Domain, in.Mode = args[0], args[1]
			if span != 0 {
				in.For = span.String()
			}
			return changeMode(cmd, &client, &in, output)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&span, "for", 0, "enforce again after this long, 1s to 8784h; 0: never by itself")
	f.StringVar(&in.Reason, "reason", "", "why, for the audit log: one line of `text`")
	f.BoolVar(&history, "history", false, "show the last changes instead, newest first")
	addAdmin(cmd, &client)
	addOutput(cmd, &output)
	return cmd
}

func changeMode(cmd *cobra.Command, client *adminClient, in *admin.ModeChange, output outputFormat) error {
	var out admin.ModeChanged
	if err := client.post(cmd.Context(), "/v1/mode", in, &out); err != nil {
		return err
	}
	warn(cmd, out.Warnings)
	w := cmd.OutOrStdout()
	if output == outputJSON {
		return printed(printJSON(w, out))
	}
	_, err := fmt.Fprintf(w, "%s: %s, was %s%s\n", out.Domain, out.To, out.From, until(out.Until))
	return printed(err)
}

// printed is the error of a command that could not print.
func printed(err error) error {
	if err != nil {
		return trouble(err)
	}
	return nil
}

func until(t *time.Time) string {
	if t == nil {
		return ""
	}
	return " until " + t.Format(time.RFC3339)
}

func listModes(cmd *cobra.Command, client *adminClient, output outputFormat) error {
	var modes admin.Modes
	if err := client.get(cmd.Context(), "/v1/mode", &modes); err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if output == outputJSON {
		return printed(printJSON(w, modes))
	}
	if len(modes.Domains) == 0 {
		_, err := fmt.Fprintln(w, "every domain is enforced")
		return printed(err)
	}
	return printed(table(w, "DOMAIN\tMODE\tSINCE\tUNTIL\tBY\tREASON", len(modes.Domains), func(i int) string {
		d := &modes.Domains[i]
		ends := "-"
		if d.Until != nil {
			ends = d.Until.Format(time.RFC3339)
		}
		name := d.Domain
		if d.NoPolicy {
			name += " (no policy)"
		}
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", name, d.Mode, d.Since.Format(time.RFC3339), ends, by(d.User, d.Remote), d.Reason)
	}))
}

func showHistory(cmd *cobra.Command, client *adminClient, output outputFormat) error {
	var log admin.Audit
	if err := client.get(cmd.Context(), "/v1/audit?n="+strconv.Itoa(historyDefault), &log); err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if output == outputJSON {
		return printed(printJSON(w, log))
	}
	if len(log.Records) == 0 {
		_, err := fmt.Fprintln(w, "nothing was changed yet")
		return printed(err)
	}
	return printed(table(w, "TIME\tACTION\tDOMAIN\tCHANGE\tBY\tREASON", len(log.Records), func(i int) string {
		r := &log.Records[i]
		what := r.Detail
		if r.To != "" {
			what = r.From + " → " + r.To + until(r.Until)
		}
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", r.Time.Format(time.RFC3339), r.Action, r.Domain, what, by(r.User, r.Remote), r.Reason)
	}))
}

func by(user, remote string) string {
	switch {
	case remote == "":
		return "the node"
	case user == "":
		return remote
	default:
		return user + " from " + remote
	}
}

// table prints a head and n lines, whose cells tabs separate.
func table(w io.Writer, head string, n int, line func(i int) string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, head)
	for i := range n {
		fmt.Fprintln(t, line(i))
	}
	return t.Flush()
}
