package app

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/headgate/headgate/api/admin"
	"github.com/headgate/headgate/internal/audit"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

const (
	resetAction = "counter_reset"
	// carriedName names the limits that requests bring along.
	carriedName = "override"
	// listCalls is how often one page looks into the table: each shard once, or 4
	// million slots.
	listCalls   = limiter.PartitionCount
	cursorBytes = 11
)

// counters are the operator's view of the counter table.
type counters struct {
	table    *table.Table
	policies *policies
	audit    *audit.Log
	now      func() limiter.Instant
	log      *slog.Logger
}

// list returns a page of counters in the order of the table's listing: fewer than
// asked for, perhaps none, where the filter leaves few.
func (c *counters) list(q *admin.CountersQuery) (*admin.Counters, error) {
	at, err := parseCursor(q.Cursor)
	if err != nil {
		return nil, err
	}
	now, out := c.now(), &admin.Counters{Counters: []admin.Counter{}}
	for more, calls := true, 0; more && calls < listCalls; calls++ {
		var entries []table.Entry
		var next table.Place
		entries, next, more = c.table.List(now, at)
		for i := range entries {
			e := &entries[i]
			if q.Domain != "" && e.Domain != q.Domain || q.Limit != "" && nameOf(e) != q.Limit {
				continue
			}
			if len(out.Counters) == q.N {
				out.Cursor = formatCursor(table.Place{Partition: e.Partition, Lo: e.Key.Lo})
				return out, nil
			}
			out.Counters = append(out.Counters, entryCounter(e, now))
		}
		at, out.Cursor = next, ""
		if more {
			out.Cursor = formatCursor(next)
		}
	}
	return out, nil
}

// formatCursor returns the cursor of a place of the table's listing.
func formatCursor(at table.Place) string {
	b := binary.BigEndian.AppendUint16([]byte{cursorVersion}, uint16(at.Partition))
	return cursorText(binary.BigEndian.AppendUint64(b, at.Lo))
}

func parseCursor(s string) (table.Place, error) {
	if s == "" {
		return table.Place{}, nil
	}
	b, err := parseCursorText(s, cursorBytes)
	if err != nil {
		return table.Place{}, err
	}
	return table.Place{Partition: limiter.Partition(binary.BigEndian.Uint16(b[1:])), Lo: binary.BigEndian.Uint64(b[3:])}, nil
}

// get returns the counter of a key, none if it is as if unused, or those that a
// call with the attributes would charge, in that order.
func (c *counters) get(sel *admin.CounterSelection) (*admin.Counters, error) {
	now, out := c.now(), &admin.Counters{Counters: []admin.Counter{}}
	if sel.Key != "" {
		found := c.find(now, sel.Key)
		for i := range found {
			out.Counters = append(out.Counters, entryCounter(&found[i], now))
		}
		return out, nil
	}
	call, err := c.policies.match(sel, false)
	if err != nil {
		return nil, err
	}
	c.table.Decide(now, call)
	for i := range call.Charges() {
		ch := &call.Charges()[i]
		out.Counters = append(out.Counters, limitCounter(ch.Limit, ch.Key, &ch.Decision))
	}
	return out, nil
}

// find returns the counters with a fingerprint, which the admin API has checked.
func (c *counters) find(now limiter.Instant, fingerprint string) []table.Entry {
	lo, _ := strconv.ParseUint(fingerprint, 16, 64)
	return c.table.Find(now, lo)
}

// reset makes counters as if unused, and writes that down. What can't be written is
// a warning, as with modes.
func (c *counters) reset(who admin.Caller, in *admin.CounterReset) (*admin.CountersReset, error) {
	if err := checkReason(in.Reason); err != nil {
		return nil, err
	}
	now, out, domain := c.now(), new(admin.CountersReset), in.Domain
	what := fmt.Sprintf("all of the limit %.80q", in.Limit)
	if in.All {
		if out.Reset = c.resetAll(now, in.Domain, in.Limit); out.Reset == 0 && !c.knows(in.Domain, in.Limit) {
			return nil, &admin.Refusal{Status: http.StatusNotFound, Text: fmt.Sprintf("domain %q has no limit %q", in.Domain, in.Limit)}
		}
	} else {
		meant, err := c.meant(now, &in.CounterSelection)
		if err != nil {
			return nil, err
		}
		for _, e := range meant {
			domain = e.Domain
			out.Keys = append(out.Keys, e.Key.Fingerprint())
			if c.table.Reset(now, e.Partition, e.Key) {
				out.Reset++
			}
		}
		what = strings.Join(out.Keys, ", ")
		if in.Key != "" {
			what = in.Key
		}
	}
	out.Warnings = writeDown(c.log, c.audit, &audit.Record{
		Time: now.Time().UTC(), Action: resetAction, Domain: domain, Detail: fmt.Sprintf("%d reset: %s", out.Reset, what),
		Reason: in.Reason, User: who.User, Remote: who.Remote,
	})
	return out, nil
}

// writeDown tells the log and the audit log of a change that is in force. What can't
// be written is a warning.
func writeDown(log *slog.Logger, to *audit.Log, r *audit.Record) (warnings []string) {
	log.Warn("changed by an operator", slog.String("action", r.Action), slog.String("domain", r.Domain), slog.String("detail", r.Detail),
		slog.String("reason", r.Reason), slog.String("user", r.User), slog.String("remote", r.Remote))
	if err := to.Append(r); err != nil {
		warnings = append(warnings, "it is done but not in the audit log: "+err.Error())
		log.Error("change not written down", slog.String("action", r.Action), slog.String("error", err.Error()))
	}
	return warnings
}

// meant returns the counters that a selection names, with their keys, partitions and
// domain only.
func (c *counters) meant(now limiter.Instant, sel *admin.CounterSelection) ([]table.Entry, error) {
	if sel.Key != "" {
		return c.find(now, sel.Key), nil
	}
	call, err := c.policies.match(sel, false)
	if err != nil {
		return nil, err
	}
	meant := make([]table.Entry, len(call.Charges()))
	for i := range meant {
		ch := &call.Charges()[i]
		meant[i] = table.Entry{Key: ch.Key, Partition: ch.Partition, Domain: sel.Domain}
	}
	return meant, nil
}

// resetAll resets the counters of a limit that are there now. It holds one shard's
// mutex at a time, to list some or to reset one.
func (c *counters) resetAll(now limiter.Instant, domain, limit string) (n int) {
	at := table.Place{}
	for more := true; more; {
		var entries []table.Entry
		entries, at, more = c.table.List(now, at)
		for i := range entries {
			e := &entries[i]
			if e.Domain == domain && nameOf(e) == limit && c.table.Reset(now, e.Partition, e.Key) {
				n++
			}
		}
	}
	return n
}

// knows reports whether the policy in force has a limit.
func (c *counters) knows(domain, limit string) bool {
	return slices.ContainsFunc(c.policies.current.Load().Limits(), func(l *limiter.Limit) bool {
		return l.Domain == domain && l.Name == limit
	})
}

// nameOf returns the name of an entry's limit.
func nameOf(e *table.Entry) string {
	if e.Limit == nil {
		return carriedName
	}
	return e.Limit.Name
}

// entryCounter says what an entry of the table is at now.
func entryCounter(e *table.Entry, now limiter.Instant) admin.Counter {
	l := e.Limit
	if l == nil {
		return admin.Counter{
			Domain: e.Domain, Limit: carriedName, Key: e.Key.Fingerprint(), ResetAfterMS: admin.Milliseconds(e.Counter.Due.Sub(now)),
		}
	}
	var d limiter.Decision
	if l.Kind == limiter.KindConcurrency {
		d.Remaining, d.ResetAfter = l.Amount-min(l.Amount, e.Held), e.Counter.Due.Sub(now)
	} else {
		counter := e.Counter
		l.ApplyTo(&d, &counter, now, limiter.OpPeek, 1)
	}
	return limitCounter(l, e.Key, &d)
}

// limitCounter says what a look at a counter of l found.
func limitCounter(l *limiter.Limit, key limiter.Key, d *limiter.Decision) admin.Counter {
	out := admin.Counter{
		Domain: l.Domain, Limit: l.Name, Kind: l.Kind.String(), Key: key.Fingerprint(), Shadow: l.Shadow,
		Amount: l.Amount, PeriodMS: admin.Milliseconds(l.Period),
		Used: l.Capacity() - min(l.Capacity(), d.Remaining), Remaining: d.Remaining, ResetAfterMS: admin.Milliseconds(d.ResetAfter),
	}
	if d.Verdict == limiter.Denied && d.RetryAfter != limiter.Never {
		ms := admin.Milliseconds(d.RetryAfter)
		out.RetryAfterMS = &ms
	}
	return out
}
