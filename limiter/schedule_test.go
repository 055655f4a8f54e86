package limiter

import (
	"strings"
	"testing"
	"time"
)

func TestScheduleBounds(t *testing.T) {
	t.Parallel()
	const h = time.Hour
	for _, tc := range []struct {
		name string
		s    Schedule
		want string // of the error; empty: none
	}{
		{"a span of a minute", Schedule{Every: time.Minute}, ""},
		{"a span of 366 days", Schedule{Every: PeriodMax, ResetAt: 24*h - time.Second}, ""},
		{"no span", Schedule{}, "Every=0s: must be whole seconds in [1m0s, 8784h0m0s]"},
		{"a span that is too long", Schedule{Every: PeriodMax + time.Second}, "Every=8784h0m1s: must be"},
		{"a span of half seconds", Schedule{Every: time.Minute + time.Second/2}, "Every=1m0.5s: must be whole seconds"},
		{"a day with a span", Schedule{Unit: PerDay, Every: h}, "Every=1h0m0s: must be 0: only a span has one"},
		{"an unknown unit", Schedule{Unit: PerYear + 1}, "Unit=7: must be in [0, 6]"},
		{"a long name of a zone", Schedule{Unit: PerDay, Zone: strings.Repeat("z", ZoneBytesMax+1)}, "must be at most 64 bytes"},
		{"an hour that begins at its last second", Schedule{Unit: PerHour, ResetAt: h - time.Second}, ""},
		{"an hour that begins after it", Schedule{Unit: PerHour, ResetAt: h}, "ResetAt=1h0m0s: must be whole seconds in [0, 1h0m0s)"},
		{"a day before its beginning", Schedule{Unit: PerDay, ResetAt: -1}, "ResetAt=-1ns: must be whole seconds in [0, 24h0m0s)"},
		{"a week from Sunday", Schedule{Unit: PerWeek, WeekStart: 7}, ""},
		{"a week from an eighth day", Schedule{Unit: PerWeek, WeekStart: 8}, "WeekStart=8: must be in [1, 7]"},
		{"a day with a day of the week", Schedule{Unit: PerDay, WeekStart: 1}, "WeekStart=1: must be 0"},
		{"a rolling week with a first day", Schedule{Unit: PerWeek, WeekStart: 1, Rolling: 7}, "WeekStart=1: must be 0"},
		{"a month from the 31st", Schedule{Unit: PerMonth, Day: 31}, ""},
		{"a month from the 32nd", Schedule{Unit: PerMonth, Day: 32}, "Day=32: must be in [1, 31]"},
		{"a month with a month", Schedule{Unit: PerMonth, Month: 2}, "Month=2: must be 0: only a quarter or a year has one"},
		{"a year from December", Schedule{Unit: PerYear, Month: 12, Day: 1}, ""},
		{"a year from a thirteenth month", Schedule{Unit: PerYear, Month: 13}, "Month=13: must be in [1, 12]"},
		{"a rolling hour of minutes", Schedule{Unit: PerHour, Rolling: 60}, ""},
		{"a rolling month", Schedule{Unit: PerMonth, Rolling: 30}, "Rolling=30: must be 0: a month has no fixed length"},
		{"a rolling day of one part", Schedule{Unit: PerDay, Rolling: 1}, "Rolling=1: must be in [2, 60]"},
		{"a rolling day of many parts", Schedule{Unit: PerDay, Rolling: 61}, "Rolling=61: must be in [2, 60]"},
		{"a rolling span of short parts", Schedule{Every: 2 * time.Minute, Rolling: 3}, "Rolling=3: must be a number that divides 2m0s into whole seconds, each part at least 1m0s"},
		{"a rolling day of parts of seconds", Schedule{Unit: PerDay, Rolling: 59}, "Rolling=59: must be a number that divides"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := tc.s.Check()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestCanonicalSpellsEquivalentsInOneWay(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		a, b Schedule
		same bool
	}{
		{"no zone and UTC", Schedule{Unit: PerDay}, Schedule{Unit: PerDay, Zone: "UTC"}, true},
		{"a week and one from Monday", Schedule{Unit: PerWeek}, Schedule{Unit: PerWeek, WeekStart: 1}, true},
		{"a week from Monday and one from Sunday", Schedule{Unit: PerWeek}, Schedule{Unit: PerWeek, WeekStart: 7}, false},
		{"a month and one from its first day", Schedule{Unit: PerMonth}, Schedule{Unit: PerMonth, Day: 1}, true},
		{"quarters from January and from October", Schedule{Unit: PerQuarter}, Schedule{Unit: PerQuarter, Month: 10}, true},
		{"quarters from December and from March", Schedule{Unit: PerQuarter, Month: 12}, Schedule{Unit: PerQuarter, Month: 3}, true},
		{"quarters from January and from February", Schedule{Unit: PerQuarter}, Schedule{Unit: PerQuarter, Month: 2}, false},
		{"years from January and from April", Schedule{Unit: PerYear}, Schedule{Unit: PerYear, Month: 4}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := tc.a.Canonical() == tc.b.Canonical(); got != tc.same {
				t.Errorf("%+v and %+v: same = %v", tc.a.Canonical(), tc.b.Canonical(), got)
			}
		})
	}
}
