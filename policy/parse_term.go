package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/headgate/headgate/limiter"
)

// wantKind is what a limit must say.
const wantKind = "one of rate, window, sliding_window, concurrency, pace, quota, unlimited: true"

// termKeys are the keys of one limit.
func termKeys() keys[*termReader] {
	return append(keys[*termReader]{
		{
			"name", "1 to 128 printable ASCII characters, distinct in the domain except among rules with descriptor. With kind, span and by it is the limit's identity: counters survive other changes.", formName,
			func(t *termReader, f *field) { t.term.Name = t.name(&f.node) },
		},
		{
			"rate", "A token bucket: so many per span, and up to burst at once.", formLimit,
			func(t *termReader, f *field) { t.limit(f, limiter.KindRate) },
		},
		{
			"window", "A counter for each window, aligned to the Unix epoch. 0 bans.", formLimit,
			func(t *termReader, f *field) { t.limit(f, limiter.KindFixed) },
		},
		{
			"sliding_window", "A weighted counter over two windows. 0 bans.", formLimit,
			func(t *termReader, f *field) { t.limit(f, limiter.KindSliding) },
		},
		{
			"concurrency", "So many units may be held at once: acquired, and released again. 0 admits nobody.", func() schema { return formNumber(0) },
			(*termReader).concurrency,
		},
		{
			"pace", "A schedule: callers are told how long to wait, so that they leave at this speed, one by one.", formLimit,
			func(t *termReader, f *field) { t.limit(f, limiter.KindPace) },
		},
		{
			"quota", "A durable counter for each hour, day, week, month, quarter or year of a calendar, or span. 0 bans.", formLimit,
			(*termReader).readQuota,
		},
		{"unlimited", "Always allowed, and says so in the answer.", formFlag, (*termReader).unlimited},
		{
			"burst", "Of a rate: how much fits at once. Default: the amount.", func() schema { return formNumber(1) },
			func(t *termReader, f *field) { t.term.Burst, t.burst = t.positive(&f.node) },
		},
		{
			"lifetime", "Of a concurrency: how long a slot is held that nobody renews or releases. Default: 60s.", formSpan,
			(*termReader).readLifetime,
		},
		{
			"max_wait", "Of a pace: how long a caller waits at most, 1ms to 24h; who would wait longer is denied. Default: 1s.", formSpan,
			func(t *termReader, f *field) {
				if span, ok := t.readSpan(&f.node); ok {
					t.maxWait, t.term.MaxWait = &f.node, span
				}
			},
		},
		flagKey("shadow", "Evaluated and reported, not enforced.", func(t *termReader, b bool) { t.term.Shadow = b }),
		flagKey("any_of", "The request is denied only if all its any_of limits deny (Envoy's quota_mode).", func(t *termReader, b bool) { t.term.AnyOf = b }),
		{
			"count_denied", "Whether a denied charge still uses what it can. Only with charge: all. Default: the document's; never for a pace.", formFlag,
			(*termReader).countDenied,
		},
		{
			"on_unavailable", "What is decided when the counter can't be reached. Default: allow; of a quota always deny.",
			func() schema { return formWords(onUnavailableWords()) }, func(t *termReader, f *field) {
				t.unavailable = f
				t.term.OnUnavailable = limiter.OnUnavailable(max(0, t.choice(&f.node, onUnavailableWords()...)))
			},
		},
		{
			"replaces", "Names of limits that do not count for a request which this limit is matched by.",
			func() schema { return formList(formName(), limiter.ChargesMax) },
			func(t *termReader, f *field) { t.term.Replaces = t.replaces(&f.node) },
		},
		{
			"overrides", "Other amounts for named values of the last attribute of by, or the last entry of descriptor.",
			func() schema { return formList(formRef(defOverride), ValuesMax) },
			func(t *termReader, f *field) { t.overrides = f },
		},
	}, slices.Concat(costKeys(), quotaKeys())...)
}

// A termReader collects what the fields of one limit say together.
type termReader struct {
	*reader
	term     Term
	kinds    []*field // rate, window, sliding_window, concurrency, quota, unlimited: true
	unknowns int      // keys that no limit has
	known    []string // the keys that may be there

	amount, every, burst, maxWait *node  // where Amount, Every, Burst and MaxWait were read
	counted                       *field // count_denied, if it is true
	overrides, lifetime           *field
	unavailable                   *field // on_unavailable
	quota                         quotaReader
}

// term reads the limit at n from its fields; rule has the selector already,
// known are the keys to name where a key is unknown.
func (r *reader) term(n *node, fs fields, rule *LimitRule, known []string) Term {
	t := &termReader{reader: r, known: known}
	for _, f := range fs {
		t.field(f)
	}
	switch {
	case t.unknowns > 0 && len(t.kinds) == 0:
		return t.term // one of them was probably meant to be the limit
	case len(t.kinds) == 0:
		r.fail(n, &flaw{message: "says no limit", expected: wantKind})
		return t.term
	case len(t.kinds) > 1:
		r.failKey(t.kinds[1], &flaw{
			message:  "can't stand beside " + t.kinds[0].key,
			expected: wantKind + "; several limits for one selector go in a list, limits: [{…}, {…}]",
		})
		return t.term
	}
	t.finishConcurrency()
	t.finishQuota()
	if t.term.Kind == limiter.KindPace {
		t.pace()
	}
	if t.term.Kind != 0 {
		t.checkBounds(limiter.Spec{
			Kind: t.term.Kind, Amount: t.term.Amount, Period: t.term.Every, Burst: t.term.Burst, MaxWait: t.term.MaxWait,
			Quota: t.term.Quota, OnUnavailable: t.term.OnUnavailable,
		})
	}
	if t.overrides != nil {
		t.readOverrides(rule)
	}
	return t.term
}

// field reads one field of a limit.
func (t *termReader) field(f *field) {
	if k := t.grammar.term.find(f.key); k != nil {
		k.read(t, f)
	} else {
		t.unknown(f)
	}
}

// LifetimeDefault is the lifetime of a concurrency limit that does not say.
const LifetimeDefault = time.Minute

// concurrency reads `concurrency`, an amount.
func (t *termReader) concurrency(f *field) {
	t.kinds = append(t.kinds, f)
	t.amount, t.term.at = &f.node, t.position(f.keyNode)
	if amount, ok := t.number(&f.node); ok && t.term.Kind == 0 {
		t.term.Kind, t.term.Amount = limiter.KindConcurrency, amount
	}
}

// readLifetime reads `lifetime`, a span.
func (t *termReader) readLifetime(f *field) { t.lifetime = f }

// finishConcurrency reads what depends on the kind, which may be written below.
func (t *termReader) finishConcurrency() {
	isKind := t.kinds[0].key == "concurrency"
	if t.lifetime != nil && !isKind {
		t.failKey(t.lifetime, &flaw{message: "only a concurrency has a lifetime"})
	}
	if !isKind {
		return
	}
	t.term.Every = LifetimeDefault
	if t.lifetime != nil {
		t.every = &t.lifetime.node
		if text, ok := t.scalar(t.every); ok {
			every, bad := parseEvery(text)
			if bad != nil {
				t.fail(t.every, bad)
				return
			}
			t.term.Every = every
		}
	}
	if t.term.CountDenied != nil && *t.term.CountDenied {
		t.failKey(t.kinds[0], &flaw{message: "can't stand beside count_denied: true", expected: "no count_denied: what is denied holds nothing"})
	}
}

// countDenied reads `count_denied`.
func (t *termReader) countDenied(f *field) {
	b := t.boolean(&f.node)
	t.term.CountDenied = &b
	if b {
		t.counted = f
	}
}

// pace completes and checks what only a pace has.
func (t *termReader) pace() {
	t.term.at = t.position(t.kinds[0].keyNode)
	if t.maxWait == nil {
		t.term.MaxWait = MaxWaitDefault
	}
	if t.counted != nil {
		t.failKey(t.counted, &flaw{message: "has no effect beside pace", expected: "nothing: what a pace denies takes no turn"})
	}
}

// unlimited reads `unlimited`, which is a kind if it is true.
func (t *termReader) unlimited(f *field) {
	if t.boolean(&f.node) {
		t.kinds = append(t.kinds, f)
		t.term.Kind = limiter.KindUnlimited
	}
}

// unknown reports a key that no limit has.
func (t *termReader) unknown(f *field) {
	t.unknowns++
	t.failKey(f, &flaw{message: "unknown key", expected: "one of " + strings.Join(t.known, ", "), suggestion: closest(f.key, t.known)})
}

// onUnavailableWords are the words for limiter.OnUnavailable, in its order.
func onUnavailableWords() []string { return []string{"allow", "deny", "local"} }

// name reads a name: printable ASCII, so that it fits headers and metrics.
func (t *termReader) name(n *node) string {
	s, ok := t.text(n)
	if !ok {
		return ""
	}
	if len(s) > NameBytesMax || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		t.fail(n, &flaw{message: "not a name", expected: fmt.Sprintf("1 to %d printable ASCII characters", NameBytesMax)})
	}
	return s
}

// replaces reads a list of names.
func (t *termReader) replaces(n *node) []string {
	var names []string
	for _, item := range t.sequence(n, limiter.ChargesMax) {
		name := t.name(item)
		if name != "" && slices.Contains(names, name) {
			t.fail(item, &flaw{message: "the name is listed twice"})
			continue
		}
		names = append(names, name)
	}
	return names
}

// positive reads a whole number of at least 1 and returns where it was.
func (r *reader) positive(n *node) (uint64, *node) {
	v, ok := r.number(n)
	if ok && v == 0 {
		r.fail(n, &flaw{message: "is zero", expected: "at least 1"})
	}
	return v, n
}

// limit reads an amount per span, as N/SPAN or {amount: N, every: SPAN}.
func (t *termReader) limit(f *field, kind limiter.Kind) {
	t.kinds = append(t.kinds, f)
	amount, every, ok := uint64(0), time.Duration(0), false
	t.amount, t.every = &f.node, &f.node
	span := parseEvery
	if kind == limiter.KindQuota {
		span = t.period
	}
	if _, isMap := f.value.(*ast.MappingNode); isMap {
		amount, every, ok = t.limitMapping(f, span)
	} else if text, isText := t.scalar(&f.node); isText {
		var bad *flaw
		if amount, every, bad = parseLimit(text, span); bad != nil {
			t.fail(&f.node, bad)
		}
		ok = bad == nil
	}
	if ok && t.term.Kind == 0 {
		t.term.Kind, t.term.Amount, t.term.Every = kind, amount, every
	}
}

// An amountReader collects the fields of a limit's long form.
type amountReader struct {
	*termReader
	units             uint64
	span              time.Duration
	amountOK, everyOK bool
	parse             func(string) (time.Duration, *flaw)
}

// amountKeys are the keys of a limit's long form.
func amountKeys() keys[*amountReader] {
	return keys[*amountReader]{
		{"amount", "How many units.", func() schema { return formNumber(0) }, func(a *amountReader, f *field) {
			a.amount = &f.node
			a.units, a.amountOK = a.number(&f.node)
		}},
		{"every", "In which span of time.", formSpan, func(a *amountReader, f *field) {
			a.every = &f.node
			a.span, a.everyOK = a.readSpanAs(&f.node, a.parse)
		}},
	}
}

// limitMapping reads {amount: …, every: …}.
func (t *termReader) limitMapping(f *field, parse func(string) (time.Duration, *flaw)) (amount uint64, every time.Duration, ok bool) {
	ks := t.grammar.amount
	fs, _ := t.mapping(&f.node, ks.names())
	for _, k := range ks {
		if fs.get(k.name) == nil {
			t.fail(&f.node, &flaw{message: "needs both amount and every", expected: wantLimit})
			return 0, 0, false
		}
	}
	a := amountReader{termReader: t, parse: parse}
	for _, f := range fs {
		ks.find(f.key).read(&a, f)
	}
	return a.units, a.span, a.amountOK && a.everyOK
}

// readSpan reads a span of time.
func (r *reader) readSpan(n *node) (span time.Duration, ok bool) { return r.readSpanAs(n, parseEvery) }

func (r *reader) readSpanAs(n *node, parse func(string) (time.Duration, *flaw)) (span time.Duration, ok bool) {
	text, ok := r.scalar(n)
	if !ok {
		return 0, false
	}
	span, bad := parse(text)
	if bad != nil {
		r.fail(n, bad)
	}
	return span, bad == nil
}

// checkBounds asks the kernel what it thinks of the numbers and reports it
// where they were read.
func (t *termReader) checkBounds(s limiter.Spec) {
	s.Name = "unnamed"
	_, err := limiter.NewLimit(s)
	if err == nil {
		return
	}
	for _, e := range unjoin(err) {
		var bound *limiter.BoundError
		if !errors.As(e, &bound) {
			continue
		}
		t.fail(t.boundFlaw(s.Kind, bound))
	}
}

// boundFlaw is what is wrong with a bound of the kernel, and where that was read.
func (t *termReader) boundFlaw(kind limiter.Kind, bound *limiter.BoundError) (*node, *flaw) {
	if n, f := t.quotaFlaw(bound); n != nil {
		return n, f
	}
	n, f := &t.kinds[0].node, &flaw{message: "is out of bounds", expected: "a number " + bound.Bound}
	switch bound.Field {
	case "Amount":
		if t.amount != nil {
			n = t.amount
		}
		f.message = "the amount is out of bounds"
	case "Period":
		if t.every != nil {
			n = t.every
		}
		f = &flaw{message: "the span is out of bounds", expected: "1ms to 366 days"}
		if kind == limiter.KindConcurrency {
			f = &flaw{message: "the lifetime is out of bounds", expected: "1ms to 24h"}
		}
	case "Burst":
		if t.burst != nil {
			n = t.burst
		}
		f.message = "the burst is out of bounds"
		f.expected = strings.Replace(f.expected, limiter.HorizonMax.String(), "100 years", 1)
		if kind != limiter.KindRate {
			f = &flaw{message: "only a rate has a burst"}
		}
	case "MaxWait":
		if t.maxWait != nil {
			n = t.maxWait
		}
		f = &flaw{message: "the wait is out of bounds", expected: "1ms to 24h"}
		if kind != limiter.KindPace {
			f = &flaw{message: "only a pace has a max_wait"}
		}
	}
	return n, f
}

// unjoin returns the errors that err joins.
func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// readOverrides reads `overrides`, a list of {values: MATCHER, amount: N}.
func (t *termReader) readOverrides(rule *LimitRule) {
	switch {
	case t.term.Kind == limiter.KindUnlimited:
		t.failKey(t.overrides, &flaw{message: "can't stand beside unlimited: true"})
		return
	case !hasOwnCounters(rule):
		t.failKey(t.overrides, &flaw{
			message:  "the limit has one counter for all values",
			expected: "a `by`, or a `descriptor` whose last entry is a key alone or has an unshared wildcard",
		})
		return
	}
	items := t.sequence(&t.overrides.node, ValuesMax)
	seen := map[string]bool{}
	t.term.Overrides = make([]ValueOverride, len(items))
	for i, item := range items {
		o := t.override(item)
		t.term.Overrides[i] = o
		for _, v := range o.Values.Values {
			id := overriddenID(o.Values.Kind, v)
			if seen[id] {
				t.fail(item, &flaw{message: "another override has the value " + strconv.Quote(v)})
			}
			seen[id] = true
		}
		if len(seen) > ValuesMax {
			t.fail(item, &flaw{message: "the overrides name too many values", expected: fmt.Sprintf("at most %d", ValuesMax)})
			return
		}
	}
}

// overriddenID tells the values of a term's overrides apart, as their index
// does: ab* is the prefix ab.
func overriddenID(kind MatchKind, value string) string {
	if kind == MatchGlob && isPrefixGlob(value) && value != "*" {
		kind, value = MatchPrefix, literalPrefix(value)
	}
	return strconv.Itoa(int(kind)) + value
}

// hasOwnCounters reports whether the last attribute or entry that a rule names
// has a counter for each of its values.
func hasOwnCounters(rule *LimitRule) bool {
	if n := len(rule.Descriptor); n > 0 {
		last := rule.Descriptor[n-1]
		return !last.Shared && (last.Value == "" || strings.Contains(last.Key+last.Value, "*"))
	}
	return len(rule.By) > 0
}

// An overrideReader collects the fields of one item of `overrides`.
type overrideReader struct {
	*termReader
	o *ValueOverride
}

// overrideKeys are the keys of one item of `overrides`.
func overrideKeys() keys[*overrideReader] {
	return keys[*overrideReader]{
		{
			"values", "Whom it is for: VALUE, [VALUE, …], {prefix: …}, {glob: …} or {cidr: …}. The most specific override wins.", formMatcher,
			func(of *overrideReader, f *field) { of.o.Values = of.overrideValues(&f.node) },
		},
		{
			"amount", "The amount for these values, per the limit's span.", func() schema { return formNumber(0) },
			func(of *overrideReader, f *field) {
				of.o.Amount, _ = of.number(&f.node)
				of.amount = &f.node
			},
		},
		{
			"burst", "Of a rate: how much fits at once. Default: the amount.", func() schema { return formNumber(1) },
			func(of *overrideReader, f *field) { of.o.Burst, of.burst = of.positive(&f.node) },
		},
		flagKey("unlimited", "These values are not limited.", func(of *overrideReader, b bool) { of.o.Unlimited = b }),
	}
}

// override reads one item of `overrides`.
func (t *termReader) override(n *node) ValueOverride {
	o := ValueOverride{Pos: t.position(n.value)}
	fs, ok := t.mapping(n, t.grammar.override.names())
	if !ok {
		return o
	}
	of := overrideReader{&termReader{reader: t.reader, kinds: t.kinds, every: t.every}, &o}
	for _, f := range fs {
		t.grammar.override.find(f.key).read(&of, f)
	}
	if fs.get("values") == nil {
		t.fail(n, &flaw{message: "names no values", expected: "values: VALUE, [VALUE, …], {prefix: …}, {glob: …} or {cidr: …}"})
	}
	if o.Unlimited == (of.amount != nil) {
		t.fail(n, &flaw{message: "says no amount, or two things", expected: "either amount: N or unlimited: true"})
		return o
	}
	if t.term.Kind == 0 {
		return o // the limit itself is wrong
	}
	s := limiter.Spec{
		Kind: t.term.Kind, Amount: o.Amount, Period: t.term.Every, Burst: o.Burst,
		OnUnavailable: t.term.OnUnavailable, Quota: t.term.Quota,
	}
	if s.Kind == limiter.KindPace {
		s.MaxWait = MaxWaitDefault // the limit's own is checked there
	}
	if o.Unlimited {
		s = limiter.Spec{Kind: limiter.KindUnlimited, Burst: o.Burst}
	}
	of.checkBounds(s)
	return o
}

// overrideValues reads a matcher that can say how specific it is.
func (t *termReader) overrideValues(n *node) Matcher {
	m := t.matcher(n)
	if m.Not || m.Kind == MatchAny || m.Kind == MatchRegex {
		t.fail(n, &flaw{message: "can't choose values for an override", expected: "VALUE, [VALUE, …], {prefix: …}, {glob: …} or {cidr: …}"})
	}
	return m
}
