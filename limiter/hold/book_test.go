package hold

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

const noon limiter.Instant = 1_800_000_000_000_000_000

func key(n uint64) limiter.Key { return limiter.Key{Lo: n} }

// A page is what the model knows of one reservation.
type page struct {
	content, end     limiter.Key
	opened, deadline limiter.Instant
	over             limiter.Instant // when it ended, if it did
	state            string
	made, settle     []byte
	slots, late      bool
	domain           string
}

// A ledger is the dumb model: it looks at every reservation each time.
type ledger struct {
	bounds Bounds
	pages  map[limiter.Key]*page
	counts map[string]*Counts // but for Records and Open
}

// at has what is due by now done.
func (m *ledger) at(now limiter.Instant) {
	for id, p := range m.pages {
		if p.state == "open" && now >= p.deadline {
			m.counts[p.domain].Expired++
			p.state, p.over = "expired", p.deadline
		}
		if (p.state == "expired" || p.state == "ended") && now >= p.over.Add(RememberFor) {
			delete(m.pages, id)
		}
	}
}

func (m *ledger) begin(now limiter.Instant, a *Ask) ([]byte, Outcome) {
	m.at(now)
	p, same := m.pages[a.ID], 0
	for _, other := range m.pages {
		if other.domain == a.Domain {
			same++
		}
	}
	switch {
	case p == nil && len(m.pages) >= m.bounds.Max:
		m.counts[a.Domain].Refused++
		return nil, Full
	case p == nil && !a.Alone && same >= m.bounds.Share:
		m.counts[a.Domain].ShareFull++
		return nil, ShareFull
	case p == nil:
		m.pages[a.ID] = &page{content: a.Content, opened: now, state: "deciding", domain: a.Domain}
		return nil, Done
	case p.content != a.Content:
		return nil, Differs
	case p.state == "deciding":
		return nil, Busy
	default:
		return p.made, Again
	}
}

func (m *ledger) extend(now limiter.Instant, id limiter.Key, lifetime time.Duration) (limiter.Instant, Outcome) {
	m.at(now)
	p := m.pages[id]
	switch {
	case p == nil:
		return 0, Unknown
	case p.state == "deciding" || p.state == "ending":
		return 0, Busy
	case p.state != "open":
		return 0, Over
	case p.slots && lifetime > time.Minute || now.Add(lifetime) > p.opened.Add(LifetimeMax):
		return 0, TooLong
	}
	p.deadline = max(p.deadline, now.Add(lifetime))
	return p.deadline, Done
}

func (m *ledger) finish(now limiter.Instant, id, content limiter.Key) (late bool, answer []byte, o Outcome) {
	m.at(now)
	p := m.pages[id]
	switch {
	case p == nil:
		return false, nil, Unknown
	case p.state == "deciding":
		return false, nil, Busy
	case p.state == "ending" || p.state == "ended":
		if p.end != content {
			return false, nil, Differs
		}
		if p.state == "ending" {
			return false, nil, Busy
		}
		return false, p.settle, Again
	}
	late = p.state == "expired"
	p.state, p.end, p.late = "ending", content, late
	return late, nil, Done
}

func slots() []Leg {
	return []Leg{{Limit: &limiter.Limit{Spec: limiter.Spec{Kind: limiter.KindConcurrency, Period: time.Minute}}}}
}

// TestTheBookAgreesWithAListOfReservations does the same to both.
func TestTheBookAgreesWithAListOfReservations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bounds := Bounds{Max: rapid.IntRange(1, 5).Draw(t, "max")}
		bounds.Share = rapid.IntRange(1, bounds.Max).Draw(t, "share")
		domains := []string{"", "shop", "llm"}
		b, m := New(bounds), &ledger{bounds, map[limiter.Key]*page{}, map[string]*Counts{}}
		for _, d := range domains {
			m.counts[d] = new(Counts)
		}
		now := noon
		spans := rapid.SampledFrom([]time.Duration{0, 1, time.Second, time.Minute, RememberFor - 1, RememberFor, time.Hour, LifetimeMax})
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(spans.Draw(t, "passes"))
			id, content := key(rapid.Uint64Range(1, 6).Draw(t, "id")), key(rapid.Uint64Range(1, 2).Draw(t, "content"))
			lifetime, answer := max(1, spans.Draw(t, "lifetime")), fmt.Append(nil, step)
			switch rapid.SampledFrom([]string{"begin", "keep", "drop", "undone", "extend", "end", "ended", "sweep"}).Draw(t, "op") {
			case "begin":
				a := &Ask{
					ID: id, Content: content,
					Domain: rapid.SampledFrom(domains).Draw(t, "domain"), Alone: rapid.Bool().Draw(t, "alone"),
				}
				got, o := b.Begin(now, a)
				want, p := m.begin(now, a)
				same(t, "begin", o, p, bytes.Equal(got, want))
			case "keep":
				var legs []Leg
				if rapid.Bool().Draw(t, "slots") {
					legs = slots()
				}
				b.Keep(id, now.Add(lifetime), legs, answer)
				if p := m.pages[id]; p != nil && p.state == "deciding" {
					p.state, p.deadline, p.made, p.slots = "open", now.Add(lifetime), answer, legs != nil
					m.counts[p.domain].Opened++
				}
			case "drop":
				b.Drop(id)
				if p := m.pages[id]; p != nil && p.state == "deciding" {
					delete(m.pages, id)
				}
			case "undone":
				b.Undone(id)
				if p := m.pages[id]; p != nil && p.state == "deciding" {
					m.counts[p.domain].Undone++
					delete(m.pages, id)
				}
			case "extend":
				e, o := b.Extend(now, id, lifetime)
				deadline, p := m.extend(now, id, lifetime)
				same(t, "extend", o, p, e.Deadline == deadline)
			case "end":
				e, o := b.End(now, id, content)
				late, settled, p := m.finish(now, id, content)
				same(t, "end", o, p, e.Late == late && bytes.Equal(e.Answer, settled))
			case "ended":
				short := rapid.Bool().Draw(t, "short")
				b.Ended(now, id, short, answer)
				if p := m.pages[id]; p != nil && p.state == "ending" {
					p.state, p.over, p.settle = "ended", now, answer
					m.ended(p, short)
				}
			case "sweep":
				for b.Sweep(now, 2) {
				}
				m.at(now)
				agree(t, b, m)
			}
		}
		for b.Sweep(now, 2) {
		}
		m.at(now)
		agree(t, b, m)
	})
}

func same(t *rapid.T, op string, got, want Outcome, also bool) {
	t.Helper()
	if got != want || !also {
		t.Fatalf("%s: outcome %d, want %d; the rest is the same: %v", op, got, want, also)
	}
}

// ended counts the end of p.
func (m *ledger) ended(p *page, short bool) {
	c := m.counts[p.domain]
	c.Settled++
	if p.late {
		c.Late++
	}
	if short {
		c.Short++
	}
}

// agree compares the figures.
func agree(t *rapid.T, b *Book, m *ledger) {
	t.Helper()
	s, all := b.Stats(), Counts{}
	for domain, c := range m.counts {
		want := *c
		for _, p := range m.pages {
			if p.domain != domain {
				continue
			}
			want.Records++
			if p.state != "expired" && p.state != "ended" {
				want.Open++
			}
		}
		if s.Domains[domain] != want {
			t.Fatalf("domain %q: %+v, want %+v", domain, s.Domains[domain], want)
		}
		all.add(&want)
	}
	if s.Counts != all || len(b.queue) > s.Records {
		t.Fatalf("%+v and %d queued, want %+v", s.Counts, len(b.queue), all)
	}
}

// TestDomainsThatAreToldApartAreBounded: those beyond count as one, and so do the figures of
// those that have no reservations any more.
func TestDomainsThatAreToldApartAreBounded(t *testing.T) {
	b := New(Bounds{Max: 3 * domainsMax, Share: 3})
	begin := func(n int, domain string) Outcome {
		_, o := b.Begin(noon, &Ask{ID: key(uint64(n)), Domain: domain})
		return o
	}
	for i := range domainsMax - 1 {
		if o := begin(i, fmt.Sprint("d", i)); o != Done {
			t.Fatalf("domain %d: %d", i, o)
		}
	}
	for i := range 4 {
		if o, want := begin(domainsMax+i, fmt.Sprint("more", i)), Done; i < 3 && o != want || i == 3 && o != ShareFull {
			t.Errorf("domain %d beyond the bound: %d", i, o)
		}
	}
	if s := b.Stats(); len(s.Domains) != domainsMax || s.Domains[""].Records != 3 || s.Domains[""].ShareFull != 1 {
		t.Fatalf("%d domains, %+v of the others", len(s.Domains), s.Domains[""])
	}
	b.Undone(key(7))
	if o := begin(7, "late"); o != Done {
		t.Fatalf("in the place of one without reservations: %d", o)
	}
	s := b.Stats()
	if _, known := s.Domains["d7"]; known || s.Domains["late"].Records != 1 || s.Domains[""].Undone != 1 || s.Undone != 1 || len(s.Domains) != domainsMax {
		t.Errorf("%d domains, %+v of the others", len(s.Domains), s.Domains[""])
	}
}

// TestAFullBookMakesRoomAsTimePasses: without anybody who sweeps.
func TestAFullBookMakesRoomAsTimePasses(t *testing.T) {
	b := New(Bounds{Max: 2, Share: 2})
	begin := func(now limiter.Instant, id uint64) Outcome {
		_, o := b.Begin(now, &Ask{ID: key(id), Content: key(9)})
		return o
	}
	for _, id := range []uint64{1, 2} {
		begin(noon, id)
		b.Keep(key(id), noon.Add(time.Minute), nil, nil)
	}
	if o := begin(noon.Add(time.Minute), 3); o != Full {
		t.Fatalf("while both are remembered: %d", o)
	}
	if o := begin(noon.Add(time.Minute+RememberFor), 3); o != Done {
		t.Errorf("when both are forgotten: %d", o)
	}
	if s := b.Stats(); s.Refused != 1 || s.Expired != 2 || s.Opened != 2 || s.Records != 1 {
		t.Errorf("%+v", s)
	}
}
