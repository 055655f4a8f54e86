//go:build !race

// The race detector makes regexp's sync.Pool forget at random.

package policy

import (
	"testing"

	"github.com/headgate/headgate/limiter"
)

func TestMatchingAllocatesNothing(t *testing.T) {
	docs, _ := Parse([]Source{{"x", []byte(everything)}})
	for _, slots := range []bool{false, true} {
		if slots {
			crowd(docs[0], "remote_address", "path", "plan", "user")
		}
		s, problems := Compile(docs, Options{slotsFrom: crowded})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		d := s.domains["shop"]
		path := &d.selectors.byAttr[d.selectors.attrs["path"]]
		address := &d.selectors.byAttr[d.selectors.attrs["remote_address"]]
		for i, table := range []*textTable{&d.tree.edges, &path.exact, &path.prefixes.table, &address.ipv4.table} {
			if (table.slots != nil) != slots {
				t.Errorf("table %d has %d slots; want some: %v", i, len(table.slots), slots)
			}
		}
		r := everyRequest(t)
		if slots {
			r.AddDescriptor()
			r.AddEntry([]byte("path"), []byte("crowd-7"))
		}
		var c limiter.Call
		match := func() {
			c.Reset()
			if s.Foresee(r) {
				t.Fatal("a small policy has far tags")
			}
			if o := s.Match(r, &c); o != Matched {
				t.Fatal(o)
			}
		}
		match()
		if n := len(c.Charges()); n < 9 {
			t.Fatalf("only %d charges", n)
		}
		if n := testing.AllocsPerRun(1000, match); n != 0 {
			t.Errorf("%v allocations; slots: %v", n, slots)
		}
	}
}

func TestMatchingACarriedLimitAllocatesNothing(t *testing.T) {
	s := compiled(t, carriers3)
	var r Request
	var c limiter.Call
	name, key := []byte("api_users"), []byte("account:1")
	match := func() {
		r.Reset()
		c.Reset()
		r.SetCarried(name, key, limiter.OpCharge, 1, Carried{Kind: limiter.KindRate, Amount: 5, Calendar: UnitMonth, At: overrideNow, Restart: true})
		if o := s.Match(&r, &c); o != Matched || len(c.Charges()) != 2 {
			t.Fatal(o)
		}
	}
	match()
	if n := testing.AllocsPerRun(1000, match); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
