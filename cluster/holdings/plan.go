package holdings

import (
	"cmp"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/limiter/quota/calendar"
)

// A plan is what a quota's limit says, ready to decide with. It is immutable but
// for the window, which is only remembered.
type plan struct {
	def    limiter.DefHash
	window atomic.Pointer[calendar.Window]
	terms  quota.Terms
	marks  []uint64 // from which use on each of the limit's marks is reached
	// postPaid: what does not fit is owed, and passes.
	postPaid bool
	exact    bool // each charge is decided by the ledger
	rolling  uint8
	domain   *domain
	when     *calendar.Calendar
	limit    *limiter.Limit
}

// at returns the window that now is in.
func (p *plan) at(now limiter.Instant) calendar.Window {
	t := int64(now) / int64(time.Second)
	w := p.window.Load()
	if w == nil || !w.Contains(t) {
		next := p.when.Window(t)
		w = &next
		p.window.Store(w)
	}
	return *w
}

// pool returns the window that began at start as the ledger names it. To the ledger,
// it ends when the schedule has it end at the latest on a clock that is never set:
// where the zone's rules have it end may change while it lasts, and then its pool
// must have the same name.
func (p *plan) pool(start int64) quota.Window {
	return quota.Window{Start: start, End: start + p.when.Length(), Rolling: p.rolling}
}

// plans are those of a policy.
type plans struct {
	// byDef finds a plan by its hash: open addressing, a power of two of which at most
	// half are taken.
	byDef []*plan
	// byID has one of each identity, for calls that were matched against an
	// earlier policy: they go by the amount that is in force.
	byID map[limiter.LimitID]*plan
}

func newPlans(count int) *plans {
	size := 2
	for size < 2*count {
		size *= 2
	}
	return &plans{make([]*plan, size), make(map[limiter.LimitID]*plan, count)}
}

func (p *plans) add(next *plan) {
	at := p.place(next.def)
	if p.byDef[at] == nil {
		p.byDef[at] = next
	}
	if id := next.limit.ID; p.byID[id] == nil {
		p.byID[id] = next
	}
}

// place returns where the plan of def is, or would be.
func (p *plans) place(def limiter.DefHash) int {
	last := len(p.byDef) - 1
	at := int(def) & last
	for p.byDef[at] != nil && p.byDef[at].def != def {
		at = (at + 1) & last
	}
	return at
}

func (p *plans) find(l *limiter.Limit) *plan {
	if found := p.byDef[p.place(l.Def)]; found != nil {
		return found
	}
	return p.byID[l.ID]
}

// A Quota is a limit of kind quota with what its schedule means.
type Quota struct {
	Limit *limiter.Limit
	When  *calendar.Calendar
}

// Quotas returns the quotas among limits with what their schedules mean. An error
// names every one whose schedule or time zone is wrong.
func Quotas(limits []*limiter.Limit) (list []Quota, err error) {
	zones := map[string]*time.Location{} // each is read from a file
	for _, l := range limits {
		if l.Kind != limiter.KindQuota {
			continue
		}
		when, problem := calendarOf(l, zones)
		if problem != nil {
			err = errors.Join(err, fmt.Errorf("holdings: quota %s of domain %s: %w", l.Name, l.Domain, problem))
			continue
		}
		list = append(list, Quota{Limit: l, When: when})
	}
	return list, err
}

func calendarOf(l *limiter.Limit, zones map[string]*time.Location) (*calendar.Calendar, error) {
	name := l.Quota.Zone // "" is UTC
	if zones[name] == nil {
		zone, err := time.LoadLocation(name)
		if err != nil {
			return nil, err
		}
		zones[name] = zone
	}
	return calendar.New(l.Quota.Schedule, zones[name])
}

// Install makes quotas those of the policy in force. version is the policy's: at
// least 1, and higher than that of any other policy of which units were ever
// asked, by an earlier process too.
func (h *Holdings) Install(version uint64, quotas []Quota) {
	next := newPlans(len(quotas))
	h.domains = h.domainsOf(quotas)
	for _, q := range quotas {
		p := &plan{def: q.Limit.Def, limit: q.Limit, domain: h.domains[q.Limit.Domain], marks: marksOf(q.Limit), when: q.When, terms: quota.Terms{
			Version:  version,
			Limit:    q.Limit.Amount,
			GrantMax: h.cfg.GrantMax,
			Horizon:  h.cfg.Horizon,
			Idle:     h.cfg.Idle,
		}}
		if terms := q.Limit.Quota; terms != nil {
			p.postPaid, p.exact, p.rolling = terms.PostPaid, terms.Exact, terms.Rolling
			p.terms.MaxDebt = cmp.Or(terms.MaxDebt, q.Limit.Amount)
		}
		next.add(p)
	}
	h.plans.Store(next)
}
