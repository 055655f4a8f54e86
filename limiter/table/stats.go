package table

import (
	"slices"
	"strings"

	"github.com/headgate/headgate/limiter"
)

// Stats says how full a table is and what became of its entries. The counts
// are of slightly different moments.
type Stats struct {
	Entries    int64 // slots in use, by live counters or by due ones not yet forgotten
	EntriesMax int64
	Capacity   int64 // slots there are
	Bytes      int64 // of all arrays
	BytesMax   int64

	Reclaimed uint64 // entries forgotten because they were due, since New
	Converted int64  // counters taken over by a new definition, since New
	Refused   int64  // arrays that BytesMax or the system refused, since New

	// The charges decided without their counter, since New: by what was in the
	// way, and by what on_full then decided.
	TableFullAllowed, TableFullDenied int64
	ShareFullAllowed, ShareFullDenied int64

	Converting bool          // counters wait for ConvertStep
	Domains    []DomainStats // by name
}

// A DomainStats is a domain's part of the table.
type DomainStats struct {
	Domain  string
	Entries int64
}

// Stats returns the present figures. It visits every shard: call it per
// scrape, not per decision.
func (t *Table) Stats() Stats {
	st := Stats{
		Entries:    t.entries.Load(),
		EntriesMax: t.cfg.EntriesMax,
		Capacity:   t.capacity.Load(),
		Bytes:      t.bytes.Load(),
		BytesMax:   t.cfg.BytesMax,

		Converted: t.converted.Load(),
		Refused:   t.refused.Load(),

		TableFullAllowed: t.fulls[tableFull][FullAllow].Load(),
		TableFullDenied:  t.fulls[tableFull][FullDeny].Load(),
		ShareFullAllowed: t.fulls[shareFull][FullAllow].Load(),
		ShareFullDenied:  t.fulls[shareFull][FullDeny].Load(),

		Converting: t.pending.Load() > 0,
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		st.Reclaimed += s.gone
		s.mu.Unlock()
	}
	st.Domains = t.reg.domainStats()
	return st
}

// domainStats returns the domains of the last install, and those that still
// have entries.
func (r *registry) domainStats() []DomainStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ds []DomainStats
	for _, d := range r.domains {
		if n := d.live.Load(); n > 0 || (d.installed == r.installs && r.installs > 0) {
			ds = append(ds, DomainStats{d.name, n})
		}
	}
	slices.SortFunc(ds, func(a, b DomainStats) int { return strings.Compare(a.Domain, b.Domain) })
	return ds
}

// The rows of Table.fulls.
const (
	tableFull = iota
	shareFull
)

// full decides a charge whose counter there is no room for: d is what a fresh
// counter said.
func (t *Table) full(why limiter.Degraded, d *limiter.Decision) {
	reason := tableFull
	if why == limiter.ShareFull {
		reason = shareFull
	}
	t.fulls[reason][t.cfg.OnFull].Add(1)
	d.Degraded = why
	if t.cfg.OnFull == FullDeny {
		*d = limiter.Decision{Verdict: limiter.Denied, Degraded: why, RetryAfter: fullRetryAfter}
	}
}
