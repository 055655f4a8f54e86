package policy

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

// randomDocument draws a document whose fields are all fit; its rules may clash.
func randomDocument(t *rapid.T, text *rapid.Generator[string]) *Document {
	text = text.Filter(func(s string) bool { return s != "" && strings.ToValidUTF8(s, "") == s })
	doc := &Document{
		Domain:      text.Draw(t, "domain"),
		Charge:      limiter.Mode(rapid.IntRange(0, 1).Draw(t, "charge")),
		CountDenied: rapid.Bool().Draw(t, "count_denied"),
		PeekUsed:    rapid.Bool().Draw(t, "peek"),
		Headers:     randomHeaders(t),
	}
	if rapid.Bool().Draw(t, "gubernator") {
		doc.Gubernator = randomGubernator(t, text)
	}
	for i := range rapid.IntRange(0, 12).Draw(t, "rules") {
		doc.Rules = append(doc.Rules, randomRule(t, text, i))
	}
	if doc.Charge == limiter.AllOrNothing { // then count_denied is refused
		doc.CountDenied = false
		for i := range doc.Rules {
			for j := range doc.Rules[i].Terms {
				doc.Rules[i].Terms[j].CountDenied = nil
			}
		}
	}
	return doc
}

func randomGubernator(t *rapid.T, text *rapid.Generator[string]) *Gubernator {
	names := rapid.SliceOfNDistinct(text.Filter(func(s string) bool { return !strings.Contains(s, "*") }), 0, 3, rapid.ID[string]).Draw(t, "names")
	for i := range names {
		if rapid.Bool().Draw(t, "beginning") {
			names[i] += "*"
		}
	}
	if len(names) == 0 {
		names = nil
	}
	return &Gubernator{
		Names:       names,
		MaxLimit:    rapid.Uint64Range(1, limiter.AmountMax).Draw(t, "max_limit"),
		MaxDuration: time.Duration(rapid.Int64Range(1, 1<<31).Draw(t, "max_duration")) * time.Millisecond,
		MaxBurst:    rapid.Uint64Range(0, 3).Draw(t, "max_burst"),
	}
}

func randomRule(t *rapid.T, text *rapid.Generator[string], i int) LimitRule {
	rule := LimitRule{Labels: rapid.Bool().Draw(t, "labels")}
	if rapid.Bool().Draw(t, "tree") {
		for range rapid.IntRange(1, 3).Draw(t, "depth") {
			rule.Descriptor = append(rule.Descriptor, randomEntry(t, text))
		}
		if rule.Exempt = rapid.IntRange(0, 9).Draw(t, "exempt") == 0; rule.Exempt {
			rule.Labels = false
			return rule
		}
	} else {
		for _, attr := range rapid.SliceOfNDistinct(text, 0, 3, rapid.ID[string]).Draw(t, "when") {
			rule.When = append(rule.When, Condition{attr, randomMatcher(t, text, true)})
		}
		rule.By = rapid.SliceOfNDistinct(text, 0, 3, rapid.ID[string]).Draw(t, "by")
		if len(rule.By) == 0 {
			rule.By = nil
		}
	}
	for j := range rapid.IntRange(1, 2).Draw(t, "terms") {
		term := randomTerm(t, &rule, text)
		term.Name = fmt.Sprintf("limit %d.%d", i, j)
		rule.Terms = append(rule.Terms, term)
	}
	return rule
}

func randomEntry(t *rapid.T, text *rapid.Generator[string]) EntryPattern {
	e := EntryPattern{Key: text.Draw(t, "key")}
	switch rapid.IntRange(0, 3).Draw(t, "form") {
	case 0:
		e.Value = text.Draw(t, "value")
	case 1:
		e.Value = text.Draw(t, "value") + "*"
		e.Shared = rapid.Bool().Draw(t, "shared")
	case 2:
		e.Value = rapid.SampledFrom([]string{"*", ""}).Draw(t, "head") + text.Draw(t, "head") + "*" + text.Draw(t, "tail")
		e.Shared = rapid.Bool().Draw(t, "shared")
	}
	return e
}

func randomMatcher(t *rapid.T, text *rapid.Generator[string], all bool) Matcher {
	list := func(g *rapid.Generator[string]) []string {
		return rapid.SliceOfNDistinct(g, 1, 3, rapid.ID[string]).Draw(t, "values")
	}
	var m Matcher
	last := 3
	if all {
		last = 5
		m.Not = rapid.IntRange(0, 5).Draw(t, "not") == 0
	}
	switch rapid.IntRange(0, last).Draw(t, "matcher") {
	case 0:
		m.Values = list(text)
	case 1:
		m.Kind, m.Values = MatchPrefix, list(text)
	case 2:
		m.Kind = MatchGlob
		m.Values = list(rapid.Custom(func(t *rapid.T) string {
			form := rapid.SampledFrom([]string{"%s*", "%s*%s", "*%s", "%s*%s*%s"}).Draw(t, "form")
			for strings.Contains(form, "%s") {
				form = strings.Replace(form, "%s", text.Draw(t, "part"), 1)
			}
			return form
		}))
	case 3:
		m.Kind = MatchCIDR
		m.Values = list(rapid.SampledFrom([]string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "0.0.0.0/0", "2001:db8::/32", "2001:db8:1::/48", "::/0"}))
	case 4:
		m.Kind = MatchAny
	case 5:
		m.Kind, m.Values = MatchRegex, []string{rapid.SampledFrom([]string{"a+", "[ab]*c?", "^a.*", "(b|c)b*", "a$|b"}).Draw(t, "regex")}
	}
	return m
}

// oddSpan draws a span that few units divide, up to the longest period.
func oddSpan(t *rapid.T) time.Duration {
	most := int64(limiter.PeriodMax / time.Millisecond)
	return time.Duration(rapid.Int64Range(1, most).Draw(t, "ms")) * time.Millisecond
}

func randomTerm(t *rapid.T, rule *LimitRule, text *rapid.Generator[string]) Term {
	term := Term{
		Kind:          rapid.SampledFrom([]limiter.Kind{limiter.KindRate, limiter.KindFixed, limiter.KindSliding, limiter.KindUnlimited, limiter.KindConcurrency, limiter.KindPace, limiter.KindQuota}).Draw(t, "kind"),
		Shadow:        rapid.Bool().Draw(t, "shadow"),
		AnyOf:         rapid.Bool().Draw(t, "any_of"),
		OnUnavailable: limiter.OnUnavailable(rapid.IntRange(0, 2).Draw(t, "on_unavailable")),
	}
	if rapid.Bool().Draw(t, "says count_denied") {
		b := rapid.Bool().Draw(t, "count_denied") && term.Kind != limiter.KindConcurrency
		term.CountDenied = &b
	}
	if rapid.IntRange(0, 3).Draw(t, "costing") == 0 {
		term.Unit = rapid.SampledFrom([]string{"", "tokens", "0-_.z"}).Draw(t, "what it counts")
		term.EstimateMax = rapid.Uint64Range(0, 3).Draw(t, "max_estimate")
	}
	if term.Kind == limiter.KindUnlimited {
		return term
	}
	term.Amount = rapid.Uint64Range(1, 1000).Draw(t, "amount")
	term.Every = rapid.SampledFrom([]Unit{UnitSecond, UnitMinute, UnitHour, UnitDay, UnitWeek, UnitMonth, UnitYear}).Draw(t, "unit").Duration()
	if rapid.Bool().Draw(t, "odd") {
		term.Every = rapid.Custom(oddSpan).Draw(t, "every")
	}
	if term.Kind == limiter.KindConcurrency {
		term.Every = rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Minute, 90 * time.Second, 24 * time.Hour}).Draw(t, "lifetime")
	}
	if term.Kind == limiter.KindPace {
		term.MaxWait = time.Duration(rapid.IntRange(1, 86_400_000).Draw(t, "max_wait")) * time.Millisecond
		if term.CountDenied != nil && *term.CountDenied {
			term.CountDenied = nil
		}
	}
	if term.Kind == limiter.KindQuota {
		term.Quota = randomQuota(t)
		term.Every, term.OnUnavailable = term.Quota.Length(), limiter.UnavailableDeny
		if term.CountDenied != nil && *term.CountDenied {
			term.CountDenied = nil
		}
	}
	if term.Kind == limiter.KindRate {
		refilled := uint64(limiter.HorizonMax/term.Every) * term.Amount
		term.Burst = rapid.Uint64Range(0, min(100, refilled)).Draw(t, "burst")
	}
	if !hasOwnCounters(rule) {
		return term
	}
	seen := map[string]bool{}
	for range rapid.IntRange(0, 3).Draw(t, "overrides") {
		o := ValueOverride{Values: randomMatcher(t, text, false), Amount: rapid.Uint64Range(1, 1000).Draw(t, "amount")}
		fresh := true
		for _, v := range o.Values.Values {
			id := overriddenID(o.Values.Kind, v)
			fresh = fresh && !seen[id]
			seen[id] = true
		}
		if !fresh {
			continue
		}
		if rapid.IntRange(0, 3).Draw(t, "unlimited") == 0 {
			o.Amount, o.Unlimited = 0, true
		}
		term.Overrides = append(term.Overrides, o)
	}
	return term
}

// randomQuota draws terms that pass their checks.
func randomQuota(t *rapid.T) *limiter.QuotaTerms {
	q := &limiter.QuotaTerms{
		Exact: rapid.Bool().Draw(t, "exact"), MaxDebt: rapid.Uint64Range(0, 3).Draw(t, "max_debt"),
	}
	q.PostPaid = !q.Exact && rapid.Bool().Draw(t, "post_paid")
	q.Unit = limiter.CalendarUnit(rapid.IntRange(0, int(limiter.PerYear)).Draw(t, "per"))
	q.Zone = rapid.SampledFrom([]string{"", "UTC", "Europe/Berlin", "Pacific/Apia"}).Draw(t, "time_zone")
	q.ResetAt = time.Duration(rapid.IntRange(0, 3599).Draw(t, "reset_at")) * time.Second
	rolls := rapid.Bool().Draw(t, "rolls")
	if q.Unit == limiter.PerSpan {
		q.Every = time.Duration(rapid.Int64Range(1, 500_000).Draw(t, "minutes")) * time.Minute
		rolls = false
	}
	if rolls && q.Unit < limiter.PerMonth {
		q.Rolling = rapid.SampledFrom([]uint8{2, 4, 12, 60}).Draw(t, "rolling")
	} else if q.Unit == limiter.PerWeek {
		q.WeekStart = rapid.Uint8Range(0, 7).Draw(t, "week_start")
	}
	if q.Unit >= limiter.PerMonth {
		q.Day = rapid.Uint8Range(0, 31).Draw(t, "day")
	}
	if q.Unit >= limiter.PerQuarter {
		q.Month = rapid.Uint8Range(0, 12).Draw(t, "month")
	}
	for i := range rapid.IntRange(0, limiter.NotifyMax).Draw(t, "marks") {
		q.Notify[i] = uint8(i*12 + rapid.IntRange(1, 12).Draw(t, "mark"))
	}
	return q
}

func randomHeaders(t *rapid.T) HeaderSet {
	if rapid.Bool().Draw(t, "no headers") {
		return 0
	}
	return HeadersChosen | HeaderSet(rapid.IntRange(0, int(HeadersChosen)-1).Draw(t, "headers"))
}
