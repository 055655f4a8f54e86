package policy

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

// everything is a policy that uses every index.
const everything = `
domain: shop
limits:
  - {by: [remote_address], rate: 100/s}
  - {when: {plan: [free, trial]}, by: [user], window: 60/min, overrides: [{values: vip, amount: 5}, {values: {cidr: 10.0.0.0/8}, amount: 7}]}
  - {when: {path: {prefix: /api/}, plan: {not: pro}}, rate: 5/s}
  - {when: {path: {glob: "/api/*/b"}}, rate: 6/s}
  - {when: {remote_address: {cidr: [10.0.0.0/8, "2001:db8::/32"]}}, rate: 5/s}
  - {when: {path: {regex: "/a.*"}}, rate: 7/s}
  - {name: replaced, descriptor: [path=/search, user], window: 60/min}
  - {descriptor: ["path=/img/*"], window: 60/min, replaces: [replaced]}
  - {descriptor: [{key: path, value: "/x*y", shared: true}], window: 60/min}
`

// everyRequest matches every rule of everything.
func everyRequest(tb testing.TB) *Request {
	tb.Helper()
	return parseRequest(tb, "shop [remote_address=10.1.2.3,plan=free,user=vip,path=/api/x/b] [path=/search,user=u] [path=/img/a.png] [path=/xzy] [q=r limit=5/min]")
}

func TestAnEmptySnapshotAllowsAndOptionsSayOtherwise(t *testing.T) {
	r, c := &Request{Domain: []byte("nowhere")}, &limiter.Call{}
	if o := new(Snapshot).Match(r, c); o != UnknownDomainAllow {
		t.Errorf("the zero snapshot's outcome is %d", o)
	}
	for _, want := range []Outcome{UnknownDomainAllow, UnknownDomainDeny, UnknownDomainError} {
		s, _ := Compile(nil, Options{OnUnknownDomain: want, Version: 7})
		if o := s.Match(r, c); o != want || s.Version() != 7 {
			t.Errorf("outcome %d, version %d", o, s.Version())
		}
	}
}

func TestLimitsAreListedForTheTable(t *testing.T) {
	s := compiled(t, everything)
	// Nine rules, two overrides, one for the limits that requests carry.
	if n := len(s.Limits()); n != 12 {
		t.Errorf("%d limits", n)
	}
	listed := map[*limiter.Limit]bool{}
	for i, l := range s.Limits() {
		l.Ref = uint32(i + 1)
		listed[l] = true
	}
	r, c := everyRequest(t), &limiter.Call{}
	s.Match(r, c)
	for _, ch := range c.Charges() {
		if !listed[ch.Limit] && ch.Limit.Name != "override" {
			t.Errorf("%s is not listed", ch.Limit.Name)
		}
		if ch.Limit.Ref == 0 {
			t.Errorf("%s has no Ref", ch.Limit.Name)
		}
	}
	if got := s.Domains(); !slices.Equal(got, []string{"shop"}) {
		t.Errorf("domains %v", got)
	}
}

func TestWhatIsReplacedIsRemembered(t *testing.T) {
	s := compiled(t, `
domain: edge
limits:
  - {name: basic, descriptor: [user], window: 1/s}
  - {name: vip, descriptor: [plan=vip], window: 3/s, replaces: [basic]}
  - {name: gold, descriptor: [plan=gold], window: 5/s, replaces: [vip]}
`)
	r := parseRequest(t, "edge [user=u] [plan=vip] [plan=gold]")
	names := func() (kept, replaced []string) {
		var c limiter.Call
		if o := s.Match(r, &c); o != Matched {
			t.Fatal(o)
		}
		for _, ch := range c.Charges() {
			kept = append(kept, ch.Limit.Name)
		}
		for _, x := range r.Replaced() {
			replaced = append(replaced, x.Limit.Name)
			if x.Key == (limiter.Key{}) {
				t.Errorf("%s has no key", x.Limit.Name)
			}
		}
		return kept, replaced
	}
	for range 2 { // the second match says what the first did
		kept, replaced := names()
		if !slices.Equal(kept, []string{"gold"}) || !slices.Equal(replaced, []string{"basic", "vip"}) {
			t.Errorf("kept %v, replaced %v", kept, replaced)
		}
	}
	r.Reset()
	if len(r.Replaced()) > 0 {
		t.Error("Reset leaves something")
	}
}

func TestKeysDependOnTheSecret(t *testing.T) {
	docs, _ := Parse([]Source{{"x", []byte(everything)}})
	a, _ := Compile(docs, Options{Hasher: limiter.NewKeyHasher([16]byte{1})})
	b, _ := Compile(docs, Options{Hasher: limiter.NewKeyHasher([16]byte{2})})
	var ca, cb limiter.Call
	a.Match(everyRequest(t), &ca)
	b.Match(everyRequest(t), &cb)
	for i := range ca.Charges() {
		if ca.Charges()[i].Key == cb.Charges()[i].Key || ca.Charges()[i].Partition != ca.Charges()[i].Key.Partition() {
			t.Errorf("charge %d: key %v", i, ca.Charges()[i].Key)
		}
	}
}

func TestRequestsOfTheLargestSizeMatch(t *testing.T) {
	s := compiled(t, everything)
	r := &Request{Domain: []byte("shop")}
	r.AddDescriptor()
	for i := 0; r.AddEntry([]byte("user"), []byte(strings.Repeat("x", 5000))); i++ {
	}
	if n := len(r.Descriptors()[0].Entries); n != EntriesMax {
		t.Fatalf("%d entries", n)
	}
	for r.AddDescriptor() != nil {
	}
	if o := s.Match(r, &limiter.Call{}); o != Matched {
		t.Error(o)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add([]byte("path\x00/api/x/b\x00remote_address\x0010.1.2.3\x00plan\x00free\x00user\x00vip"))
	f.Add([]byte("path\x00/search\x00user\x00u\x01path\x00/img/a\x01path\x00/xzy"))
	f.Add([]byte("remote_address\x002001:db8::1\x00remote_address\x00::ffff:10.0.0.1"))
	f.Add([]byte("path\x00crowd-7\x00remote_address\x00172.16.9.9\x01user\x00crowd-8/x\x01plan\x00crowd-9."))
	docs, _ := Parse([]Source{{"x", []byte(everything)}})
	more, _ := Parse([]Source{{"x", []byte(everything)}})
	crowd(more[0], "remote_address", "path", "plan", "user")
	var snapshots [2]*Snapshot
	for i, docs := range [][]*Document{docs, more} {
		var problems Problems
		if snapshots[i], problems = Compile(docs, Options{slotsFrom: crowded}); len(problems) > 0 {
			f.Fatal(problems)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<12 {
			return
		}
		r := &Request{Domain: []byte("shop")}
		for _, part := range bytes.Split(text, []byte{1}) {
			if r.AddDescriptor() == nil {
				break
			}
			for words := bytes.Split(part, []byte{0}); len(words) >= 2; words = words[2:] {
				r.AddEntry(words[0], words[1])
			}
		}
		for i, s := range snapshots {
			var c, foreseen limiter.Call
			outcome := s.Match(r, &c)
			s.Foresee(r)
			if o := s.Match(r, &foreseen); o != outcome || !slices.Equal(foreseen.Charges(), c.Charges()) {
				t.Fatalf("foreseen: outcome %d, %v; else %d, %v", o, foreseen.Charges(), outcome, c.Charges())
			}
			want := modelMatch([]*Document{docs[0], more[0]}[i], r)
			replaced := slices.ContainsFunc(want, func(m modelCharge) bool { return strings.HasPrefix(m.counter, "7.") })
			want = slices.DeleteFunc(want, func(m modelCharge) bool { return replaced && strings.HasPrefix(m.counter, "6.") })
			if outcome == Matched && len(c.Charges()) != len(want) {
				t.Fatalf("%d charges, want %v", len(c.Charges()), want)
			}
		}
	})
}

func TestAddressesAreReadAsNetipReadsThem(t *testing.T) {
	check := func(t interface{ Errorf(string, ...any) }, s string) {
		want, err := netip.ParseAddr(s)
		got, ok := parseAddress([]byte(s))
		if ok != (err == nil && want.Zone() == "") || (ok && got != want.Unmap()) {
			t.Errorf("%q is %v, %v; want %v, %v", s, got, ok, want, err)
		}
	}
	for _, s := range []string{
		"", "1.2.3.4", "01.2.3.4", "1.2.3", "1.2.3.4.5", "256.1.1.1", "::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "::1:2:3:4:5:6:7:8",
		"1:2:3:4:5:6:7::", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3.4:5", ":::", "1::2::3", "12345::", "::g", "fe80::1%eth0", ":1", "1:", "::0000:00000",
		"1:2:3:4:5:6:7:8:", "::1.2.3", "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "::ffff:01.2.3.4", "1.2.3.4%a",
	} {
		check(t, s)
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.StringMatching(`([0-9a-f]{0,5}:|::){0,9}([0-9a-f]{0,4}|[0-9]{1,3}(\.[0-9]{1,3}){2,4})`).Draw(t, "address"))
	})
}

func TestGlobsMatchAsRegularExpressionsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab*]{0,8}`).Draw(t, "pattern")
		value := rapid.StringMatching(`[ab]{0,10}`).Draw(t, "value")
		if got, want := glob(pattern).matches([]byte(value)), modelGlob(pattern, value); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, value, got, want)
		}
	})
}
