package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// changeLine writes what a change says in one line.
func changeLine(c *Change) string {
	var fields []string
	for _, f := range c.Fields {
		if c.Kind == ChangeChanged {
			fields = append(fields, fmt.Sprintf("%s: %s → %s", f.Key, f.From, f.To))
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s/%s %s %s %s %s", c.Kind, c.Domain, c.Limit, c.Effect, c.Counters,
		strings.Join(c.Identity, "+"), strings.Join(fields, "; ")))
}

func parsedText(t *testing.T, text string) []*Document {
	t.Helper()
	docs, problems := Parse([]Source{{"a.yaml", []byte(text)}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return docs
}

func TestDiffSaysWhatAChangeDoes(t *testing.T) {
	limits := func(lines ...string) string {
		return "domain: d\nlimits: [" + strings.Join(lines, ", ") + "]\n"
	}
	const a = "{name: a, by: [u], rate: 10/s}"
	for name, c := range map[string]struct {
		was, is string
		want    []string
	}{
		"nothing":                    {limits(a), "# a comment\n" + limits("{by: [u], rate: {amount: 10, every: 1s}, name: a}"), nil},
		"a smaller amount":           {limits(a), limits("{name: a, by: [u], rate: 5/s}"), []string{"changed d/a stricter kept  limit: rate 10/s → rate 5/s"}},
		"a larger amount":            {limits(a), limits("{name: a, by: [u], rate: 15/s}"), []string{"changed d/a looser kept  limit: rate 10/s → rate 15/s"}},
		"a burst of its own":         {limits(a), limits("{name: a, by: [u], rate: 5/s, burst: 50}"), []string{"changed d/a mixed kept  burst:  → 50; limit: rate 10/s → rate 5/s"}},
		"another span, same rate":    {limits(a), limits("{name: a, by: [u], rate: 20/2s}"), []string{"changed d/a looser new span limit: rate 10/s → rate 20/2s"}},
		"another kind":               {limits(a), limits("{name: a, by: [u], window: 10/s}"), []string{"changed d/a different new kind limit: rate 10/s → window 10/s"}},
		"another by":                 {limits(a), limits("{name: a, by: [v], rate: 10/s}"), []string{"changed d/a different new by selector: by u → by v"}},
		"another when":               {limits(a), limits("{name: a, when: {p: x}, by: [u], rate: 10/s}"), []string{"changed d/a different kept  selector: by u → when p: x by u"}},
		"a name for what had none":   {limits("{by: [u], rate: 10/s}"), limits(a), []string{"changed d/a none new name name:  → a"}},
		"shadow":                     {limits(a), limits("{name: a, by: [u], rate: 10/s, shadow: true}"), []string{"changed d/a looser kept  shadow:  → true"}},
		"no more shadow":             {limits("{name: a, by: [u], rate: 10/s, shadow: true}"), limits(a), []string{"changed d/a stricter kept  shadow: true →"}},
		"deny when unavailable":      {limits(a), limits("{name: a, by: [u], rate: 10/s, on_unavailable: deny}"), []string{"changed d/a stricter kept  on_unavailable:  → deny"}},
		"local when unavailable":     {limits("{name: a, by: [u], rate: 10/s, on_unavailable: deny}"), limits("{name: a, by: [u], rate: 10/s, on_unavailable: local}"), []string{"changed d/a looser kept  on_unavailable: deny → local"}},
		"unlimited":                  {limits(a), limits("{name: a, by: [u], unlimited: true}"), []string{"changed d/a looser new kind+span limit: rate 10/s → unlimited true"}},
		"overrides":                  {limits(a), limits("{name: a, by: [u], rate: 10/s, overrides: [{values: x, amount: 5}, {values: y, amount: 6}]}"), []string{"changed d/a different kept  overrides:  → {values: x, amount: 5}, {values: \"y\", amount: 6}"}},
		"labels":                     {limits(a), limits("{name: a, by: [u], rate: 10/s, labels: true}"), []string{"changed d/a none kept  labels:  → true"}},
		"one more":                   {limits(a), limits(a, "{name: b, by: [v], rate: 1/s}"), []string{"added d/b stricter new"}},
		"one more in shadow":         {limits(a), limits(a, "{name: b, by: [v], rate: 1/s, shadow: true}"), []string{"added d/b none new"}},
		"one less":                   {limits(a, "{name: b, by: [v], rate: 1/s}"), limits(a), []string{"removed d/b looser dropped"}},
		"an exemption":               {limits(a), limits(a, "{descriptor: [p=x], exempt: true}"), []string{"added d/descriptor p=x looser"}},
		"an order of no consequence": {limits(a, "{name: b, by: [v], rate: 1/s}"), limits("{name: b, by: [v], rate: 1/s}", a), []string{"changed d/ none   order of limits: one → another"}},
		"an order of wildcards": {
			limits(`{descriptor: ["p=a*"], window: 1/s}`, `{descriptor: ["p=*b"], window: 2/s}`),
			limits(`{descriptor: ["p=*b"], window: 2/s}`, `{descriptor: ["p=a*"], window: 3/s}`),
			[]string{`changed d/p=a* looser kept  limit: window 1/s → window 3/s`, "changed d/ different   order of limits: one → another"},
		},
		"a larger quota":          {limits("{name: a, quota: 10/month}"), limits("{name: a, quota: 20/month}"), []string{"changed d/a looser kept  limit: quota 10/month → quota 20/month"}},
		"a quota in another zone": {limits("{name: a, quota: 10/month}"), limits("{name: a, quota: 10/month, time_zone: Asia/Tokyo}"), []string{"changed d/a different new time_zone time_zone:  → Asia/Tokyo"}},
		"a quota of other times":  {limits("{name: a, quota: 10/month}"), limits("{name: a, quota: 10/month, day: 2, reset_at: 09:00}"), []string{`changed d/a different new reset_at+day day:  → 2; reset_at:  → "09:00"`}},
		"a quota that rolls":      {limits("{name: a, quota: 10/day}"), limits("{name: a, quota: 10/day, rolling: 24}"), []string{"changed d/a different new rolling rolling:  → 24"}},
		"a quota of elapsed days": {limits("{name: a, quota: 10/day}"), limits("{name: a, quota: 10/24h}"), []string{"changed d/a none new span limit: quota 10/day → quota 10/24h"}},
		"a quota for a window":    {limits("{name: a, window: 10/day}"), limits("{name: a, quota: 10/day}"), []string{"changed d/a different new kind limit: window 10/day → quota 10/day"}},
		"marks of a quota":        {limits("{name: a, quota: 10/day}"), limits("{name: a, quota: 10/day, notify: [50%], mode: exact}"), []string{"changed d/a none kept  mode:  → exact; notify:  → [\"50%\"]"}},
		"a post-paid quota":       {limits("{name: a, quota: 10/day}"), limits("{name: a, quota: 10/day, post_paid: true}"), []string{"changed d/a looser kept  post_paid:  → true"}},
		"settings":                {limits(a), "charge: all\npeek: used\n" + limits(a), []string{"changed d/ different   charge:  → all; peek:  → used"}},
		"headers":                 {limits(a), "headers: none\n" + limits(a), []string{"changed d/ different   headers:  → none"}},
		"another domain":          {limits(a), "domain: e\nlimits: []\n", []string{"removed d/ looser", "removed d/a looser dropped", "added e/ stricter"}},
		"several at once":         {"domain: d\nlimits: [{by: [u], limits: [{rate: 1/s}, {window: 9/h}]}]\n", "domain: d\nlimits: [{by: [u], limits: [{rate: 1/s}, {window: 8/h}, {window: 9/day}]}]\n", []string{"changed d/by u window/h stricter kept  limit: window 9/h → window 8/h", "added d/by u window/day stricter new"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, c := range Diff(parsedText(t, c.was), parsedText(t, c.is)) {
				got = append(got, changeLine(&c))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestDiffAgreesWithTheHashAndTheIdentities compares random policies: there is a
// difference iff the hashes differ, and counters are kept iff the new policy still
// has the identity.
func TestDiffAgreesWithTheHashAndTheIdentities(t *testing.T) {
	rule := rapid.Custom(func(t *rapid.T) string {
		by := rapid.SampledFrom([]string{"u", "v", "u, v"}).Draw(t, "by")
		limit := rapid.SampledFrom([]string{"rate: 5/s", "rate: 6/s", "window: 5/s", "window: 5/min", "rate: 5/s, burst: 9", "unlimited: true"}).Draw(t, "limit")
		flags := rapid.SampledFrom([]string{"", ", shadow: true", ", labels: true"}).Draw(t, "flags")
		return "by: [" + by + "], " + limit + flags + "}"
	})
	document := rapid.Custom(func(t *rapid.T) []*Document {
		var rules []string
		for i, r := range rapid.SliceOfN(rule, 0, 4).Draw(t, "rules") {
			rules = append(rules, fmt.Sprintf("{name: n%d, ", (i+rapid.IntRange(0, 1).Draw(t, "shift"))*2)+r)
		}
		docs, problems := Parse([]Source{{"a.yaml", []byte("domain: d\nlimits: [" + strings.Join(rules, ", ") + "]")}})
		if len(problems) > 0 {
			t.Skip()
		}
		return docs
	})
	rapid.Check(t, func(t *rapid.T) {
		was, is := document.Draw(t, "was"), document.Draw(t, "is")
		changes := Diff(was, is)
		if (len(changes) > 0) != (hashDocuments(was) != hashDocuments(is)) {
			t.Fatalf("%d changes between\n%s\n%s", len(changes), Marshal(was[0]), Marshal(is[0]))
		}
		ids := map[string]bool{}
		for _, p := range parts(was[0]) {
			ids[p.name+string(p.id[:])] = true
		}
		for i := range changes {
			if c := &changes[i]; c.Limit != "" && c.Kind != ChangeRemoved {
				var id string
				for _, p := range parts(is[0]) {
					if p.name == c.Limit {
						id = p.name + string(p.id[:])
					}
				}
				if (c.Counters == CountersKept) != ids[id] {
					t.Fatalf("%s: counters %s between\n%s\n%s", c.Limit, c.Counters, Marshal(was[0]), Marshal(is[0]))
				}
			}
		}
		if back := Diff(is, was); (len(back) > 0) != (len(changes) > 0) {
			t.Fatalf("%d changes there, %d back", len(changes), len(back))
		}
	})
}

func TestDiffShowsWhatADomainTakesFromRequests(t *testing.T) {
	was := parsedText(t, "domain: a\n")
	is := parsedText(t, "domain: a\ngubernator: {max_limit: 5, max_duration: 1h}\n")
	changes := Diff(was, is)
	if len(changes) != 1 || len(changes[0].Fields) != 1 || changes[0].Fields[0] != (FieldChange{"gubernator", "", "{max_limit: 5, max_duration: 1h}"}) {
		t.Errorf("got %+v", changes)
	}
}
