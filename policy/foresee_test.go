package policy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
)

func TestWhatWasForeseenIsForgottenWhenTheRequestChanges(t *testing.T) {
	const rules = "limits: [{name: %s-a, when: {path: /a}, rate: 1/s}, {name: %[1]s-b, when: {path: /b, user: u}, rate: 1/s}, {name: %[1]s-net, when: {address: {cidr: 10.0.0.0/8}}, rate: 1/s}]"
	s := compiled(t, "domain: one\n"+fmt.Sprintf(rules, "one")+"\n---\ndomain: two\n"+fmt.Sprintf(rules, "two"))
	other := compiled(t, "domain: one\nlimits: [{name: user, when: {user: u}, rate: 1/s}, {name: other, when: {path: /a}, rate: 1/s}]")
	request := func(entries ...string) *Request {
		r := &Request{Domain: []byte("one")}
		r.AddDescriptor()
		for i := 0; i < len(entries); i += 2 {
			r.AddEntry([]byte(entries[i]), []byte(entries[i+1]))
		}
		return r
	}
	tests := []struct {
		name   string
		r      *Request
		change func(*Request)
		by     *Snapshot
		want   []string
	}{
		{name: "nothing changed", r: request("path", "/a", "address", "10.1.2.3"), want: []string{"one-a", "one-net"}},
		{name: "an entry is added", r: request("path", "/b"), change: func(r *Request) { r.AddEntry([]byte("user"), []byte("u")) }, want: []string{"one-b"}},
		{name: "a descriptor is added", r: request("path", "/a"), change: func(r *Request) {
			r.AddDescriptor()
			r.AddEntry([]byte("address"), []byte("10.9.9.9"))
		}, want: []string{"one-a", "one-net"}},
		{name: "the domain is another", r: request("path", "/a"), change: func(r *Request) { r.Domain = []byte("two") }, want: []string{"two-a"}},
		{name: "the domain is unknown", r: request("path", "/a"), change: func(r *Request) { r.Domain = []byte("three") }},
		{name: "the policy is another", r: request("path", "/a", "user", "u"), by: other, want: []string{"other", "user"}},
		{name: "the request is another", r: request("path", "/a"), change: func(r *Request) {
			*r.AddDescriptor() = Descriptor{}
			r.Reset()
			r.Domain = []byte("one")
			r.AddDescriptor()
			r.AddEntry([]byte("address"), []byte("10.1.2.3"))
		}, want: []string{"one-net"}},
		{name: "the descriptor carries a limit", r: request("path", "/a"), change: func(r *Request) {
			r.SetOverride(Override{Amount: 1, Unit: UnitSecond, Multiplier: 1})
		}, want: []string{"override"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.Foresee(tt.r)
			if tt.change != nil {
				tt.change(tt.r)
			}
			by := s
			if tt.by != nil {
				by = tt.by
			}
			for range 2 { // a second match has nothing foreseen
				var c limiter.Call
				by.Match(tt.r, &c)
				var got []string
				for _, ch := range c.Charges() {
					got = append(got, ch.Limit.Name)
				}
				slices.Sort(got)
				if !slices.Equal(got, tt.want) {
					t.Errorf("charges of %v, want %v", got, tt.want)
				}
			}
		})
	}
}

// So many rules that records are asked for and, of the lists of four values,
// tags.
func TestForeseeingAmongManyRulesChangesNothing(t *testing.T) {
	const n = 6000
	match := func(t *testing.T, s *Snapshot, r *Request) limiter.Key {
		t.Helper()
		var c limiter.Call
		if o := s.Match(r, &c); o != Matched || len(c.Charges()) != 1 {
			t.Fatalf("outcome %d, %d charges", o, len(c.Charges()))
		}
		return c.Charges()[0].Key
	}
	for _, shape := range shapes() {
		t.Run(shape, func(t *testing.T) {
			n := n
			if shape == "list" {
				n = 50_000
			}
			w := newWorkload(t, shape, n)
			w.draw(n)
			for i, r := range w.requests {
				r.entries[0].Value = w.values[i]
				more := w.snapshot.Foresee(r)
				if more != (shape == "list") {
					t.Errorf("more is %v", more)
				}
				if more && i%2 == 0 && w.snapshot.Foresee(r) {
					t.Error("more after all")
				}
			}
			for _, r := range w.requests {
				if foreseen := match(t, w.snapshot, r); foreseen != match(t, w.snapshot, r) {
					t.Errorf("%s: another counter", r.entries[0].Value)
				}
			}
		})
	}
	t.Run("a deep tree", func(t *testing.T) {
		doc := &Document{Domain: "bench", Pos: Position{File: "bench", Line: 1}}
		for i := range n {
			path := EntryPattern{Key: "path", Value: fmt.Sprintf("/%d", i/2)}
			if i%2 == 1 {
				path.Value += "/*/x"
			}
			doc.Rules = append(doc.Rules, LimitRule{
				Descriptor: []EntryPattern{{Key: "method"}, path},
				Terms:      []Term{{Name: fmt.Sprint(i), Kind: limiter.KindRate, Amount: 1, Every: time.Second}},
			})
		}
		s, problems := Compile([]*Document{doc}, Options{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for i := range n {
			r := &Request{Domain: []byte("bench")}
			r.AddDescriptor()
			r.AddEntry([]byte("method"), []byte("GET"))
			path := fmt.Sprintf("/%d", i/2)
			if i%2 == 1 {
				path += "/y/x"
			}
			r.AddEntry([]byte("path"), []byte(path))
			s.Foresee(r)
			if foreseen := match(t, s, r); foreseen != match(t, s, r) {
				t.Fatalf("%s: another counter", path)
			}
		}
	})
}
