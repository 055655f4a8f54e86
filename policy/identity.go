package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"
	"strings"

	"github.com/headgate/headgate/limiter"
)

// A digest hashes fields so that no two lists of fields have the same bytes.
type digest struct{ hash.Hash }

// newDigest starts a digest for one purpose: other purposes never collide.
func newDigest(purpose string) digest {
	d := digest{sha256.New()}
	d.text("headgate/1 " + purpose)
	return d
}

func (d digest) text(s string) {
	d.number(uint64(len(s)))
	d.Write([]byte(s))
}

func (d digest) texts(list []string) {
	d.number(uint64(len(list)))
	for _, s := range list {
		d.text(s)
	}
}

func (d digest) number(n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	d.Write(b[:])
}

func (d digest) flag(b bool) {
	if b {
		d.number(1)
	} else {
		d.number(0)
	}
}

// limitID returns the identity of a rule's term. The amount is not part of it,
// nor is the order of attributes.
//
// A rule with a descriptor is identified by its entries, as Envoy's counters
// are, and by its name if it has one; any other by its name, or by its selector
// if it has none.
func limitID(domain string, rule *LimitRule, t *Term) limiter.LimitID {
	d := newDigest("limit")
	d.text(domain)
	switch {
	case len(rule.Descriptor) > 0:
		d.text("descriptor")
		d.number(uint64(len(rule.Descriptor)))
		for _, e := range rule.Descriptor {
			d.text(e.Key)
			d.text(e.Value)
			d.flag(e.Shared)
		}
		d.text(t.Name)
	case t.Name != "":
		d.text("name")
		d.text(t.Name)
	default:
		d.text("when")
		d.number(uint64(len(rule.When)))
		for _, c := range sortedConditions(rule.When) {
			d.text(c.Attr)
			d.number(uint64(c.Matcher.Kind))
			d.flag(c.Matcher.Not)
			d.texts(slices.Sorted(slices.Values(c.Matcher.Values)))
		}
	}
	d.texts(slices.Sorted(slices.Values(rule.By)))
	d.number(uint64(t.Kind))
	if t.Kind != limiter.KindConcurrency { // what is held stays held under another lifetime
		d.number(uint64(t.Every))
	}
	if t.Quota != nil {
		d.quota(t.Quota.Schedule)
	}
	if t.Unit != "" { // tokens are not requests
		d.text("unit")
		d.text(t.Unit)
	}
	return limiter.LimitID(d.Sum(nil)[:16])
}

// overrideID is the identity of the limits that requests to a domain carry.
func overrideID(domain string) limiter.LimitID {
	d := newDigest("override")
	d.text(domain)
	return limiter.LimitID(d.Sum(nil)[:16])
}

// carriedID is the identity of the limits that Gubernator's clients carry.
func carriedID(domain string) limiter.LimitID {
	d := newDigest("carried")
	d.text(domain)
	return limiter.LimitID(d.Sum(nil)[:16])
}

// defHash returns the hash of a whole definition.
func defHash(s *limiter.Spec) limiter.DefHash {
	d := newDigest("definition")
	d.Write(s.ID[:])
	d.text(s.Name)
	d.number(uint64(s.Kind))
	d.number(s.Amount)
	d.number(uint64(s.Period))
	d.number(s.Burst)
	d.flag(s.Shadow)
	d.flag(s.AnyOf)
	d.flag(s.CountDenied)
	d.flag(s.PeekUsed)
	d.number(uint64(s.OnUnavailable))
	if s.MaxWait != 0 { // so that the others' hashes are what they were before there was a pace
		d.number(uint64(s.MaxWait))
	}
	if c := s.Costing; c != nil {
		d.text("costing")
		d.text(c.Unit)
		d.number(c.EstimateMax)
	}
	if q := s.Quota; q != nil {
		d.quota(q.Schedule)
		d.flag(q.Exact)
		d.flag(q.PostPaid)
		d.number(q.MaxDebt)
		d.Write(q.Notify[:])
	}
	return limiter.DefHash(binary.BigEndian.Uint64(d.Sum(nil)))
}

func sortedConditions(when []Condition) []Condition {
	return slices.SortedFunc(slices.Values(when), func(a, b Condition) int { return strings.Compare(a.Attr, b.Attr) })
}

// selectorText describes whom a rule is for, in one line, for people.
func selectorText(rule *LimitRule) string {
	if len(rule.Descriptor) > 0 {
		entries := make([]string, len(rule.Descriptor))
		for i, e := range rule.Descriptor {
			entries[i] = formatEntry(e)
		}
		return "descriptor " + strings.Join(entries, ", ")
	}
	var parts []string
	if len(rule.When) > 0 {
		pairs := make([]string, len(rule.When))
		for i, c := range sortedConditions(rule.When) {
			pairs[i] = quote(c.Attr) + ": " + formatMatcher(c.Matcher)
		}
		parts = append(parts, "when "+strings.Join(pairs, ", "))
	}
	if len(rule.By) > 0 {
		parts = append(parts, "by "+strings.Join(slices.Sorted(slices.Values(rule.By)), ", "))
	}
	if len(parts) == 0 {
		return "every descriptor"
	}
	return strings.Join(parts, " ")
}

// termName returns a term's own name or one made from its rule's selector: as
// short as tells it apart, in the characters and the length that a name may
// have.
func termName(rule *LimitRule, t *Term, selector string) string {
	if t.Name != "" {
		return t.Name
	}
	name := strings.TrimPrefix(selector, "descriptor ")
	if len(rule.Terms) > 1 {
		name += " " + t.Kind.String() + "/" + spanText(t)
	}
	name = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, name)
	if len(name) > NameBytesMax {
		d := newDigest("name")
		d.text(name)
		const tail = 8
		return name[:NameBytesMax-tail-1] + "~" + hex.EncodeToString(d.Sum(nil)[:tail/2])
	}
	return name
}

func spanText(t *Term) string {
	switch {
	case t.Quota != nil:
		return formatPeriod(&t.Quota.Schedule)
	case t.Every == 0:
		return "-"
	default:
		return formatEvery(t.Every)
	}
}
