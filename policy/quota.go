package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/headgate/headgate/limiter"
)

// wantPeriod is what a quota is counted per.
const wantPeriod = "hour, day, week, month, quarter, year, or a span such as 36h or 14day, 1min to 366 days"

// calendarUnit returns the unit of a calendar that a name stands for.
func calendarUnit(name string) (limiter.CalendarUnit, bool) {
	switch name {
	case "h", "hour", "hours":
		return limiter.PerHour, true
	case "d", "day", "days":
		return limiter.PerDay, true
	case "w", "week", "weeks":
		return limiter.PerWeek, true
	case "mo", "month", "months":
		return limiter.PerMonth, true
	case "quarter", "quarters":
		return limiter.PerQuarter, true
	case "y", "year", "years":
		return limiter.PerYear, true
	default:
		return 0, false
	}
}

// parsePeriod reads what a quota is counted per. One of a unit is the calendar's;
// any other number is a span of elapsed time, which months, quarters and years
// have no length for.
func parsePeriod(text string) (s limiter.Schedule, f *flaw) {
	number := len(text) - len(strings.TrimLeft(text, "0123456789"))
	unit, isUnit := calendarUnit(text[number:])
	switch {
	case isUnit && (number == 0 || text[:number] == "1"):
		s.Unit = unit
		return s, nil
	case isUnit && unit >= limiter.PerMonth:
		f = &flaw{message: "a number of " + unit.String() + "s has no fixed length", expected: wantPeriod}
		switch text[:number] + unit.String() {
		case "3month":
			f.suggestion = "quarter"
		case "12month", "4quarter":
			f.suggestion = "year"
		}
		return s, f
	}
	if s.Every, f = parseEvery(text); f != nil {
		f.expected = wantPeriod
		return s, f
	}
	for part := range strings.FieldsFuncSeq(text, func(c rune) bool { return c >= '0' && c <= '9' }) {
		if unit, ok := calendarUnit(part); ok && unit >= limiter.PerMonth {
			return s, &flaw{message: "a number of " + unit.String() + "s has no fixed length", expected: wantPeriod}
		}
	}
	return s, nil
}

// formatPeriod writes what a quota is counted per so that parsePeriod reads it
// back: a span as at least two of the largest unit that divides it.
func formatPeriod(s *limiter.Schedule) string {
	if s.Unit != limiter.PerSpan {
		return s.Unit.String()
	}
	for _, u := range []Unit{UnitDay, UnitHour, UnitMinute} {
		if n := s.Every / u.Duration(); s.Every%u.Duration() == 0 && n >= 2 {
			return strconv.FormatInt(int64(n), 10) + u.String()
		}
	}
	return strconv.FormatInt(int64(s.Every/time.Second), 10) + "s"
}

// parseTimeOfDay reads HH:MM or HH:MM:SS.
func parseTimeOfDay(text string) (time.Duration, *flaw) {
	for _, layout := range []string{"15:04", "15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil && len(text) == len(layout) {
			return t.Sub(t.Truncate(24 * time.Hour)), nil
		}
	}
	return 0, &flaw{message: "not a time of day", expected: `"HH:MM" or "HH:MM:SS", 00:00 to 23:59:59`}
}

func formatTimeOfDay(d time.Duration) string {
	text := fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute)
	if s := d % time.Minute / time.Second; s != 0 {
		text += fmt.Sprintf(":%02d", s)
	}
	return strconv.Quote(text)
}

// weekdayWords are the days of the week, as limiter.Schedule counts them from 1.
func weekdayWords() []string {
	return []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
}

// quotaModeWords are the ways to spend a quota: QuotaTerms.Exact is the second.
func quotaModeWords() []string { return []string{"escrow", "exact"} }

// QuotaMode returns how a quota is spent, as a policy spells it.
func QuotaMode(l *limiter.Limit) string {
	if l.Exact() {
		return quotaModeWords()[1]
	}
	return quotaModeWords()[0]
}

// quotaLines writes what only a quota says, amount first.
func quotaLines(t *Term) (lines []string) {
	add := func(key, value string) { lines = append(lines, key+": "+value) }
	number := func(key string, n uint64) {
		if n != 0 {
			add(key, strconv.FormatUint(n, 10))
		}
	}
	q := t.Quota
	add("quota", strconv.FormatUint(t.Amount, 10)+"/"+formatPeriod(&q.Schedule))
	if q.Zone != "" {
		add("time_zone", quote(q.Zone))
	}
	if q.ResetAt != 0 {
		add("reset_at", formatTimeOfDay(q.ResetAt))
	}
	if days := weekdayWords(); q.WeekStart > 0 && int(q.WeekStart) <= len(days) {
		add("week_start", days[q.WeekStart-1])
	}
	number("day", uint64(q.Day))
	number("month", uint64(q.Month))
	number("rolling", uint64(q.Rolling))
	if q.Exact {
		add("mode", quotaModeWords()[1])
	}
	if q.PostPaid {
		add("post_paid", "true")
	}
	number("max_debt", q.MaxDebt)
	var marks []string
	for _, percent := range q.Notify {
		if percent != 0 {
			marks = append(marks, strconv.Itoa(int(percent))+"%")
		}
	}
	if len(marks) > 0 {
		add("notify", flowList(marks))
	}
	return lines
}

// quota adds what of a schedule is part of a counter's identity: all of it, in one
// spelling.
func (d digest) quota(s limiter.Schedule) {
	s = s.Canonical()
	d.number(uint64(s.Unit))
	d.text(s.Zone)
	d.number(uint64(s.ResetAt))
	d.number(uint64(s.WeekStart))
	d.number(uint64(s.Day))
	d.number(uint64(s.Month))
	d.number(uint64(s.Rolling))
}

// scheduleChanges names what of the identity of two quotas differs, beside the
// span.
func scheduleChanges(was, is limiter.Schedule, add func(name string, differs bool)) {
	was, is = was.Canonical(), is.Canonical()
	add("time_zone", was.Zone != is.Zone)
	add("reset_at", was.ResetAt != is.ResetAt)
	if was.Unit == is.Unit {
		add("week_start", was.WeekStart != is.WeekStart)
		add("day", was.Day != is.Day)
		add("month", was.Month != is.Month)
	}
	add("rolling", was.Rolling != is.Rolling)
}
