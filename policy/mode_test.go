package policy

import (
	"testing"

	"github.com/headgate/headgate/limiter"
)

const twoDomains = `
domain: shop
limits:
  - {name: calls, by: [user], rate: 5/s, overrides: [{values: bob, amount: 1}]}
  - {descriptor: [path=/a, user], window: 3/min}
---
domain: other
limits:
  - {by: [user], rate: 5/s}
`

func requestOf(domain string, pairs ...string) *Request {
	r := &Request{Domain: []byte(domain)}
	r.AddDescriptor()
	for i := 0; i < len(pairs); i += 2 {
		r.AddEntry([]byte(pairs[i]), []byte(pairs[i+1]))
	}
	return r
}

// charges matches and returns what is owed.
func charges(t *testing.T, s *Snapshot, r *Request) []limiter.Charge {
	t.Helper()
	var c limiter.Call
	if o := s.Match(r, &c); o != Matched {
		t.Fatal(o)
	}
	return append([]limiter.Charge(nil), c.Charges()...)
}

func TestAModeChangesWhatIsEnforcedAndNothingElse(t *testing.T) {
	s := compiled(t, twoDomains)
	for i, l := range s.Limits() {
		l.Ref = uint32(i) + 1
	}
	carried := requestOf("shop", "user", "ann")
	carried.SetOverride(Override{Amount: 3, Unit: UnitSecond, Multiplier: 1})
	requests := map[string]*Request{
		"by":          requestOf("shop", "user", "ann"),
		"an override": requestOf("shop", "user", "bob"),
		"the tree":    requestOf("shop", "path", "/a", "user", "ann"),
		"carried":     carried,
	}
	shadow := s.WithModes(map[string]Mode{"shop": ModeShadow})
	off := shadow.WithModes(map[string]Mode{"shop": ModeOff, "nowhere": ModeOff})
	again := off.WithModes(map[string]Mode{"shop": ModeEnforce})
	for name, r := range requests {
		want := charges(t, s, r)
		got := charges(t, shadow, r)
		if len(want) == 0 || len(got) != len(want) {
			t.Fatalf("%s: %d charges, want %d", name, len(got), len(want))
		}
		for i := range got {
			g, w := got[i], want[i]
			if g.Key != w.Key || g.Limit.Ref != w.Limit.Ref || g.Limit.ID != w.Limit.ID || g.Limit.Def != w.Limit.Def || g.Cost != w.Cost {
				t.Errorf("%s: owes %+v, want %+v", name, g, w)
			}
			if !g.Limit.Shadow || w.Limit.Shadow {
				t.Errorf("%s: shadow %v, before %v", name, g.Limit.Shadow, w.Limit.Shadow)
			}
			if got, want := shadow.Rule(g.Limit), s.Rule(w.Limit); got != want {
				t.Errorf("%s: rule %+v, want %+v", name, got, want)
			}
		}
		if n := len(charges(t, off, r)); n != 0 {
			t.Errorf("%s: off owes %d", name, n)
		}
		for i, ch := range charges(t, again, r) {
			if ch.Key != want[i].Key || ch.Limit.Shadow {
				t.Errorf("%s: enforced again owes %+v", name, ch)
			}
		}
	}
	for _, x := range []*Snapshot{shadow, off, again} {
		if ch := charges(t, x, requestOf("other", "user", "ann")); len(ch) != 1 || ch[0].Limit.Shadow {
			t.Errorf("the other domain owes %+v", ch)
		}
		if x.Version() != s.Version() || x.Hash() != s.Hash() || len(x.Limits()) != len(s.Limits()) {
			t.Error("not the same policy")
		}
	}
	if shadow.Mode("shop") != ModeShadow || off.Mode("shop") != ModeOff || again.Mode("shop") != ModeEnforce || off.Mode("nowhere") != ModeEnforce {
		t.Error("Mode says something else")
	}
}

func TestModeNamesAreReadBack(t *testing.T) {
	for i, name := range ModeNames() {
		if m, _, ok := ParseMode(name); !ok || m != Mode(i) || m.String() != name {
			t.Errorf("%s: %v %v", name, m, ok)
		}
	}
	if _, want, ok := ParseMode("shado"); ok || want != "one of enforce, shadow, off; did you mean shadow?" {
		t.Errorf("%v %q", ok, want)
	}
}

// BenchmarkMatchModes is one match of one domain in each mode.
func BenchmarkMatchModes(b *testing.B) {
	docs, problems := Parse([]Source{{"a.yaml", []byte(twoDomains)}})
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	s, _ := Compile(docs, Options{})
	r := requestOf("shop", "path", "/a", "user", "ann")
	for m, name := range ModeNames() {
		b.Run(name, func(b *testing.B) {
			x := s.WithModes(map[string]Mode{"shop": Mode(m)})
			var c limiter.Call
			b.ReportAllocs()
			for b.Loop() {
				c.Reset()
				x.Match(r, &c)
			}
		})
	}
}
