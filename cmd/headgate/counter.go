package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/api/admin"
)

func newCounter() *cobra.Command {
	cmd := newGroup("counter", "Look at the counters of a running node, and reset them",
		`Counter asks a node, over its admin API, what is used of its limits. A counter is
named by the fingerprint of its key, which tells it from others without saying what
it counts: headgate check --explain prints it, and so does the log. Which values are
behind it is shown only by top, for limits whose policy says "labels: true".

The admin API is on a loopback address: run this on the node's machine.`,
		`  headgate counter get shop path=/login,user=alice
  headgate counter list --domain shop`)
	cmd.AddCommand(newCounterGet(), newCounterList(), newCounterReset(), newCounterTop())
	return cmd
}

// A counterChoice is the flags and arguments that say which counters are meant.
type counterChoice struct{ key, limit string }

func (c *counterChoice) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.key, "key", "", "`fingerprint` of the counter, instead of a domain and attributes")
	f.StringVar(&c.limit, "limit", "", "only this limit's counters, by `name`")
}

// selection returns what the command line means.
func (c *counterChoice) selection(args []string) (*admin.CounterSelection, error) {
	sel := &admin.CounterSelection{Key: c.key, Limit: c.limit}
	if (c.key == "") == (len(args) == 0) {
		return nil, errors.New("give a domain and attributes, or --key")
	}
	if len(args) == 0 {
		return sel, nil
	}
	sel.Domain = args[0]
	for _, arg := range args[1:] {
		attributes, err := parseAttributes(arg)
		if err != nil {
			return nil, err
		}
		for _, a := range attributes {
			sel.Attributes = append(sel.Attributes, admin.Attribute{Key: a.GetKey(), Value: a.GetValue()})
		}
	}
	return sel, nil
}

func newCounterGet() *cobra.Command {
	var (
		output outputFormat
		client adminClient
		choice counterChoice
	)
	cmd := &cobra.Command{
		Use:   "get DOMAIN [KEY=VALUE[,KEY=VALUE]...]... | get --key FINGERPRINT",
		Short: "Show the counters that a call would charge, or one by its fingerprint",
		Long: `Get shows what is used of every limit that a call with these attributes would charge,
as "headgate check" takes them, in whatever mode the domain is; or of the counter with
a fingerprint. Nothing is charged.

Exit codes: 0 shown, 1 no counter has this fingerprint, which is what one that is
unused looks like, 2 misuse (also a domain that the node does not have, and attributes
that no limit applies to), 3 server or network trouble.`,
		Example: `  headgate counter get shop path=/login,user=alice
  headgate counter get shop user=alice --limit logins -o json
  headgate counter get --key a1b2c3d4e5f60718`,
		RunE: func(cmd *cobra.Command, args []string) error {
			sel, err := choice.selection(args)
			if err != nil {
				return misuse(err)
			}
			var out admin.Counters
			if err := client.get(cmd.Context(), "/v1/counter?"+selectionQuery(sel).Encode(), &out); err != nil {
				return err
			}
			if err := printCounters(cmd, &out, output); err != nil {
				return err
			}
			if len(out.Counters) == 0 {
				return answerNo()
			}
			return nil
		},
	}
	choice.flags(cmd)
	addAdmin(cmd, &client)
	addOutput(cmd, &output)
	return cmd
}

func newCounterList() *cobra.Command {
	var (
		output outputFormat
		client adminClient
		q      admin.CountersQuery
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List counters that are in use, page by page",
		Long: `List shows counters that are not as if unused, in an order that means nothing. What
it prints last, --cursor, goes on where this page ends: all pages together have every
counter that is there all the while exactly once.

The node looks at one small part of its table at a time, so decisions go on; a filter
that leaves few counters of a large table still takes a look at all of it.

Exit codes: 0 listed, also if there are none, 2 misuse, 3 server or network trouble.`,
		Example: `  headgate counter list
  headgate counter list --domain shop --limit logins -n 1000
  headgate counter list --cursor AQAFAAAAAAAAAAA`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.N < 1 {
				return misuse(fmt.Errorf("-n %d: must be at least 1", q.N))
			}
			out, err := listCounters(cmd, &client, q)
			if err != nil {
				return err
			}
			if err := printCounters(cmd, out, output); err != nil || output == outputJSON || out.Cursor == "" {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "\nmore: --cursor %s\n", out.Cursor)
			return printed(err)
		},
	}
	addPage(cmd, &q, &q.N)
	addAdmin(cmd, &client)
	addOutput(cmd, &output)
	return cmd
}

// listCounters asks for pages until there are q.N counters or no more.
func listCounters(cmd *cobra.Command, client *adminClient, q admin.CountersQuery) (*admin.Counters, error) {
	out := &admin.Counters{Counters: []admin.Counter{}}
	for {
		v := pageQuery(&q, min(q.N-len(out.Counters), admin.CountersMax))
		var page admin.Counters
		if err := client.get(cmd.Context(), "/v1/counters?"+v.Encode(), &page); err != nil {
			return nil, err
		}
		out.Counters, out.Cursor = append(out.Counters, page.Counters...), page.Cursor
		if q.Cursor = page.Cursor; q.Cursor == "" || len(out.Counters) >= q.N {
			return out, nil
		}
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func printCounters(cmd *cobra.Command, out *admin.Counters, output outputFormat) error {
	w := cmd.OutOrStdout()
	if output == outputJSON {
		return printed(printJSON(w, out))
	}
	if len(out.Counters) == 0 {
		_, err := fmt.Fprintln(w, "no counter: nothing is used")
		return printed(err)
	}
	return printed(table(w, "DOMAIN\tLIMIT\tCOUNTER\tUSED\tREMAINING\tRETRY AFTER\tRESET AFTER\tALLOWS", len(out.Counters), func(i int) string {
		c := &out.Counters[i]
		used, remaining, retry, allows := "-", "-", "-", "what the request says"
		if c.Kind != "" {
			used, remaining = strconv.FormatUint(c.Used, 10), strconv.FormatUint(c.Remaining, 10)
			allows = fmt.Sprintf("%s %d per %v", c.Kind, c.Amount, span(c.PeriodMS))
		}
		if c.Shadow {
			allows += " (shadow)"
		}
		if c.RetryAfterMS != nil {
			retry = span(*c.RetryAfterMS).String()
		}
		return strings.Join([]string{orDash(c.Domain), c.Limit, c.Key, used, remaining, retry, span(c.ResetAfterMS).String(), allows}, "\t")
	}))
}

func span(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
