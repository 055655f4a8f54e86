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
	slots            bool
}

// A ledger is the dumb model: it looks at every reservation each time.
type ledger struct {
	max   int
	pages map[limiter.Key]*page
}

// at has what is due by now done.
func (m *ledger) at(now limiter.Instant) {
	for id, p := range m.pages {
		if p.state == "open" && now >= p.deadline {
			p.state, p.over = "expired", p.deadline
		}
		if (p.state == "expired" || p.state == "ended") && now >= p.over.Add(RememberFor) {
			delete(m.pages, id)
		}
	}
}

func (m *ledger) begin(now limiter.Instant, id, content limiter.Key) ([]byte, Outcome) {
	m.at(now)
	p := m.pages[id]
	switch {
	case p == nil && len(m.pages) >= m.max:
		return nil, Full
	case p == nil:
		m.pages[id] = &page{content: content, opened: now, state: "deciding"}
		return nil, Done
	case p.content != content:
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
	p.state, p.end = "ending", content
	return late, nil, Done
}

func slots() []Leg {
	return []Leg{{Limit: &limiter.Limit{Spec: limiter.Spec{Kind: limiter.KindConcurrency, Period: time.Minute}}}}
}

// TestTheBookAgreesWithAListOfReservations does the same to both.
func TestTheBookAgreesWithAListOfReservations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 5).Draw(t, "max")
		b, m := New(most), &ledger{most, map[limiter.Key]*page{}}
		now := noon
		spans := rapid.SampledFrom([]time.Duration{0, 1, time.Second, time.Minute, RememberFor - 1, RememberFor, time.Hour, LifetimeMax})
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(spans.Draw(t, "passes"))
			id, content := key(rapid.Uint64Range(1, 6).Draw(t, "id")), key(rapid.Uint64Range(1, 2).Draw(t, "content"))
			lifetime, answer := max(1, spans.Draw(t, "lifetime")), fmt.Append(nil, step)
			switch rapid.SampledFrom([]string{"begin", "keep", "drop", "extend", "end", "ended", "sweep"}).Draw(t, "op") {
			case "begin":
				got, o := b.Begin(now, id, content)
				want, p := m.begin(now, id, content)
				same(t, "begin", o, p, bytes.Equal(got, want))
			case "keep":
				var legs []Leg
				if rapid.Bool().Draw(t, "slots") {
					legs = slots()
				}
				b.Keep(id, now.Add(lifetime), legs, answer)
				if p := m.pages[id]; p != nil && p.state == "deciding" {
					p.state, p.deadline, p.made, p.slots = "open", now.Add(lifetime), answer, legs != nil
				}
			case "drop":
				b.Drop(id)
				if p := m.pages[id]; p != nil && p.state == "deciding" {
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
				b.Ended(now, id, answer)
				if p := m.pages[id]; p != nil && p.state == "ending" {
					p.state, p.over, p.settle = "ended", now, answer
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

// agree compares the figures.
func agree(t *rapid.T, b *Book, m *ledger) {
	t.Helper()
	live := 0
	for _, p := range m.pages {
		if p.state != "expired" && p.state != "ended" {
			live++
		}
	}
	if s := b.Stats(); s.Records != len(m.pages) || s.Open != live || len(b.queue) > s.Records {
		t.Fatalf("%+v and %d queued; want %d records, %d open", s, len(b.queue), len(m.pages), live)
	}
}

// TestAFullBookMakesRoomAsTimePasses: without anybody who sweeps.
func TestAFullBookMakesRoomAsTimePasses(t *testing.T) {
	b := New(2)
	for _, id := range []uint64{1, 2} {
		b.Begin(noon, key(id), key(9))
		b.Keep(key(id), noon.Add(time.Minute), nil, nil)
	}
	if _, o := b.Begin(noon.Add(time.Minute), key(3), key(9)); o != Full {
		t.Fatalf("while both are remembered: %d", o)
	}
	if _, o := b.Begin(noon.Add(time.Minute+RememberFor), key(3), key(9)); o != Done {
		t.Errorf("when both are forgotten: %d", o)
	}
	if s := b.Stats(); s.Refused != 1 || s.Expired != 2 || s.Opened != 2 || s.Records != 1 {
		t.Errorf("%+v", s)
	}
}
