package policy

import (
	"testing"

	"github.com/headgate/headgate/limiter"
)

const llm = `
domain: llm
limits:
  - {name: requests, by: [team], rate: 60/min}
  - {name: tokens, by: [team], rate: 100000/min, unit: tokens, max_estimate: 8000}
  - {name: money, by: [team], quota: 5000/month, unit: cents}
`

func TestALimitIsChargedTheCostInItsUnit(t *testing.T) {
	s := compiled(t, llm)
	for _, tt := range []struct {
		name  string
		costs []UnitCost
		want  [3]uint64
	}{
		{"none is named", nil, [3]uint64{2, 2, 2}},
		{"one is", []UnitCost{{[]byte("tokens"), 700}}, [3]uint64{2, 700, 2}},
		{"all are", []UnitCost{{[]byte("tokens"), 700}, {[]byte("cents"), 0}}, [3]uint64{2, 700, 0}},
		{"one that nobody counts", []UnitCost{{[]byte("images"), 9}}, [3]uint64{2, 2, 2}},
		{"one twice", []UnitCost{{[]byte("cents"), 3}, {[]byte("cents"), 4}}, [3]uint64{2, 2, 3}},
	} {
		r := &Request{Domain: []byte("llm")}
		r.AddDescriptor().Cost = 2
		r.AddEntry([]byte("team"), []byte("a"))
		for _, c := range tt.costs {
			r.AddCost(c.Unit, c.Units)
		}
		var c limiter.Call
		if o := s.Match(r, &c); o != Matched || len(c.Charges()) != len(tt.want) {
			t.Fatalf("%s: outcome %d, %d charges", tt.name, o, len(c.Charges()))
		}
		for i, ch := range c.Charges() {
			if ch.Cost != tt.want[i] {
				t.Errorf("%s: %s is charged %d, want %d", tt.name, ch.Limit.Name, ch.Cost, tt.want[i])
			}
		}
		if r.Reset(); len(r.Costs()) != 0 {
			t.Errorf("%s: %d costs after Reset", tt.name, len(r.Costs()))
		}
	}
	if c := s.Limits()[1].Costing; c == nil || *c != (limiter.CostTerms{Unit: "tokens", EstimateMax: 8000}) {
		t.Errorf("tokens: %+v", c)
	}
}

func TestThereIsABoundOfCosts(t *testing.T) {
	var r Request
	for i := range CostsMax + 1 {
		if ok := r.AddCost([]byte{byte('a' + i)}, 1); ok != (i < CostsMax) {
			t.Errorf("cost %d: %v", i, ok)
		}
	}
}

// TestAUnitIsPartOfTheIdentity: tokens that were counted are no requests.
func TestAUnitIsPartOfTheIdentity(t *testing.T) {
	id := func(more string) limiter.LimitID {
		return compiled(t, "domain: d\nlimits:\n  - {name: x, rate: 5/s"+more+"}\n").Limits()[0].ID
	}
	if id("") == id(", unit: tokens") || id(", unit: cents") == id(", unit: tokens") {
		t.Error("limits of different units have the same identity")
	}
	if id("") != id(", max_estimate: 3") {
		t.Error("max_estimate is part of the identity")
	}
}
