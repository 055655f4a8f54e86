package policy

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/headgate/headgate/limiter"
)

// A flaw is what is wrong with a piece of text; whoever reads the text knows
// where it is and makes a Problem of it. nil means nothing is.
type flaw struct{ message, expected, suggestion string }

// Expectations that several problems share.
const (
	wantAmount = "a whole number without sign, such as 100 or 10_000"
	wantEvery  = "a span such as s, 90s, 5min, 1h30m, day, week, month (30 days) or year (365 days)"
	wantLimit  = "AMOUNT/SPAN such as 100/s, 60/min or 1000/90s, or {amount: 1000, every: 90s}"
)

// unitSpan returns what a unit's name means. Months and years are Envoy's.
func unitSpan(name string) (time.Duration, bool) {
	switch name {
	case "ms", "millisecond", "milliseconds":
		return time.Millisecond, true
	case "s", "sec", "second", "seconds":
		return UnitSecond.Duration(), true
	case "m", "min", "minute", "minutes":
		return UnitMinute.Duration(), true
	case "h", "hour", "hours":
		return UnitHour.Duration(), true
	case "d", "day", "days":
		return UnitDay.Duration(), true
	case "w", "week", "weeks":
		return UnitWeek.Duration(), true
	case "mo", "month", "months":
		return UnitMonth.Duration(), true
	case "y", "year", "years":
		return UnitYear.Duration(), true
	default:
		return 0, false
	}
}

// unitNames are the names that a misspelt one is compared with.
func unitNames() []string {
	return []string{"ms", "s", "sec", "second", "m", "min", "minute", "h", "hour", "d", "day", "w", "week", "mo", "month", "y", "year"}
}

// parseAmount reads a whole number: digits, with single underscores between
// them where they help the eye.
func parseAmount(text string) (uint64, *flaw) {
	digits := text
	if strings.Contains(text, "_") {
		if strings.HasPrefix(text, "_") || strings.HasSuffix(text, "_") || strings.Contains(text, "__") {
			return 0, &flaw{message: "not a number", expected: wantAmount}
		}
		digits = strings.ReplaceAll(text, "_", "")
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, &flaw{message: "not a number", expected: wantAmount}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, &flaw{message: "too large", expected: "at most " + strconv.FormatUint(limiter.AmountMax, 10)}
	}
	return n, nil
}

// parseEvery reads a span: one or more NUMBER UNIT pairs without spaces, or a
// unit alone, which means one of it.
func parseEvery(text string) (time.Duration, *flaw) {
	if span, ok := unitSpan(text); ok {
		return span, nil
	}
	if squeezed := strings.ReplaceAll(text, " ", ""); squeezed != text {
		return 0, &flaw{message: "has a space", expected: wantEvery, suggestion: squeezed}
	}
	var total time.Duration
	rest := text
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		number := rest[:digits]
		rest = rest[digits:]
		letters := strings.IndexAny(rest, "0123456789")
		if letters < 0 {
			letters = len(rest)
		}
		unit := rest[:letters]
		rest = rest[letters:]

		span, ok := unitSpan(unit)
		if !ok {
			f := &flaw{message: "unknown unit " + strconv.Quote(unit), expected: wantEvery}
			if near := closest(strings.ToLower(unit), unitNames()); near != "" && rest == "" {
				f.suggestion = text[:len(text)-len(unit)] + near
			}
			return 0, f
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if number == "" || (err != nil && !errors.Is(err, strconv.ErrRange)) {
			return 0, &flaw{message: "not a span of time", expected: wantEvery}
		}
		if err != nil || time.Duration(n) > (math.MaxInt64-total)/span {
			return 0, &flaw{message: "too long", expected: "at most " + formatEvery(limiter.PeriodMax)}
		}
		total += time.Duration(n) * span
	}
	if text == "" {
		return 0, &flaw{message: "not a span of time", expected: wantEvery}
	}
	return total, nil
}

// parseLimit reads AMOUNT/SPAN, whose span parse reads.
func parseLimit(text string, parse func(string) (time.Duration, *flaw)) (amount uint64, every time.Duration, f *flaw) {
	before, after, ok := strings.Cut(text, "/")
	if !ok {
		return 0, 0, &flaw{message: "says no span of time", expected: wantLimit}
	}
	if amount, f = parseAmount(before); f != nil {
		return 0, 0, f
	}
	every, f = parse(after)
	if f != nil && f.suggestion != "" {
		f.suggestion = before + "/" + f.suggestion
	}
	return amount, every, f
}

// UnitOf splits a span into a count of the largest unit that divides it, so
// that 90 s is 90 × UnitSecond and 604,800 s is 1 × UnitWeek. A span that is
// not a whole number of seconds, or not positive, gives (0, 0).
func UnitOf(span time.Duration) (Unit, uint32) {
	for u := UnitYear; u >= UnitSecond; u-- {
		if span > 0 && span%u.Duration() == 0 && span/u.Duration() <= math.MaxUint32 {
			return u, uint32(span / u.Duration())
		}
	}
	return 0, 0
}

// formatEvery writes a span of at most limiter.PeriodMax so that parseEvery reads
// it back: 1 of a unit as the unit alone, else a count of the largest unit that
// divides it. More milliseconds than parseEvery counts come after whole seconds.
func formatEvery(span time.Duration) string {
	u, n := UnitOf(span)
	if n == 0 {
		ms := span.Milliseconds()
		if ms > math.MaxUint32 {
			return strconv.FormatInt(ms/1000, 10) + "s" + strconv.FormatInt(ms%1000, 10) + "ms"
		}
		return strconv.FormatInt(ms, 10) + "ms"
	}
	if n == 1 {
		return u.String()
	}
	return strconv.FormatUint(uint64(n), 10) + u.String()
}
