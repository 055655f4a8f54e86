package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/api/admin"
)

func newQuota() *cobra.Command {
	cmd := newGroup("quota", "Look at the durable quotas of a running node, and adjust them",
		`Quota asks a node, over its admin API, what its records have of durable quotas. A
counter is named by the fingerprint of its key, as in "headgate counter". A record does
not say which limit it is of: the node knows that of counters that were asked for since
it started. The others are listed without a name, and "get" finds each of them.

The admin API is on a loopback address: run this on the node's machine.`,
		`  headgate quota get shop api_key=k1
  headgate quota list --domain shop
  headgate quota export > quotas.jsonl`)
	cmd.AddCommand(newQuotaGet(), newQuotaList(), newQuotaAdjust(), newQuotaReset(), newQuotaExport())
	return cmd
}

func newQuotaGet() *cobra.Command {
	var (
		output outputFormat
		client adminClient
		choice counterChoice
	)
	cmd := &cobra.Command{
		Use:   "get DOMAIN [KEY=VALUE[,KEY=VALUE]...]... | get --key FINGERPRINT",
		Short: "Show the quotas that a call would charge, or one by its fingerprint",
		Long: `Get shows every quota that a call with these attributes would charge, as "headgate
check" takes them, in its present period and in whatever mode the domain is; or every
period that the node has of the counter with a fingerprint, for which it looks through
all records. Nothing is charged.

USED is spent, or set aside by an open reservation. HELD was granted to this node and is
not spent. STRANDED counts as spent though nobody told to have spent it, since a process
that held it was killed: at most that much. REMAINING is what could still be charged, HELD
included: AMOUNT less USED, STRANDED and DEBT, but not less than HELD; "frozen" behind it
says that it is HELD alone, since a backup was restored. EXHAUSTED is when nothing remains, if use goes
on as it was on average since the period began; a dash: not in this period.

Exit codes: 0 shown, 1 no record has this fingerprint, 2 misuse (also a domain that the
node does not have, and attributes that no quota applies to), 3 server or network
trouble.`,
		Example: `  headgate quota get shop api_key=k1
  headgate quota get shop api_key=k1 --limit plan -o json
  headgate quota get --key a1b2c3d4e5f60718`,
		RunE: func(cmd *cobra.Command, args []string) error {
			sel, err := choice.selection(args)
			if err != nil {
				return misuse(err)
			}
			out := admin.Quotas{Quotas: []admin.Quota{}}
			if sel.Key == "" {
				err = client.get(cmd.Context(), "/v1/quota?"+selectionQuery(sel).Encode(), &out)
			} else {
				q := admin.QuotasQuery{CountersQuery: admin.CountersQuery{Limit: sel.Limit}, Key: sel.Key}
				err = eachQuotaPage(cmd, &client, &q, func(page *admin.Quotas) bool {
					out.Quotas = append(out.Quotas, page.Quotas...)
					return true
				})
			}
			if err != nil {
				return err
			}
			if err := printQuotas(cmd, &out, output); err != nil {
				return err
			}
			if len(out.Quotas) == 0 {
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

func newQuotaList() *cobra.Command {
	var (
		output outputFormat
		client adminClient
		q      admin.QuotasQuery
		n      int
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the records of quotas, page by page",
		Long: `List shows a line for each counter and period that the node has a record of, those
that will be forgotten first before others; a period is kept for a while after its end.
--domain and --limit leave only counters that were asked for since the node started: it
can't name others. What it prints last, --cursor, goes on where this page ends.

Exit codes: 0 listed, also if there are none, 2 misuse, 3 server or network trouble.`,
		Example: `  headgate quota list
  headgate quota list --domain shop --limit plan -n 1000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 1 {
				return misuse(fmt.Errorf("-n %d: must be at least 1", n))
			}
			out := admin.Quotas{Quotas: []admin.Quota{}}
			q.N = n
			err := eachQuotaPage(cmd, &client, &q, func(page *admin.Quotas) bool {
				out.Quotas, out.Cursor = append(out.Quotas, page.Quotas...), page.Cursor
				q.N = n - len(out.Quotas)
				return q.N > 0
			})
			if err != nil {
				return err
			}
			if err := printQuotas(cmd, &out, output); err != nil || output == outputJSON || out.Cursor == "" {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "\nmore: --cursor %s\n", out.Cursor)
			return printed(err)
		},
	}
	addPage(cmd, &q.CountersQuery, &n)
	addAdmin(cmd, &client)
	addOutput(cmd, &output)
	return cmd
}

func newQuotaExport() *cobra.Command {
	var client adminClient
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print all records of quotas, one JSON object a line",
		Long: `Export prints what "list -o json" has of each record, one a line, as they are when
their page is asked for: decisions go on.

Exit codes: 0 all printed, 2 misuse, 3 server or network trouble.`,
		Example: `  headgate quota export > quotas.jsonl`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var failed error
			lines := json.NewEncoder(cmd.OutOrStdout())
			lines.SetEscapeHTML(false)
			err := eachQuotaPage(cmd, &client, &admin.QuotasQuery{}, func(page *admin.Quotas) bool {
				for i := range page.Quotas {
					failed = errors.Join(failed, lines.Encode(&page.Quotas[i]))
				}
				return failed == nil
			})
			return errors.Join(err, printed(failed))
		},
	}
	addAdmin(cmd, &client)
	return cmd
}

// eachQuotaPage asks for pages of at most q.N records (0: as many as there may be)
// until use returns false or there are no more. Each goes on where q.Cursor says.
func eachQuotaPage(cmd *cobra.Command, client *adminClient, q *admin.QuotasQuery, use func(*admin.Quotas) bool) error {
	for {
		n := admin.CountersMax
		if q.N > 0 {
			n = min(n, q.N)
		}
		v := pageQuery(&q.CountersQuery, n)
		if q.Key != "" {
			v.Set("key", q.Key)
		}
		var page admin.Quotas
		if err := client.get(cmd.Context(), "/v1/quotas?"+v.Encode(), &page); err != nil {
			return err
		}
		if q.Cursor = page.Cursor; !use(&page) || q.Cursor == "" {
			return nil
		}
	}
}

func printQuotas(cmd *cobra.Command, out *admin.Quotas, output outputFormat) error {
	w := cmd.OutOrStdout()
	if output == outputJSON {
		return printed(printJSON(w, out))
	}
	if len(out.Quotas) == 0 {
		_, err := fmt.Fprintln(w, "no record")
		return printed(err)
	}
	return printed(table(w, "DOMAIN\tLIMIT\tMODE\tCOUNTER\tFROM\tRESETS\tAMOUNT\tUSED\tHELD\tSTRANDED\tDEBT\tREMAINING\tEXHAUSTED", len(out.Quotas), func(i int) string {
		q := &out.Quotas[i]
		n := func(v uint64) string { return strconv.FormatUint(v, 10) }
		remaining := n(q.Remaining)
		if q.Frozen {
			remaining += " (frozen)"
		}
		return strings.Join([]string{
			orDash(q.Domain), orDash(q.Limit), orDash(q.Mode), q.Key, moment(&q.From), moment(q.ResetsAt),
			n(q.Amount), n(q.Used), n(q.Held), n(q.Stranded), n(q.Debt), remaining, moment(q.Exhausted),
		}, "\t")
	}))
}

func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// selectionQuery returns sel as a path of the admin API takes it.
func selectionQuery(sel *admin.CounterSelection) url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"key": sel.Key, "domain": sel.Domain, "limit": sel.Limit} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for _, a := range sel.Attributes {
		q.Add("attribute", a.Key+"="+a.Value)
	}
	return q
}

// pageQuery returns q, for n of a page, as a path of the admin API takes it.
func pageQuery(q *admin.CountersQuery, n int) url.Values {
	v := url.Values{"n": {strconv.Itoa(n)}}
	for name, value := range map[string]string{"domain": q.Domain, "limit": q.Limit, "cursor": q.Cursor} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

// addPage gives cmd the flags that choose a page of counters.
func addPage(cmd *cobra.Command, q *admin.CountersQuery, n *int) {
	f := cmd.Flags()
	f.StringVar(&q.Domain, "domain", "", "only counters of this `domain`")
	f.StringVar(&q.Limit, "limit", "", "only counters of limits of this `name`")
	f.IntVarP(n, "number", "n", admin.CountersDefault, "list so many at most")
	f.StringVar(&q.Cursor, "cursor", "", "go on where a page ended: what it printed")
}
