package obs

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// What one charge can come to, as cells of a series.
const (
	cellAllowed = iota
	cellDenied
	cellShadowDenied // a shadow limit would have denied
	cellGivenBack
	cellCount
)

// What one request can come to.
const (
	requestAllowed = iota
	requestDenied
	requestUnmatched // no limit applies: allowed
	requestUnknownDomain
	requestError
	requestCount
)

const (
	// pageSeries is how many series one page of counters holds.
	pageSeries = 64
	// durationSample is that one request in so many is timed. A power of two.
	durationSample = 16
)

type page [pageSeries][cellCount]atomic.Uint64

// A stripe is the counters of the exchanges that share it: used on one
// processor at a time for the most part, so its cache lines stay there.
type stripe struct {
	requests  [requestCount]atomic.Uint64
	degraded  [limiter.DegradedCount]atomic.Uint64
	durations durations
	hot       sampler
	denied    sampler
	_         [64]byte // the next stripe starts on another cache line
}

// An index says where the limits in use are counted. Immutable.
type index struct {
	series []uint32  // by limiter.Limit.Ref; 0 counts the limits without a series
	pages  [][]*page // by stripe, then series / pageSeries
}

// Decisions counts what was decided: an api.Observer, and a
// prometheus.Collector that adds the stripes up.
type Decisions struct {
	now     func() limiter.Instant
	stripes []stripe
	index   atomic.Pointer[index]

	mu     sync.Mutex // guards series
	series seriesTable
}

func newDecisions(c Config, hot, denied *Top) *Decisions {
	n := 1 << bits.Len(uint(max(c.Stripes, 1)-1))
	d := &Decisions{now: c.Now, stripes: make([]stripe, n), series: newSeriesTable(c.LimitsMax)}
	for i := range d.stripes {
		s := &d.stripes[i]
		s.hot.room.Store(samplesMax)
		s.denied.room.Store(samplesMax)
		hot.samplers = append(hot.samplers, &s.hot)
		denied.samplers = append(denied.samplers, &s.denied)
	}
	d.Install(nil)
	return d
}

// Install gives limits, whose Refs are set, series to count in. Call it with
// the limits of each new policy before the policy is in force. Limits keep
// their series as long as the current or the previous policy has them.
func (d *Decisions) Install(limits []*limiter.Limit) {
	refs := make([]countedRef, len(limits))
	for i, l := range limits {
		refs[i] = countedRef{l.Ref, seriesName{l.Domain, l.Name}}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.index.Load()
	if old == nil {
		old = &index{pages: make([][]*page, len(d.stripes))}
	}
	next := &index{series: d.series.install(refs), pages: make([][]*page, len(d.stripes))}
	for i := range next.pages {
		pages := append([]*page(nil), old.pages[i]...)
		for len(pages)*pageSeries < d.series.size() {
			pages = append(pages, new(page))
		}
		next.pages[i] = pages
		for _, freed := range d.series.freed {
			cells := &pages[freed/pageSeries][freed%pageSeries]
			for v := range cells {
				cells[v].Store(0)
			}
		}
	}
	d.index.Store(next)
}

// Observe implements api.Observer. It allocates nothing and waits for nobody.
func (d *Decisions) Observe(now limiter.Instant, x *api.Exchange) {
	n := x.Stripe & uint32(len(d.stripes)-1)
	s := &d.stripes[n]
	ix := d.index.Load()
	charges := x.Call.Charges()
	anyDenied := false
	if x.Outcome == policy.Matched && !x.Call.Reused {
		for i := range charges {
			ch := &charges[i]
			var series uint32
			if ref := ch.Limit.Ref; int(ref) < len(ix.series) {
				series = ix.series[ref]
			}
			cell := cellOf(ch)
			ix.pages[n][series/pageSeries][series%pageSeries][cell].Add(1)
			anyDenied = anyDenied || cell == cellDenied
			if r := ch.Decision.Degraded; r != limiter.NotDegraded && int(r) < limiter.DegradedCount {
				s.degraded[r].Add(1)
			}
		}
	}
	count := s.requests[requestOf(x)].Add(1)
	if count%durationSample == 0 {
		s.durations.add(d.now().Sub(now))
	}
	if len(charges) == 0 {
		return
	}
	s.hot.offer(x, false)
	if anyDenied {
		s.denied.offer(x, true)
	}
}

func cellOf(ch *limiter.Charge) int {
	switch {
	case ch.Op == limiter.OpGiveBack, ch.Op == limiter.OpRelease:
		return cellGivenBack
	case ch.Decision.Verdict != limiter.Denied:
		return cellAllowed
	case ch.Limit.Shadow:
		return cellShadowDenied
	default:
		return cellDenied
	}
}

func requestOf(x *api.Exchange) int {
	switch x.Outcome {
	case policy.Matched:
		if len(x.Call.Charges()) == 0 {
			return requestUnmatched
		}
		if x.Call.Reused {
			return requestError
		}
		if v, _ := x.Call.Verdict(); v == limiter.Denied {
			return requestDenied
		}
		return requestAllowed
	case policy.UnknownDomainAllow, policy.UnknownDomainDeny, policy.UnknownDomainError:
		return requestUnknownDomain
	default:
		return requestError
	}
}
