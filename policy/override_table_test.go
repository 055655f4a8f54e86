package policy

import (
	"bytes"
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

const overrideNow = limiter.Instant(1_795_392_000_000_000_000) // on the hour

// askCarried charges one unit of a limit of 5 an hour that the request carries.
func askCarried(t *testing.T, s *Snapshot, tab *table.Table, now limiter.Instant) limiter.Verdict {
	t.Helper()
	r := &Request{Domain: []byte("shop")}
	r.AddDescriptor()
	r.AddEntry([]byte("user"), []byte("ann"))
	r.SetOverride(Override{Amount: 5, Unit: UnitHour, Multiplier: 1})
	var c limiter.Call
	if o := s.Match(r, &c); o != Matched {
		t.Fatalf("outcome %v", o)
	}
	tab.Decide(now, &c)
	return c.Charges()[0].Decision.Verdict
}

// carriedTable returns a table with s installed in which of 5 units an hour
// used are used.
func carriedTable(t *testing.T, s *Snapshot, used int) *table.Table {
	t.Helper()
	tab, err := table.New(table.Config{})
	if err != nil {
		t.Fatal(err)
	}
	tab.Install(s.Limits())
	for i := range used {
		if v := askCarried(t, s, tab, overrideNow); v != limiter.Allowed {
			t.Fatalf("charge %d of 5: %v", i+1, v)
		}
	}
	return tab
}

func TestLimitsThatRequestsCarryKeepTheirCountersAcrossARestart(t *testing.T) {
	const text = "domain: shop\nlimits: []\n"
	var file bytes.Buffer
	if err := carriedTable(t, compiled(t, text), 5).Save(&file, overrideNow); err != nil {
		t.Fatal(err)
	}
	for _, installFirst := range []bool{true, false} {
		s := compiled(t, text)
		next, err := table.New(table.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if installFirst {
			next.Install(s.Limits())
		}
		if _, err := next.Load(bytes.NewReader(file.Bytes()), overrideNow); err != nil {
			t.Fatal(err)
		}
		if !installFirst {
			next.Install(s.Limits())
		}
		if v := askCarried(t, s, next, overrideNow.Add(2*time.Second)); v != limiter.Denied {
			t.Errorf("install first %v: 5 of 5 an hour used: %v", installFirst, v)
		}
	}
}

func TestLimitsThatRequestsCarryKeepTheirCountersAcrossAReload(t *testing.T) {
	first := compiled(t, "domain: shop\ncharge: all\nlimits: []\n")
	for _, setting := range []string{"peek: used", "count_denied: true"} {
		tab := carriedTable(t, first, 5)
		second := compiled(t, "domain: shop\ncharge: all\n"+setting+"\nlimits: []\n")
		tab.Install(second.Limits())
		for !tab.ConvertStep(overrideNow, 1<<20) {
		}
		if v := askCarried(t, second, tab, overrideNow.Add(2*time.Second)); v != limiter.Denied {
			t.Errorf("%s: 5 of 5 an hour used: %v", setting, v)
		}
	}
}

func TestALimitThatALateRequestCarriesIsDecidedByItsOwnTerms(t *testing.T) {
	old := compiled(t, "domain: shop\ncharge: all\nlimits: []\n")
	tab := carriedTable(t, old, 3)
	tab.Install(compiled(t, "domain: shop\ncharge: all\npeek: used\nlimits: []\n").Limits())
	for i, want := range []limiter.Verdict{limiter.Allowed, limiter.Allowed, limiter.Denied} {
		if v := askCarried(t, old, tab, overrideNow); v != want {
			t.Errorf("charge %d of 5 an hour, after a reload: %v, want %v", i+4, v, want)
		}
	}
}
