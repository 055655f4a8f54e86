package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headgate/headgate/limiter"
)

// quotaKeys are the keys that only a quota has. Each key's field of limiter.Spec
// is the one that its bounds name.
func quotaKeys() keys[*termReader] {
	number := func(name, doc, bound string, set func(q *limiter.QuotaTerms, n uint8)) key[*termReader] {
		return quotaKey(name, doc, bound, func() schema { return formNumber(1) }, func(t *termReader, f *field) {
			if n, ok := t.number(&f.node); ok {
				if n == 0 {
					t.fail(&f.node, &flaw{message: "is zero", expected: "at least 1"})
				}
				set(&t.quota.terms, uint8(min(n, 255)))
			}
		})
	}
	return keys[*termReader]{
		quotaKey("time_zone", "Of a quota: the zone whose clock it follows, such as Europe/Berlin (IANA). Default: UTC.", "Zone", formText, (*termReader).readZone),
		quotaKey("reset_at", "Of a quota: the time of day at which it begins again, \"HH:MM\" or \"HH:MM:SS\"; of an hour, 00:MM. Default: 00:00.", "ResetAt",
			func() schema { return schema{"type": "string", "pattern": "^[0-9]{2}:[0-9]{2}(:[0-9]{2})?$"} }, (*termReader).readResetAt),
		quotaKey("week_start", "Of a quota per week: its first day. Default: monday.", "WeekStart", func() schema { return formWords(weekdayWords()) },
			func(t *termReader, f *field) {
				t.quota.terms.WeekStart = uint8(1 + t.choice(&f.node, weekdayWords()...))
			}),
		number("day", "Of a quota per month, quarter or year: the day of the month at which it begins, 1 to 31; of a shorter month the last. Default: 1.", "Day",
			func(q *limiter.QuotaTerms, n uint8) { q.Day = n }),
		number("month", "Of a quota per quarter or year: the month in which it, or one of the quarters, begins, 1 to 12. Default: 1.", "Month",
			func(q *limiter.QuotaTerms, n uint8) { q.Month = n }),
		number("rolling", "Of a quota per hour, day, week or span: the number of sub-windows in which it rolls on, 2 to 60, instead of beginning again at once.", "Rolling",
			func(q *limiter.QuotaTerms, n uint8) { q.Rolling = n }),
		quotaKey("mode", "Of a quota: spent in memory from grants that the ledger has recorded (escrow, the default), or by answers that are recorded before they are sent (exact).", "",
			func() schema { return formWords(quotaModeWords()) },
			func(t *termReader, f *field) { t.quota.terms.Exact = t.choice(&f.node, quotaModeWords()...) == 1 }),
		quotaKey("post_paid", "Of a quota: all use is recorded; what does not fit is debt. Not with mode exact.", "PostPaid", formFlag,
			func(t *termReader, f *field) { t.quota.terms.PostPaid = t.boolean(&f.node) }),
		quotaKey("max_debt", "Of a quota: how many units of debt one counter has at most in one window. Default: the amount.", "MaxDebt", func() schema { return formNumber(1) },
			func(t *termReader, f *field) { t.quota.terms.MaxDebt, _ = t.positive(&f.node) }),
		quotaKey("notify", "Of a quota: the percentages of its amount at which use is announced, once in each window.", "", func() schema {
			return formList(schema{"type": "string", "pattern": "^[0-9]+%$"}, limiter.NotifyMax)
		}, func(t *termReader, f *field) { t.quota.terms.Notify = t.notify(&f.node) }),
	}
}

// A quotaReader is what a termReader knows of a quota.
type quotaReader struct {
	terms limiter.QuotaTerms
	said  []*field         // keys that only a quota has
	at    map[string]*node // where the fields of limiter.Spec were read
}

// quotaKey returns a key of quotas, whose value is a field of limiter.Spec.
func quotaKey(name, doc, bound string, form func() schema, read func(t *termReader, f *field)) key[*termReader] {
	return key[*termReader]{name, doc, form, func(t *termReader, f *field) {
		t.quota.said = append(t.quota.said, f)
		if t.quota.at == nil {
			t.quota.at = map[string]*node{}
		}
		t.quota.at[bound] = &f.node
		read(t, f)
	}}
}

// readQuota reads `quota`, an amount per period of a calendar.
func (t *termReader) readQuota(f *field) {
	t.limit(f, limiter.KindQuota)
	t.term.at = t.position(f.keyNode)
}

// readZone reads `time_zone`, which must be known where the policy is read.
func (t *termReader) readZone(f *field) {
	name, ok := t.text(&f.node)
	if !ok {
		return
	}
	t.quota.terms.Zone = name
	bad, known := t.grammar.zones[name]
	if !known {
		_, err := time.LoadLocation(name)
		bad = err != nil || name == "Local"
		t.grammar.zones[name] = bad
	}
	if bad {
		t.fail(&f.node, &flaw{message: "no time zone has this name", expected: "one of the IANA database, such as Europe/Berlin or UTC"})
	}
}

// readResetAt reads `reset_at`.
func (t *termReader) readResetAt(f *field) {
	if text, ok := t.scalar(&f.node); ok {
		at, bad := parseTimeOfDay(text)
		if bad != nil {
			t.fail(&f.node, bad)
		}
		t.quota.terms.ResetAt = at
	}
}

// notify reads a list of percentages.
func (t *termReader) notify(n *node) (marks [limiter.NotifyMax]uint8) {
	var list []uint8
	for _, item := range t.sequence(n, limiter.NotifyMax) {
		text, ok := t.scalar(item)
		if !ok {
			continue
		}
		digits, isPercent := strings.CutSuffix(text, "%")
		percent, err := strconv.ParseUint(digits, 10, 8)
		switch {
		case !isPercent || err != nil || percent < 1 || percent > 100:
			t.fail(item, &flaw{message: "not a percentage of the amount", expected: "1% to 100%"})
		case slices.Contains(list, uint8(percent)):
			t.fail(item, &flaw{message: "the percentage is listed twice"})
		default:
			list = append(list, uint8(percent))
		}
	}
	slices.Sort(list)
	copy(marks[:], list)
	return marks
}

// finishQuota completes and checks what only a quota has.
func (t *termReader) finishQuota() {
	if t.kinds[0].key != "quota" {
		for _, f := range t.quota.said {
			t.failKey(f, &flaw{message: "only a quota has " + f.key})
		}
		return
	}
	if t.unavailable != nil && t.term.OnUnavailable != limiter.UnavailableDeny {
		t.fail(&t.unavailable.node, &flaw{message: "a quota that can't be counted is never admitted", expected: "deny, or nothing"})
	}
	t.term.OnUnavailable = limiter.UnavailableDeny
	if t.quota.terms.Exact && t.quota.terms.PostPaid {
		t.fail(t.quota.at["PostPaid"], &flaw{message: "what passes in any case has no answer to wait for", expected: "mode escrow, or no post_paid"})
		t.quota.terms.PostPaid = false // it is one problem
	}
	if t.term.Kind == limiter.KindQuota {
		terms := t.quota.terms // of its own: the term outlives its reader
		t.term.Quota = &terms
	}
	if t.counted != nil {
		t.failKey(t.counted, &flaw{message: "has no effect beside quota", expected: "nothing: what a quota denies is not counted"})
	}
}

// period reads what the quota is counted per and returns its length.
func (t *termReader) period(text string) (time.Duration, *flaw) {
	s, bad := parsePeriod(text)
	t.quota.terms.Unit, t.quota.terms.Every = s.Unit, s.Every
	return s.Length(), bad
}

// quotaFlaw is what is wrong with a bound that only a quota has, and where that
// was read: nowhere if it is another's.
func (t *termReader) quotaFlaw(bound *limiter.BoundError) (*node, *flaw) {
	f := &flaw{message: "is out of bounds", expected: bound.Bound}
	switch bound.Field {
	case "Every":
		return t.every, &flaw{message: "the span is out of bounds", expected: "whole seconds, 1min to 366 days"}
	case "ResetAt":
		f = &flaw{message: "the time is out of bounds", expected: "00:00 to 00:59:59: it is the minute of every hour"}
	case "Rolling":
		if t.quota.terms.Unit >= limiter.PerMonth {
			f = &flaw{
				message:  fmt.Sprintf("a %s has no fixed length", t.quota.terms.Unit),
				expected: "a quota per hour, day, week or span, such as 30day",
			}
		}
	default:
		if whose, ok := strings.CutPrefix(bound.Bound, "0: only "); ok {
			f = &flaw{message: "only " + strings.Replace(whose, " one", " it", 1)}
		}
	}
	return t.quota.at[bound.Field], f
}
