package app

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/headgate/headgate/api/admin"
	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/internal/audit"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/policy"
	"github.com/headgate/headgate/storage/ledger"
)

const (
	// quotaScanMax is how many records one page looks at.
	quotaScanMax = 20_000
	// quotaCursorBytes is the length of a cursor.
	quotaCursorBytes = 1 + 8 + 8 + 1 + 16
)

// errPageEnds ends the reading of a ledger.
var errPageEnds = errors.New("app: the page ends")

// quotaViews are what operators see of the quotas.
type quotaViews struct {
	quotas   *quotas
	policies *policies
	audit    *audit.Log
	now      func() limiter.Instant
	log      *slog.Logger

	// adjusting is held from reading a record to the ledger's answer: it takes two
	// adjustments to the same correction, from the same revision, for one that is
	// repeated.
	adjusting sync.Mutex
}

// read calls use with the ledgers and the holdings, none if there has been no quota
// yet. The store stays open until use returns.
func (q *quotas) read(use func(ledger.Set, *holdings.Holdings) error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.store != nil:
		return use(q.store.ledgers, q.holdings)
	case q.stopped:
		return &admin.Refusal{Status: http.StatusServiceUnavailable, Text: "the node is stopping"}
	case q.waiting:
		return errWaiting
	default:
		return use(nil, nil)
	}
}

// list returns a page of the records, in the order of the ledgers: by group, and
// then by when they will be forgotten. It has fewer than asked for, perhaps none,
// where the filter leaves few.
func (v *quotaViews) list(q *admin.QuotasQuery) (*admin.Quotas, error) {
	after, err := parseQuotaCursor(q.Cursor)
	if err != nil {
		return nil, err
	}
	p := quotaPage{query: q, after: after, out: admin.Quotas{Quotas: []admin.Quota{}}}
	err = v.quotas.read(func(ledgers ledger.Set, h *holdings.Holdings) error {
		p.reader = v.reader(h)
		first := 0
		if after != nil {
			first = quota.GroupOf(after.Key)
		}
		for group := first; group < len(ledgers); group++ {
			if err := p.read(ledgers[group], after != nil && group == first); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errPageEnds) {
		return nil, err
	}
	return &p.out, nil
}

// A quotaPage is a page while it is made.
type quotaPage struct {
	query  *admin.QuotasQuery
	reader quotaReader
	after  *ledger.Counter // the record that was looked at last
	looked int
	out    admin.Quotas
}

// read takes records from a ledger, on from after or from its first one, until the
// page ends with errPageEnds.
func (p *quotaPage) read(l *ledger.Ledger, on bool) error {
	p.reader.ledger = l
	if on {
		return l.EachAfter(p.after.Key, p.after.Window, p.take)
	}
	return l.Each(p.take)
}

func (p *quotaPage) take(c *ledger.Counter) error {
	q := p.query
	if p.looked == quotaScanMax || len(p.out.Quotas) == q.N {
		p.out.Cursor = formatQuotaCursor(p.after)
		return errPageEnds
	}
	p.looked++
	p.after = &ledger.Counter{Key: c.Key, Window: c.Window} // c is used again
	if q.Key != "" && c.Key.Fingerprint() != q.Key {
		return nil
	}
	seen, err := p.reader.quota(c)
	if err != nil || q.Domain != "" && seen.Domain != q.Domain || q.Limit != "" && seen.Limit != q.Limit {
		return err
	}
	p.out.Quotas = append(p.out.Quotas, seen)
	return nil
}

// get returns the quotas that a call with the attributes would charge, in the
// periods of now.
func (v *quotaViews) get(sel *admin.CounterSelection) (*admin.Quotas, error) {
	call, err := v.policies.match(sel, true)
	if err != nil {
		return nil, err
	}
	out := &admin.Quotas{Quotas: []admin.Quota{}}
	err = v.quotas.read(func(ledgers ledger.Set, h *holdings.Holdings) error {
		r := v.reader(h)
		if ledgers == nil {
			return nil // the policy has changed since
		}
		for i := range call.Charges() {
			ch := &call.Charges()[i]
			r.ledger = ledgers[quota.GroupOf(ch.Key)]
			w, ends, err := windowOf(ch.Limit, r.now)
			if err != nil {
				return err
			}
			held, _ := h.Look(ch.Key, w.Start)
			seen, err := r.again(&ledger.Counter{Key: ch.Key, Window: w}, ch.Limit, ends, held)
			if err != nil {
				return err
			}
			out.Quotas = append(out.Quotas, seen)
		}
		return nil
	})
	return out, err
}

// windowOf returns the window of a quota that now is in, as the ledger names it, and
// when it ends by the zone's rules.
func windowOf(l *limiter.Limit, now limiter.Instant) (w quota.Window, ends int64, err error) {
	list, err := holdings.Quotas([]*limiter.Limit{l})
	if err != nil {
		return w, 0, err
	}
	w, ends = windowAt(&list[0], int64(now)/int64(time.Second))
	return w, ends, nil
}

// windowAt is windowOf at an instant in Unix seconds.
func windowAt(q *holdings.Quota, at int64) (w quota.Window, ends int64) {
	in := q.When.Window(at)
	return quota.Window{Start: in.Start, End: in.Start + q.When.Length(), Rolling: q.Limit.Quota.Rolling}, in.End
}

// reader is to be called within quotas.read.
func (v *quotaViews) reader(h *holdings.Holdings) quotaReader {
	r := quotaReader{limits: map[limiter.LimitID]*limiter.Limit{}, known: map[limiter.LimitID]*holdings.Quota{}, holdings: h, tenure: v.quotas.tenure, now: v.now()}
	for _, l := range v.policies.current.Load().Limits() {
		if l.Kind == limiter.KindQuota {
			r.limits[l.ID] = l
		}
	}
	return r
}

// A quotaReader says what a ledger and this node's memory have of counters.
type quotaReader struct {
	limits   map[limiter.LimitID]*limiter.Limit
	known    map[limiter.LimitID]*holdings.Quota // those that limit has met
	ledger   *ledger.Ledger
	holdings *holdings.Holdings
	tenure   uint64 // of this process
	now      limiter.Instant
}

// quota says what is known of a record, whose limit only this node's memory tells.
func (r *quotaReader) quota(c *ledger.Counter) (admin.Quota, error) {
	if held, ok := r.holdings.Look(c.Key, c.Window.Start); ok {
		return r.again(c, r.limits[held.Limit], held.Ends, held)
	}
	l, ends, err := r.limit(c)
	if err != nil {
		return admin.Quota{}, err
	}
	return r.of(c, l, ends, holdings.View{})
}

// limit returns the limit of a record of which nothing is held, and when its window ends;
// nil if that is not known.
func (r *quotaReader) limit(c *ledger.Counter) (l *limiter.Limit, ends int64, err error) {
	id, _ := r.holdings.LimitOf(c.Key)
	if l = r.limits[id]; l == nil {
		return nil, 0, nil
	}
	if r.known[id] == nil {
		list, err := holdings.Quotas([]*limiter.Limit{l})
		if err != nil {
			return nil, 0, err
		}
		r.known[id] = &list[0]
	}
	w, ends := windowAt(r.known[id], c.Window.Start)
	if w != c.Window {
		return nil, 0, nil // the zone's rules were others then
	}
	return l, ends, nil
}

// again is of for the record as it is now: it has to be read after what is held was
// looked at, since a unit is granted there before it is spent here.
func (r *quotaReader) again(c *ledger.Counter, l *limiter.Limit, ends int64, held holdings.View) (seen admin.Quota, err error) {
	if c.Pool, _, err = r.ledger.Pool(c.Key, c.Window); err != nil {
		return seen, err
	}
	return r.of(c, l, ends, held)
}

// of says what is known of a record of limit l, which may be nil, in a window that
// ends at ends, of which this node's memory has held.
func (r *quotaReader) of(c *ledger.Counter, l *limiter.Limit, ends int64, held holdings.View) (admin.Quota, error) {
	p, now := &c.Pool, int64(r.now)/int64(time.Second)
	out := admin.Quota{
		Key: c.Key.Fingerprint(), From: time.Unix(c.Window.Start, 0).UTC(), SubWindows: c.Window.Rolling,
		Correct: p.Correction, Waived: p.Waived, Revision: p.Revision, Debt: p.Debt(), Exact: p.Exact.Charged,
	}
	if l != nil {
		out.Domain, out.Limit, out.Shadow, out.Mode = l.Domain, l.Name, l.Shadow, policy.QuotaMode(l)
		resets := time.Unix(ends, 0).UTC()
		out.ResetsAt = &resets
		if now < ends {
			p.Limit = l.Amount // the record may not have heard of it yet
		}
	}
	if c.Window.Rolling > 0 {
		var failed error
		p.Beside = quota.Beside(c.Window, func(w quota.Window) uint64 {
			near, _, err := r.ledger.Pool(c.Key, w)
			failed = errors.Join(failed, err)
			return near.Use()
		})
		if failed != nil {
			return out, failed
		}
		out.Beside = p.Beside
	}
	out.Held, out.Stranded = r.unspent(p, held), stranded(p, r.tenure)
	out.Amount, out.Used, out.Remaining = p.Amount(), p.Outstanding()-out.Held-out.Stranded, p.Free()+out.Held
	if out.Frozen = r.ledger.Frozen(c.Window); out.Frozen {
		out.Remaining = out.Held
	}
	if l != nil && c.Window.Rolling == 0 {
		out.Exhausted = forecast(c.Window.Start, now, ends, &out)
	}
	return out, nil
}

// unspent returns how many units of a pool this node may still spend: those that it
// was granted, whether it has heard of that or not, less what it has spent.
func (r *quotaReader) unspent(p *quota.Pool, held holdings.View) uint64 {
	for i := range p.Shares {
		s := &p.Shares[i]
		if s.Holder.Tenure == r.tenure && s.Holder.Life == held.Life && !s.Closed {
			return s.Granted - s.Returned - min(held.Used, s.Granted-s.Returned)
		}
	}
	return 0
}

// forecast returns when nothing remains of a quota if use goes on as it was, on
// average, since its period began; nil if that is not before it ends.
func forecast(start, now, ends int64, q *admin.Quota) *time.Time {
	if q.Used == 0 || q.Remaining == 0 || now <= start {
		return nil
	}
	left := float64(now-start) / float64(q.Used) * float64(q.Remaining) // seconds
	if left >= float64(ends-now) {
		return nil
	}
	at := time.Unix(now+int64(left), 0).UTC()
	return &at
}

// formatQuotaCursor returns the cursor of a page that ended with c.
func formatQuotaCursor(c *ledger.Counter) string {
	b := binary.BigEndian.AppendUint64([]byte{cursorVersion}, uint64(c.Window.Start))
	b = append(binary.BigEndian.AppendUint64(b, uint64(c.Window.End)), c.Window.Rolling)
	b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, c.Key.Hi), c.Key.Lo)
	return cursorText(b)
}

// parseQuotaCursor returns nil for the first page.
func parseQuotaCursor(s string) (*ledger.Counter, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // none
	}
	b, err := parseCursorText(s, quotaCursorBytes)
	if err != nil {
		return nil, err
	}
	u := binary.BigEndian.Uint64
	w := quota.Window{Start: int64(u(b[1:])), End: int64(u(b[9:])), Rolling: b[17]}
	if w.Start < 0 || w.End <= w.Start || quota.TimeMax < w.End || quota.RollingMax < w.Rolling {
		return nil, badCursor(s)
	}
	return &ledger.Counter{Window: w, Key: limiter.Key{Hi: u(b[18:]), Lo: u(b[26:])}}, nil
}
