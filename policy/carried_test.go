package policy

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

const carriers3 = `
domain: services
gubernator: {names: [logins, "api_*"], max_limit: 1000, max_duration: 366d, max_burst: 2000}
---
domain: internal
gubernator: {names: ["api_internal_*"], max_limit: 10, max_duration: h}
---
domain: rest
gubernator: {max_limit: 5, max_duration: min}
---
domain: none
limits: []
`

// matchCarried matches a request for one unit of a carried limit.
func matchCarried(s *Snapshot, name string, c Carried, call *limiter.Call) (Outcome, *Request) {
	r := &Request{}
	r.SetCarried([]byte(name), []byte("k"), limiter.OpCharge, 1, c)
	return s.Match(r, call), r
}

func TestACarriedLimitIsDecidedInTheDomainThatTakesItsName(t *testing.T) {
	s := compiled(t, carriers3)
	for name, want := range map[string]string{
		"logins": "services", "api_": "services", "api_users": "services",
		"api_internal_x": "internal", "api_internal": "services",
		"login": "rest", "": "rest",
	} {
		var call limiter.Call
		o, r := matchCarried(s, name, Carried{Kind: limiter.KindFixed, Amount: 5, Period: time.Second}, &call)
		if o != Matched {
			t.Errorf("%s: %v", name, r.Refusal())
			continue
		}
		if l := call.Charges()[0].Limit; l.Domain != want || !l.Carried || l.Shadow {
			t.Errorf("%s is decided by %+v, want %s", name, l.Spec, want)
		}
	}
}

func TestACarriedLimitThatNoPolicyTakesIsRefused(t *testing.T) {
	const services = `, says the policy of domain "services"`
	window := Carried{Kind: limiter.KindFixed, Amount: 5, Period: time.Second}
	with := func(change func(c *Carried)) Carried {
		c := window
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name, policy string
		carried      Carried
		want         Refusal
	}{
		{"x", "domain: shop\n", window, Refusal{"name", `"x"`, "no domain takes limits of this name from requests"}},
		{"x", "domain: shop\ngubernator: {names: [y], max_limit: 5, max_duration: h}\n", window, Refusal{"name", `"x"`, "no domain takes limits of this name from requests"}},
		{"api_x", carriers3, with(func(c *Carried) { c.Amount = 1001 }), Refusal{"limit", "1001", "at most 1000" + services}},
		{"api_x", carriers3, with(func(c *Carried) { c.Period = 366*24*time.Hour + 1 }), Refusal{"duration", "8784h0m0.000000001s", "at most 8784h0m0s" + services}},
		{"api_x", carriers3, with(func(c *Carried) { c.Period = 0 }), Refusal{"duration", "0s", "in [1ms, 8784h0m0s]"}},
		{"api_x", carriers3, with(func(c *Carried) { c.Kind, c.Burst = limiter.KindRate, 2001 }), Refusal{"burst", "2001", "at most 2000" + services}},
		{"api_x", carriers3, with(func(c *Carried) { c.Kind, c.Amount = limiter.KindRate, 0 }), Refusal{"limit", "0", "in [1, 1000000000], at most 1000000000 a second"}},
		{"other", carriers3, with(func(c *Carried) { c.Calendar = UnitHour }), Refusal{"duration", "1h0m0s", `at most 1m0s, says the policy of domain "rest"`}},
	} {
		var call limiter.Call
		o, r := matchCarried(compiled(t, tt.policy), tt.name, tt.carried, &call)
		if o != CarriedRefused || r.Refusal() != tt.want || len(call.Charges()) != 0 {
			t.Errorf("%s, %+v: %v, %+v, want %+v", tt.name, tt.carried, o, r.Refusal(), tt.want)
		}
	}
}

// keyOf returns the key of the counter of a carried limit.
func keyOf(t *testing.T, s *Snapshot, c Carried) limiter.Key {
	t.Helper()
	var call limiter.Call
	o, r := matchCarried(s, "logins", c, &call)
	if o != Matched {
		t.Fatal(r.Refusal())
	}
	return call.Charges()[0].Key
}

func TestCountersOfCarriedLimits(t *testing.T) {
	s := compiled(t, carriers3)
	at := limiter.Instant(time.Date(2026, 11, 27, 23, 59, 30, 0, time.UTC).UnixNano())
	window := Carried{Kind: limiter.KindFixed, Amount: 5, Period: time.Second, At: at}
	rate := Carried{Kind: limiter.KindRate, Amount: 5, Period: time.Second, At: at}
	day := Carried{Kind: limiter.KindRate, Amount: 5, Calendar: UnitDay, At: at}
	for _, tt := range []struct {
		name   string
		a      Carried
		change func(c *Carried)
		same   bool
	}{
		{"a window is the same for another amount", window, func(c *Carried) { c.Amount = 6 }, true},
		{"a window is the same for another period", window, func(c *Carried) { c.Period = time.Hour }, true},
		{"a window is the same for the calendar", window, func(c *Carried) { c.Calendar = UnitMonth }, true},
		{"a rate is no window", window, func(c *Carried) { c.Kind = limiter.KindRate }, false},
		{"a rate is the same for another amount and burst", rate, func(c *Carried) { c.Amount, c.Burst = 6, 9 }, true},
		{"a rate is another for another period", rate, func(c *Carried) { c.Period = time.Hour }, false},
		{"a rate of a day is the same all day", day, func(c *Carried) { c.At = c.At.Add(-23 * time.Hour) }, true},
		{"a rate of a day is another the next day", day, func(c *Carried) { c.At = c.At.Add(30 * time.Second) }, false},
		{"a rate of a day is none of 24 hours", day, func(c *Carried) { c.Calendar, c.Period = 0, 24*time.Hour }, false},
	} {
		b := tt.a
		tt.change(&b)
		if same := keyOf(t, s, tt.a) == keyOf(t, s, b); same != tt.same {
			t.Errorf("%s: %v", tt.name, same)
		}
	}
	if keyOf(t, s, window) != keyOf(t, compiled(t, carriers3), window) {
		t.Error("another snapshot of the same policy has another key")
	}
}

func TestACalendarWindowEndsWithItsPeriod(t *testing.T) {
	s := compiled(t, carriers3)
	at := func(text string) limiter.Instant {
		moment, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return limiter.Instant(moment.UnixNano())
	}
	for _, tt := range []struct {
		unit        Unit
		now         string
		left, whole time.Duration
	}{
		{UnitMinute, "2024-02-28T10:20:59Z", time.Second, time.Minute},
		{UnitHour, "2024-02-28T10:20:00Z", 40 * time.Minute, time.Hour},
		{UnitDay, "2024-02-28T10:00:00Z", 14 * time.Hour, 24 * time.Hour},
		{UnitMonth, "2024-02-28T00:00:00Z", 48 * time.Hour, 29 * 24 * time.Hour},
		{UnitMonth, "2024-12-31T00:00:00Z", 24 * time.Hour, 31 * 24 * time.Hour},
		{UnitYear, "2024-12-31T00:00:00Z", 24 * time.Hour, 366 * 24 * time.Hour},
		{UnitDay, "2024-02-28T23:59:59.9999Z", time.Millisecond, 24 * time.Hour}, // a window's shortest
	} {
		var call limiter.Call
		o, r := matchCarried(s, "logins", Carried{Kind: limiter.KindFixed, Amount: 5, Calendar: tt.unit, At: at(tt.now)}, &call)
		if o != Matched {
			t.Fatal(r.Refusal())
		}
		if left, whole := call.Charges()[0].Limit.Period, r.Carried().Period; left != tt.left || whole != tt.whole {
			t.Errorf("%v at %s: %v of %v left, want %v of %v", tt.unit, tt.now, left, whole, tt.left, tt.whole)
		}
	}
}

// TestTheCalendarIsGoes compares spans with what package time makes of dates.
func TestTheCalendarIsGoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := limiter.Instant(rapid.Int64Range(0, int64(limiter.InstantMax)).Draw(t, "at"))
		unit := rapid.SampledFrom([]Unit{UnitMinute, UnitHour, UnitDay, UnitMonth, UnitYear}).Draw(t, "unit")
		start, end := calendarSpan(unit, at)
		layout := map[Unit]string{
			UnitMinute: "2006-01-02 15:04", UnitHour: "2006-01-02 15", UnitDay: "2006-01-02", UnitMonth: "2006-01", UnitYear: "2006",
		}[unit]
		text := func(i limiter.Instant) string { return i.Time().Format(layout) }
		if start > at || end <= at || text(start) != text(at) || text(end-1) != text(at) || text(end) == text(at) || start > 0 && text(start-1) == text(at) {
			t.Errorf("%v at %v is [%v, %v)", unit, at.Time(), start.Time(), end.Time())
		}
	})
}

func TestACarriedLimitMayRestartItsCounter(t *testing.T) {
	s := compiled(t, carriers3)
	tab, err := table.New(table.Config{})
	if err != nil {
		t.Fatal(err)
	}
	tab.Install(s.Limits())
	ask := func(c Carried) []limiter.Charge {
		var call limiter.Call
		if o, r := matchCarried(s, "logins", c, &call); o != Matched {
			t.Fatal(r.Refusal())
		}
		tab.Decide(overrideNow, &call)
		return call.Charges()
	}
	for kind, want := range map[limiter.Kind][2]uint64{limiter.KindFixed: {1, 5}, limiter.KindRate: {2, 4}} {
		c := Carried{Kind: kind, Amount: 5, Period: time.Hour}
		for range 5 {
			ask(c)
		}
		if ch := ask(c); ch[0].Decision.Verdict != limiter.Denied {
			t.Fatalf("%v: the sixth of five: %+v", kind, ch[0].Decision)
		}
		c.Restart = true
		charges := ask(c)
		last := charges[len(charges)-1].Decision
		if uint64(len(charges)) != want[0] || last.Verdict != limiter.Allowed || last.Remaining != want[1] {
			t.Errorf("%v: %d charges, %+v", kind, len(charges), last)
		}
	}
}

func TestModesHoldForCarriedLimits(t *testing.T) {
	s := compiled(t, carriers3)
	c := Carried{Kind: limiter.KindFixed, Amount: 5, Period: time.Hour}
	var off, shadow limiter.Call
	if o, _ := matchCarried(s.WithModes(map[string]Mode{"services": ModeOff}), "logins", c, &off); o != Matched || len(off.Charges()) != 0 {
		t.Errorf("off: %v, %d charges", o, len(off.Charges()))
	}
	o, _ := matchCarried(s.WithModes(map[string]Mode{"services": ModeShadow}), "logins", c, &shadow)
	if o != Matched || !shadow.Charges()[0].Limit.Shadow || shadow.Charges()[0].Key != keyOf(t, s, c) {
		t.Errorf("shadow: %v, %+v", o, shadow.Charges())
	}
}

func TestNamesOfGubernatorAreOneDocuments(t *testing.T) {
	doc := func(domain string, names ...string) *Document {
		return &Document{Domain: domain, Gubernator: &Gubernator{Names: names, MaxLimit: 1, MaxDuration: time.Second}}
	}
	_, problems := Compile([]*Document{doc("a", "x", "y*"), doc("b", "x*", "y"), doc("c", "z", "y*")}, Options{})
	const want = `gubernator.names[1]: "y*": the domain "a" has this name already; expected names that no other document has`
	if len(problems) != 1 || !strings.HasSuffix(problems[0].String(), want) {
		t.Errorf("got %v, want %s", problems, want)
	}
}
