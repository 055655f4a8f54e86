package policy

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

// A modelCharge is what the dumb matcher says of one charge: which counter in
// words, and what it is charged.
type modelCharge struct {
	counter   string
	amount    uint64
	unlimited bool
	op        limiter.Op
	cost      uint64
	mask      uint32
}

// modelMatch matches a request against a document by trying everything.
func modelMatch(doc *Document, r *Request) []modelCharge {
	var owed []modelCharge
	for d, desc := range r.Descriptors() {
		for i := range doc.Rules {
			rule := &doc.Rules[i]
			if len(rule.Descriptor) > 0 {
				continue
			}
			values, ok := modelSelects(rule, desc.Entries)
			if !ok {
				continue
			}
			last := ""
			if len(rule.By) > 0 {
				last = modelValue(desc.Entries, rule.By[len(rule.By)-1])
			}
			for j := range rule.Terms {
				owed = modelMerge(owed, modelTerm(rule, i, j, values, last, desc, 1<<d))
			}
		}
		if i, texts := modelWalk(doc, desc.Entries); i >= 0 {
			last := string(desc.Entries[len(desc.Entries)-1].Value)
			for j := range doc.Rules[i].Terms {
				owed = append(owed, modelTerm(&doc.Rules[i], i, j, texts, last, desc, 1<<d))
			}
		}
	}
	return owed
}

func modelTerm(rule *LimitRule, i, j int, values []string, last string, desc Descriptor, mask uint32) modelCharge {
	t := &rule.Terms[j]
	c := modelCharge{fmt.Sprintf("%d.%d %q", i, j, values), t.Amount, t.Kind == limiter.KindUnlimited, desc.Op, desc.Cost, mask}
	best, bestRank := -1, 0
	for k := range t.Overrides {
		if rank := modelRank(&t.Overrides[k].Values, last); rank > bestRank {
			best, bestRank = k, rank
		}
	}
	if best >= 0 {
		c.amount, c.unlimited = t.Overrides[best].Amount, t.Overrides[best].Unlimited
	}
	return c
}

// modelRank is how specific an override is for a value; 0: not at all.
func modelRank(m *Matcher, value string) int {
	rank := 0
	for _, v := range m.Values {
		one := Matcher{Kind: m.Kind, Values: []string{v}}
		if !modelMatches(&one, value) {
			continue
		}
		switch {
		case m.Kind == MatchExact:
			rank = 100_000
		case m.Kind == MatchCIDR:
			rank = max(rank, 50_000+netip.MustParsePrefix(v).Bits())
		case m.Kind == MatchPrefix:
			rank = max(rank, 10_000+10*len(v))
		case strings.Count(v, "*") == 1 && strings.HasSuffix(v, "*"):
			rank = max(rank, 10_000+10*(len(v)-1))
		default:
			rank = max(rank, 1)
		}
	}
	return rank
}

func modelMerge(owed []modelCharge, c modelCharge) []modelCharge {
	for i := range owed {
		if owed[i].counter == c.counter && owed[i].op == c.op {
			owed[i].cost = max(owed[i].cost, c.cost)
			owed[i].mask |= c.mask
			return owed
		}
	}
	return append(owed, c)
}

func modelHas(entries []Entry, attr string) bool {
	return slices.ContainsFunc(entries, func(e Entry) bool { return string(e.Key) == attr })
}

func modelValue(entries []Entry, attr string) string {
	for _, e := range entries {
		if string(e.Key) == attr {
			return string(e.Value)
		}
	}
	return ""
}

func modelSelects(rule *LimitRule, entries []Entry) ([]string, bool) {
	for _, c := range rule.When {
		holds := modelHas(entries, c.Attr) && modelMatches(&c.Matcher, modelValue(entries, c.Attr))
		if holds == c.Matcher.Not {
			return nil, false
		}
	}
	by := slices.Clone(rule.By)
	slices.Sort(by)
	var values []string
	for _, attr := range by {
		if !modelHas(entries, attr) {
			return nil, false
		}
		values = append(values, modelValue(entries, attr))
	}
	return values, true
}

func modelMatches(m *Matcher, value string) bool {
	if m.Kind == MatchAny {
		return true
	}
	return slices.ContainsFunc(m.Values, func(v string) bool {
		switch m.Kind {
		case MatchPrefix:
			return strings.HasPrefix(value, v)
		case MatchGlob:
			return modelGlob(v, value)
		case MatchCIDR:
			addr, err := netip.ParseAddr(value)
			return err == nil && addr.Zone() == "" && netip.MustParsePrefix(v).Contains(addr.Unmap())
		case MatchRegex:
			return regexp.MustCompile(`^(?s:(?:` + v + `))$`).MatchString(value)
		default:
			return v == value
		}
	})
}

func modelGlob(pattern, value string) bool {
	parts := strings.Split(pattern, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`\A(?s:` + strings.Join(parts, ".*") + `)\z`).MatchString(value)
}

// A modelNode is a node of Envoy's tree as the service has it.
type modelNode struct {
	children  map[string]*modelNode
	wildcards []string // of the children, in order
	shared    bool
	rule      int // −1: none ends here
}

func modelTree(doc *Document) *modelNode {
	newNode := func() *modelNode { return &modelNode{children: map[string]*modelNode{}, rule: -1} }
	root := newNode()
	for i := range doc.Rules {
		at := root
		for _, e := range doc.Rules[i].Descriptor {
			text := e.Key
			if e.Value != "" {
				text += "_" + e.Value
			}
			if at.children[text] == nil {
				at.children[text] = newNode()
				at.children[text].shared = e.Shared
				if strings.Contains(text, "*") {
					at.wildcards = append(at.wildcards, text)
				}
			}
			at = at.children[text]
		}
		if at != root {
			at.rule = i
		}
	}
	return root
}

// modelWalk is GetLimit of the service: the rule that a descriptor reaches, or
// −1, and what its counter's name has of each entry.
func modelWalk(doc *Document, entries []Entry) (rule int, texts []string) {
	at := modelTree(doc)
	for i, e := range entries {
		text := string(e.Key) + "_" + string(e.Value)
		named := text
		next := at.children[text]
		if next == nil {
			for _, w := range at.wildcards {
				if modelGlob(w, text) {
					next = at.children[w]
					if next.shared {
						named = string(e.Key) + "_" + strings.TrimPrefix(w, string(e.Key)+"_")
					}
					break
				}
			}
		}
		if next == nil {
			next = at.children[string(e.Key)]
		}
		if next == nil {
			return -1, nil
		}
		texts = append(texts, named)
		if i == len(entries)-1 {
			return next.rule, texts
		}
		if len(next.children) == 0 {
			return -1, nil
		}
		at = next
	}
	return -1, nil
}

// withoutClashes parses a random document and drops rules until it is fine.
func withoutClashes(t *rapid.T, doc *Document) *Document {
	for {
		docs, problems := Parse([]Source{{"random.yaml", Marshal(doc)}})
		if len(problems) == 0 {
			return docs[0]
		}
		var i int
		if _, err := fmt.Sscanf(problems[0].Path, "limits[%d]", &i); err != nil {
			t.Fatalf("can't repair %v", problems[0])
		}
		doc.Rules = slices.Delete(doc.Rules, i, i+1)
	}
}

func randomRequest(t *rapid.T, domain string, text *rapid.Generator[string]) *Request {
	r := &Request{Domain: []byte(domain)}
	for range rapid.IntRange(1, 3).Draw(t, "descriptors") {
		d := r.AddDescriptor()
		d.Op = limiter.Op(rapid.IntRange(0, 2).Draw(t, "op"))
		d.Cost = rapid.Uint64Range(1, 5).Draw(t, "cost")
		for range rapid.IntRange(0, 4).Draw(t, "entries") {
			r.AddEntry([]byte(text.Draw(t, "key")), []byte(text.Draw(t, "value")))
		}
	}
	return r
}

// crowded is from how many texts on tables have slots in tests.
const crowded = 64

// crowd adds plain rules to doc, so many that the tables of the attributes, of which
// there is an address, and that of the tree have slots.
func crowd(doc *Document, address string, attrs ...string) {
	add := func(i int, rule LimitRule) {
		rule.Terms = []Term{{Kind: limiter.KindRate, Amount: uint64(i + 1), Every: time.Second}}
		doc.Rules = append(doc.Rules, rule)
	}
	for i := range crowded + 40 {
		text := fmt.Sprintf("crowd-%d", i)
		for _, attr := range attrs {
			add(i, LimitRule{When: []Condition{{attr, Matcher{Values: []string{text, text + "."}}}}})
			add(i, LimitRule{When: []Condition{{attr, Matcher{Kind: MatchPrefix, Values: []string{text + "/"}}}}})
		}
		add(i, LimitRule{When: []Condition{{address, Matcher{Kind: MatchCIDR, Values: []string{fmt.Sprintf("172.16.%d.0/24", i)}}}}})
		add(i, LimitRule{Descriptor: []EntryPattern{{Key: attrs[0], Value: text}}})
	}
}

func TestTheIndexesAgreeWithTryingEveryRule(t *testing.T) {
	texts := rapid.SampledFrom([]string{
		"a", "b", "c", "ab", "abc", "a_b", "b_c", "a_b_c", "a_", "a*", "10.1.2.3", "10.1.9.9", "10.9.9.9",
		"::ffff:10.1.2.3", "2001:db8::1", "2001:db8:1::1", "fe80::1%eth0", "a\nb", "crowd-7/x", "172.16.5.5",
	})
	inPolicy := texts.Filter(func(s string) bool { return s != "a*" && s != "crowd-7/x" })
	rapid.Check(t, func(t *rapid.T) {
		doc := withoutClashes(t, randomDocument(t, inPolicy))
		if rapid.IntRange(0, 3).Draw(t, "crowded") == 0 {
			crowd(doc, "b", "a", "ab")
		}
		s, problems := Compile([]*Document{doc}, Options{slotsFrom: crowded})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		keys, counters := map[string]limiter.Key{}, map[limiter.Key]string{}
		for range rapid.IntRange(1, 8).Draw(t, "requests") {
			r := randomRequest(t, doc.Domain, texts)
			want := modelMatch(doc, r)
			var c limiter.Call
			if rapid.Bool().Draw(t, "foreseen") {
				s.Foresee(r)
				s.Foresee(r)
			}
			outcome := s.Match(r, &c)
			if len(want) > limiter.ChargesMax {
				if outcome != TooManyCharges {
					t.Fatalf("outcome %d for %d charges", outcome, len(want))
				}
				continue
			}
			got := c.Charges()
			if outcome != Matched || len(got) != len(want) || c.Mode != doc.Charge {
				t.Fatalf("outcome %d, %d charges, want %d: %v\n%s", outcome, len(got), len(want), want, Marshal(doc))
			}
			for i := range got {
				compareCharge(t, doc, s, &got[i], want, keys, counters)
			}
		}
	})
}

// compareCharge finds the model's charge for ch, and checks that keys and
// counters in words go together.
func compareCharge(t *rapid.T, doc *Document, s *Snapshot, ch *limiter.Charge, want []modelCharge, keys map[string]limiter.Key, counters map[limiter.Key]string) {
	path := s.Rule(ch.Limit).Path
	var i, j int
	if n, _ := fmt.Sscanf(path, "limits[%d].limits[%d]", &i, &j); n == 0 {
		t.Fatalf("path %q", path)
	}
	for _, m := range want {
		if !strings.HasPrefix(m.counter, fmt.Sprintf("%d.%d ", i, j)) || m.mask != ch.Descriptors || m.op != ch.Op {
			continue
		}
		unlimited := ch.Limit.Kind == limiter.KindUnlimited
		if m.cost != ch.Cost || m.unlimited != unlimited || (!unlimited && m.amount != ch.Limit.Amount) {
			continue
		}
		if key, ok := keys[m.counter]; ok && key != ch.Key {
			t.Fatalf("counter %s has two keys\n%s", m.counter, Marshal(doc))
		}
		if counter, ok := counters[ch.Key]; ok && counter != m.counter {
			t.Fatalf("counters %s and %s have one key\n%s", counter, m.counter, Marshal(doc))
		}
		keys[m.counter], counters[ch.Key] = ch.Key, m.counter
		return
	}
	t.Fatalf("charge of %s, descriptors %b, cost %d, amount %d is not among %v\n%s", path, ch.Descriptors, ch.Cost, ch.Limit.Amount, want, Marshal(doc))
}
