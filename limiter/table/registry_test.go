package table_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

func TestRefsAreStableWhileADefinitionIsInUse(t *testing.T) {
	tab := newTable(t, table.Config{})
	a := rate(t, "shop", "a", 1, time.Hour)
	tab.Install([]*limiter.Limit{a})
	again := rate(t, "shop", "a", 1, time.Hour)
	other := rate(t, "shop", "b", 1, time.Hour)
	tab.Install([]*limiter.Limit{other, again})
	if a.Ref == 0 || again.Ref != a.Ref || other.Ref == a.Ref {
		t.Errorf("refs %d, %d and %d", a.Ref, again.Ref, other.Ref)
	}
}

func TestUnusedDefinitionsAreForgotten(t *testing.T) {
	tab := newTable(t, table.Config{})
	kept := rate(t, "kept", "a", 1, time.Hour)
	tab.Install([]*limiter.Limit{kept})
	ask(tab, start, kept, 1, 1)
	most := 0
	for i := range 100 {
		tab.Install([]*limiter.Limit{rate(t, "shop", "a", uint64(1+i), time.Hour)})
		most = max(most, tab.Definitions())
	}
	// The unknown one, two domains with a stand-in each, kept, the last two and the one being forgotten.
	if most > 7 {
		t.Errorf("%d definitions", most)
	}
	if d := ask(tab, start, kept, 1, 1); d.Verdict != limiter.Denied {
		t.Errorf("a counter of a removed limit: %+v", d)
	}
	check(t, tab)
}

func TestAStragglerIsDecidedByTheDefinitionInForce(t *testing.T) {
	tab := newTable(t, table.Config{})
	old := window(t, "shop", "a", 10, time.Hour)
	tab.Install([]*limiter.Limit{old})
	for range 8 {
		ask(tab, start, old, 1, 1)
	}
	next := window(t, "shop", "a", 9, time.Hour)
	tab.Install([]*limiter.Limit{next})
	for _, tt := range []struct {
		l    *limiter.Limit
		key  int
		want limiter.Verdict
	}{
		{old, 1, limiter.Allowed}, // the ninth
		{next, 1, limiter.Denied},
		{old, 1, limiter.Denied},
		{old, 2, limiter.Allowed}, // a new counter
	} {
		if d := ask(tab, start, tt.l, tt.key, 1); d.Verdict != tt.want {
			t.Errorf("amount %d key %d: %+v", tt.l.Amount, tt.key, d)
		}
	}
	if e, _ := tab.Lookup(keyOf(2).Partition(), keyOf(2)); e.Limit == nil || e.Limit.Amount != 9 || e.Domain != "shop" {
		t.Errorf("entry of the new counter: %+v", e)
	}

	// Back to the first: its counters are converted back.
	back := window(t, "shop", "a", 10, time.Hour)
	tab.Install([]*limiter.Limit{back})
	if d := ask(tab, start, back, 1, 1); back.Ref != old.Ref || d.Verdict != limiter.Allowed {
		t.Errorf("rolled back: %+v", d)
	}
	for !tab.ConvertStep(start, 1000) {
	}
	if st := tab.Stats(); st.Converting || st.Converted == 0 {
		t.Errorf("stats %+v", st)
	}
	check(t, tab)
}

func TestResetMakesACounterFresh(t *testing.T) {
	tab := newTable(t, table.Config{})
	l := window(t, "shop", "a", 1, time.Hour)
	ask(tab, start, l, 1, 1)
	p, k := keyOf(1).Partition(), keyOf(1)
	if !tab.Reset(start, p, k) || tab.Reset(start, p, k) || tab.Reset(start, p, keyOf(2)) {
		t.Error("Reset does not say whether there was a used counter")
	}
	if d := ask(tab, start, l, 1, 1); d.Verdict != limiter.Allowed {
		t.Errorf("after Reset: %+v", d)
	}
}

func TestStatsNameDomains(t *testing.T) {
	tab := newTable(t, table.Config{})
	b, a := rate(t, "b", "x", 1, time.Hour), rate(t, "a", "x", 1, time.Hour)
	tab.Install([]*limiter.Limit{b, a})
	ask(tab, start, b, 1, 1)
	ask(tab, start, b, 2, 1)
	got := tab.Stats().Domains
	if len(got) != 2 || got[0] != (table.DomainStats{Domain: "a"}) || got[1] != (table.DomainStats{Domain: "b", Entries: 2}) {
		t.Errorf("domains %+v", got)
	}
}
