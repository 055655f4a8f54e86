package policy

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"github.com/headgate/headgate/limiter"
)

// A ChangeKind says what became of a limit.
type ChangeKind string

// The kinds of changes.
const (
	ChangeAdded   ChangeKind = "added"
	ChangeRemoved ChangeKind = "removed"
	ChangeChanged ChangeKind = "changed"
)

// A CounterFate says what becomes of a limit's counters.
type CounterFate string

// The fates. A kind that keeps its counters on disk may add others.
const (
	CountersKept    CounterFate = "kept"    // the identity is the same: what was used stays used
	CountersNew     CounterFate = "new"     // every counter begins afresh
	CountersDropped CounterFate = "dropped" // they are not used any more
)

// An Effect says how a change acts on requests.
type Effect string

// The effects. EffectDifferent is what can't be compared, such as another
// selector.
const (
	EffectStricter  Effect = "stricter"
	EffectLooser    Effect = "looser"
	EffectMixed     Effect = "mixed" // stricter in one way, looser in another
	EffectNone      Effect = "none"  // nothing that is enforced
	EffectDifferent Effect = "different"
)

// A Change is one difference between two policies.
type Change struct {
	Domain   string
	Limit    string // its name; empty: the domain itself
	Selector string // whom the limit is for, in the new policy if it has it
	Kind     ChangeKind
	Effect   Effect
	Counters CounterFate   // empty for a domain's settings and for exemptions
	Identity []string      // what makes the counters new, of a changed limit
	Fields   []FieldChange // of what is changed; of an added or removed limit, what it says
	Old, New Position      // zero where there is none
}

// A FieldChange is a key whose value differs. From or To is empty where the key is
// absent.
type FieldChange struct{ Key, From, To string }

// Diff returns what differs between two policies, each free of problems: none if
// and only if they have the same hash. It is ordered by domain, and in each as the
// new policy is, then what is gone.
func Diff(before, after []*Document) []Change {
	byDomain := func(docs []*Document) map[string]*Document {
		m := make(map[string]*Document, len(docs))
		for _, d := range docs {
			m[d.Domain] = d
		}
		return m
	}
	was, is := byDomain(before), byDomain(after)
	names := slices.Collect(maps.Keys(was))
	for name := range is {
		if was[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var changes []Change
	for _, name := range names {
		changes = append(changes, diffDomain(name, was[name], is[name])...)
	}
	return changes
}

// diffDomain compares the documents of one domain; nil is none.
func diffDomain(name string, was, is *Document) []Change {
	if was != nil && is != nil && hashDocuments([]*Document{was}) == hashDocuments([]*Document{is}) {
		return nil
	}
	var changes []Change
	switch {
	case was == nil:
		changes = append(changes, Change{Domain: name, Kind: ChangeAdded, Effect: EffectStricter, New: is.Pos})
		was = &Document{Domain: name}
	case is == nil:
		changes = append(changes, Change{Domain: name, Kind: ChangeRemoved, Effect: EffectLooser, Old: was.Pos})
		is = &Document{Domain: name}
	default:
		if fields := changedFields(documentFields(was), documentFields(is)); len(fields) > 0 {
			changes = append(changes, Change{Domain: name, Kind: ChangeChanged, Effect: EffectDifferent, Fields: fields, Old: was.Pos, New: is.Pos})
		}
	}
	old, now := parts(was), parts(is)
	changes = append(changes, diffLimits(old, now)...)
	moved := wildcardsMoved(old, now)
	if !moved && len(changes) > 0 {
		return changes
	}
	order := Change{
		Domain: name, Kind: ChangeChanged, Effect: EffectNone, Old: was.Pos, New: is.Pos,
		Fields: []FieldChange{{Key: "order of limits", From: "one", To: "another"}},
	}
	if moved {
		order.Effect = EffectDifferent
	}
	return append(changes, order) // without moved the hash differs for the order alone
}

// wildcardsMoved reports whether the entries with wildcards that both documents
// have are in another order: the first that matches is taken.
func wildcardsMoved(was, is []*part) bool {
	wild := func(ps []*part) (ids []limiter.LimitID) {
		for _, p := range ps {
			if slices.ContainsFunc(p.rule.Descriptor, func(e EntryPattern) bool { return strings.Contains(e.Key+e.Value, "*") }) {
				ids = append(ids, p.id)
			}
		}
		return ids
	}
	before, after := wild(was), wild(is)
	in := func(ids []limiter.LimitID) map[limiter.LimitID]bool {
		m := make(map[limiter.LimitID]bool, len(ids))
		for _, id := range ids {
			m[id] = true
		}
		return m
	}
	inBefore, inAfter := in(before), in(after)
	return !slices.Equal(
		slices.DeleteFunc(before, func(id limiter.LimitID) bool { return !inAfter[id] }),
		slices.DeleteFunc(after, func(id limiter.LimitID) bool { return !inBefore[id] }))
}

// documentFields are what a document says beside its rules.
func documentFields(d *Document) map[string]string {
	head := *d
	head.Rules, head.Comment = nil, ""
	return fieldsOf(strings.Split(string(Marshal(&head)), "\n"))
}

// A part is a limit or an exemption of a document.
type part struct {
	id       limiter.LimitID
	name     string // made of the selector if the author gave none
	own      string // the author's
	selector string
	domain   string
	rule     *LimitRule
	term     *Term // nil: an exemption
	pos      Position
	fields   map[string]string
	paired   bool
}

// parts returns the limits and exemptions of a document in order.
func parts(d *Document) []*part {
	var ps []*part
	for i := range d.Rules {
		rule := &d.Rules[i]
		selector := selectorText(rule)
		if rule.Exempt {
			id := limitID(d.Domain, rule, &Term{})
			ps = append(ps, &part{id: id, name: selector, selector: selector, domain: d.Domain, rule: rule, pos: rule.Pos, fields: map[string]string{"exempt": "true"}})
			continue
		}
		for j := range rule.Terms {
			t := &rule.Terms[j]
			ps = append(ps, &part{
				id: limitID(d.Domain, rule, t), name: termName(rule, t, selector), own: t.Name, selector: selector,
				domain: d.Domain, rule: rule, term: t, pos: t.Pos, fields: termFields(rule, t, selector),
			})
		}
	}
	return ps
}

// termFields are what a limit says, by key, as Marshal writes it: a key that is
// new to policies is compared, too. The amount is under "limit", with its kind.
func termFields(rule *LimitRule, t *Term, selector string) map[string]string {
	fields := fieldsOf(termLines(t))
	for _, kind := range []string{t.Kind.String(), "unlimited"} {
		if v, ok := fields[kind]; ok {
			fields["limit"] = kind + " " + v
			delete(fields, kind)
		}
	}
	fields["selector"] = selector
	if rule.Labels {
		fields["labels"] = "true"
	}
	return fields
}

// fieldsOf takes lines of a mapping apart; the items of a list are joined.
func fieldsOf(lines []string) map[string]string {
	fields := map[string]string{}
	last := ""
	for _, line := range lines {
		if item, ok := strings.CutPrefix(line, "  - "); ok {
			fields[last] = strings.TrimPrefix(fields[last]+", "+item, ", ")
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if ok {
			last = key
			fields[key] = strings.TrimSpace(value)
		}
	}
	return fields
}

// changedFields returns the keys whose values differ, in their order.
func changedFields(was, is map[string]string) []FieldChange {
	var changes []FieldChange
	for key, from := range was {
		if to := is[key]; to != from {
			changes = append(changes, FieldChange{key, from, to})
		}
	}
	for key, to := range is {
		if _, had := was[key]; !had {
			changes = append(changes, FieldChange{key, "", to})
		}
	}
	slices.SortFunc(changes, func(a, b FieldChange) int { return cmp.Compare(a.Key, b.Key) })
	return changes
}

// diffLimits pairs limits: by identity, then by the author's name, then by the
// selector. What is left was added or removed.
func diffLimits(was, is []*part) []Change {
	pairs := make(map[*part]*part, len(is)) // new to old
	pair := func(key func(*part) string) {
		free := map[string]*part{}
		for _, p := range slices.Backward(was) {
			if k := key(p); !p.paired && k != "" {
				free[k] = p
			}
		}
		for _, p := range is {
			k := key(p)
			if old := free[k]; !p.paired && k != "" && old != nil {
				pairs[p], p.paired, old.paired = old, true, true
				delete(free, k)
			}
		}
	}
	exempt := func(p *part) string {
		if p.term == nil {
			return "exempt "
		}
		return "limit "
	}
	pair(func(p *part) string { return exempt(p) + string(p.id[:]) })
	pair(func(p *part) string { return p.own })
	pair(func(p *part) string {
		if p.term == nil {
			return ""
		}
		return p.selector
	})
	var changes []Change
	for _, p := range is {
		old := pairs[p]
		if old == nil {
			changes = append(changes, single(p, ChangeAdded))
		} else if c, differs := changedLimit(old, p); differs {
			changes = append(changes, c)
		}
	}
	for _, p := range was {
		if !p.paired {
			changes = append(changes, single(p, ChangeRemoved))
		}
	}
	return changes
}

// single returns the change of a limit that only one of the policies has.
func single(p *part, kind ChangeKind) Change {
	c := Change{Domain: p.domain, Limit: p.name, Selector: p.selector, Kind: kind}
	toward, away := EffectStricter, EffectLooser
	c.Counters = CountersNew
	if kind == ChangeRemoved {
		toward, away, c.Counters = away, toward, CountersDropped
		c.Old, c.Fields = p.pos, changedFields(p.fields, nil)
	} else {
		c.New, c.Fields = p.pos, changedFields(nil, p.fields)
	}
	switch {
	case p.term == nil:
		c.Effect, c.Counters = away, ""
	case p.term.Shadow || p.term.Kind == limiter.KindUnlimited:
		c.Effect = EffectNone
	case p.term.AnyOf:
		c.Effect = EffectDifferent
	default:
		c.Effect = toward
	}
	if len(p.fields["replaces"]) > 0 {
		c.Effect = EffectDifferent
	}
	return c
}

// changedLimit compares a limit with what it was.
func changedLimit(was, is *part) (c Change, differs bool) {
	c = Change{
		Domain: is.domain, Limit: is.name, Selector: is.selector, Kind: ChangeChanged, Counters: CountersKept,
		Fields: changedFields(was.fields, is.fields), Old: was.pos, New: is.pos,
	}
	if was.term == nil || is.term == nil {
		c.Counters = ""
	} else if was.id != is.id {
		c.Counters, c.Identity = CountersNew, identityChanges(was, is)
	}
	if len(c.Fields) == 0 && c.Counters != CountersNew {
		return c, false
	}
	c.Effect = effectOf(was, is, c.Fields)
	return c, true
}

// identityChanges names what of the identity differs: see limitID.
func identityChanges(was, is *part) []string {
	var what []string
	add := func(name string, differs bool) {
		if differs {
			what = append(what, name)
		}
	}
	add("kind", was.term.Kind != is.term.Kind)
	add("span", was.term.Every != is.term.Every || spanText(was.term) != spanText(is.term))
	if was.term.Quota != nil && is.term.Quota != nil {
		scheduleChanges(was.term.Quota.Schedule, is.term.Quota.Schedule, add)
	}
	add("unit", was.term.Unit != is.term.Unit)
	add("by", !slices.Equal(slices.Sorted(slices.Values(was.rule.By)), slices.Sorted(slices.Values(is.rule.By))))
	add("descriptor", !slices.Equal(was.rule.Descriptor, is.rule.Descriptor))
	add("name", was.own != is.own)
	if len(what) == 0 {
		add("selector", true)
	}
	return what
}

// effectOf merges what each changed key does.
func effectOf(was, is *part, fields []FieldChange) Effect {
	if was.term == nil || is.term == nil {
		return EffectDifferent
	}
	stricter, looser := false, false
	for _, f := range fields {
		up, down, ok := fieldEffect(was.term, is.term, f)
		if !ok {
			return EffectDifferent
		}
		stricter, looser = stricter || down, looser || up
	}
	switch {
	case was.term.Shadow && is.term.Shadow, !stricter && !looser:
		return EffectNone
	case stricter && looser:
		return EffectMixed
	case stricter:
		return EffectStricter
	default:
		return EffectLooser
	}
}

// fieldEffect reports whether more or less passes for the change of one key; ok
// is false if that can't be said.
func fieldEffect(was, is *Term, f FieldChange) (up, down, ok bool) {
	d := 0 // > 0: stricter
	switch f.Key {
	case "limit", "burst":
		return compareAmounts(was, is)
	case "shadow", "any_of", "post_paid":
		d = cmp.Compare(f.From, f.To) // "" < "true": one that is set is looser
	case "count_denied":
		d = cmp.Compare(isTrue(f.To), isTrue(f.From))
	case "on_unavailable":
		d = cmp.Compare(unavailableRank(is.OnUnavailable), unavailableRank(was.OnUnavailable))
	case "name", "labels", "mode", "notify":
	default:
		return false, false, false
	}
	return d < 0, d > 0, true
}

func isTrue(s string) int {
	if s == "true" {
		return 1
	}
	return 0
}

// unavailableRank orders the choices of on_unavailable by how much they deny.
func unavailableRank(o limiter.OnUnavailable) int {
	switch o {
	case limiter.UnavailableDeny:
		return 2
	case limiter.UnavailableLocal:
		return 1
	default:
		return 0
	}
}

// compareAmounts reports whether more or less passes than before, at once or in
// the long run; both may be. Limits without a span are compared by their amounts.
// Kinds can't be compared, except with unlimited.
func compareAmounts(was, is *Term) (up, down, ok bool) {
	if was.Kind == limiter.KindUnlimited || is.Kind == limiter.KindUnlimited {
		return is.Kind == limiter.KindUnlimited, was.Kind == limiter.KindUnlimited, true
	}
	if was.Kind != is.Kind {
		return false, false, false
	}
	compare := func(a, b int) { up, down = up || a < b, down || a > b }
	compare(0, cmp.Compare(cmp.Or(is.Burst, is.Amount), cmp.Or(was.Burst, was.Amount)))
	if was.Every != 0 {
		compare(0, compareProducts(is.Amount, uint64(was.Every), was.Amount, uint64(is.Every)))
	}
	return up, down, true
}

// compareProducts compares a×b with c×d.
func compareProducts(a, b, c, d uint64) int {
	hi1, lo1 := bits.Mul64(a, b)
	hi2, lo2 := bits.Mul64(c, d)
	return cmp.Or(cmp.Compare(hi1, hi2), cmp.Compare(lo1, lo2))
}
