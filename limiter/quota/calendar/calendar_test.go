package calendar_test

import (
	"errors"
	"testing"
	"time"
	_ "time/tzdata" // the same rules on every machine that has none

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota/calendar"
)

func zone(tb testing.TB, name string) *time.Location {
	tb.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		tb.Fatal(err)
	}
	return loc
}

func newCalendar(tb testing.TB, s limiter.Schedule) *calendar.Calendar {
	tb.Helper()
	c, err := calendar.New(s, zone(tb, s.Zone))
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// seconds reads an RFC 3339 time.
func seconds(tb testing.TB, text string) int64 {
	tb.Helper()
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		tb.Fatal(err)
	}
	return t.Unix()
}

// TestHardDates has the dates that calendars are wrong about, as people would
// write them: with the offset that their clocks have.
func TestHardDates(t *testing.T) {
	t.Parallel()
	const h = time.Hour
	for _, tc := range []struct {
		name           string
		s              limiter.Schedule
		at, start, end string
	}{
		{"a month of UTC", limiter.Schedule{Unit: limiter.PerMonth}, "2026-02-10T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"},
		{"the last second of a year", limiter.Schedule{Unit: limiter.PerYear}, "2026-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"the first second of a year", limiter.Schedule{Unit: limiter.PerYear}, "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"},
		{"a year that is new in Auckland while UTC has the old one", limiter.Schedule{Unit: limiter.PerYear, Zone: "Pacific/Auckland"}, "2026-12-31T12:00:00Z", "2027-01-01T00:00:00+13:00", "2028-01-01T00:00:00+13:00"},

		{"a day of 23 hours in Berlin", limiter.Schedule{Unit: limiter.PerDay, Zone: "Europe/Berlin"}, "2026-03-29T12:00:00+02:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"},
		{"a day of 25 hours in Berlin", limiter.Schedule{Unit: limiter.PerDay, Zone: "Europe/Berlin"}, "2026-10-25T02:30:00+01:00", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"},
		{"reset_at in a gap is the end of the gap", limiter.Schedule{Unit: limiter.PerDay, Zone: "Europe/Berlin", ResetAt: 2*h + 30*time.Minute}, "2026-03-29T03:00:00+02:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"},
		{"and the day before ends there", limiter.Schedule{Unit: limiter.PerDay, Zone: "Europe/Berlin", ResetAt: 2*h + 30*time.Minute}, "2026-03-29T01:59:59+01:00", "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"reset_at that comes twice is the first", limiter.Schedule{Unit: limiter.PerDay, Zone: "Europe/Berlin", ResetAt: 2*h + 30*time.Minute}, "2026-10-25T02:15:00+01:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"},
		{"before it the other day goes on", limiter.Schedule{Unit: limiter.PerDay, Zone: "Europe/Berlin", ResetAt: 2*h + 30*time.Minute}, "2026-10-25T02:15:00+02:00", "2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00"},
		{"a midnight that does not exist in São Paulo", limiter.Schedule{Unit: limiter.PerDay, Zone: "America/Sao_Paulo"}, "2018-11-04T01:00:00-02:00", "2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"},
		{"a midnight at which São Paulo is set back to 23:00", limiter.Schedule{Unit: limiter.PerDay, Zone: "America/Sao_Paulo"}, "2018-02-17T23:30:00-03:00", "2018-02-17T00:00:00-02:00", "2018-02-18T00:00:00-03:00"},
		{"a midnight that comes twice in St. John's", limiter.Schedule{Unit: limiter.PerDay, Zone: "America/St_Johns"}, "2010-11-06T23:30:00-03:30", "2010-11-07T00:00:00-02:30", "2010-11-08T00:00:00-03:30"},
		{"the first of a month that comes twice in St. John's", limiter.Schedule{Unit: limiter.PerMonth, Zone: "America/St_Johns", Day: 7}, "2010-11-06T23:01:00-03:30", "2010-11-07T00:00:00-02:30", "2010-12-07T00:00:00-03:30"},

		{"an hour that is skipped", limiter.Schedule{Unit: limiter.PerHour, Zone: "Europe/Berlin"}, "2026-03-29T03:10:00+02:00", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"},
		{"an hour that comes twice, first", limiter.Schedule{Unit: limiter.PerHour, Zone: "Europe/Berlin"}, "2026-10-25T02:10:00+02:00", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"},
		{"an hour that comes twice, again", limiter.Schedule{Unit: limiter.PerHour, Zone: "Europe/Berlin"}, "2026-10-25T02:10:00+01:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"},
		{"half an hour forward on Lord Howe", limiter.Schedule{Unit: limiter.PerHour, Zone: "Australia/Lord_Howe"}, "2026-10-04T02:40:00+11:00", "2026-10-04T02:30:00+11:00", "2026-10-04T03:00:00+11:00"},
		{"half an hour back on Lord Howe", limiter.Schedule{Unit: limiter.PerHour, Zone: "Australia/Lord_Howe"}, "2026-04-05T01:45:00+10:30", "2026-04-05T01:00:00+11:00", "2026-04-05T02:00:00+10:30"},
		{"a day of 23½ hours on Lord Howe", limiter.Schedule{Unit: limiter.PerDay, Zone: "Australia/Lord_Howe"}, "2026-10-04T12:00:00+11:00", "2026-10-04T00:00:00+10:30", "2026-10-05T00:00:00+11:00"},
		{"reset_at in half an hour's gap", limiter.Schedule{Unit: limiter.PerDay, Zone: "Australia/Lord_Howe", ResetAt: 2*h + 15*time.Minute}, "2026-10-04T12:00:00+11:00", "2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"},
		{"two hours on Troll", limiter.Schedule{Unit: limiter.PerDay, Zone: "Antarctica/Troll", ResetAt: 2 * h}, "2026-03-29T03:00:00+02:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"},
		{"hours of Nepal begin at a quarter past", limiter.Schedule{Unit: limiter.PerHour, Zone: "Asia/Kathmandu"}, "2026-06-01T00:20:00Z", "2026-06-01T06:00:00+05:45", "2026-06-01T07:00:00+05:45"},
		{"Nepal moves by a quarter of an hour at a new year", limiter.Schedule{Unit: limiter.PerYear, Zone: "Asia/Kathmandu"}, "1986-01-01T00:15:00+05:45", "1986-01-01T00:15:00+05:45", "1987-01-01T00:00:00+05:45"},
		{"hours with a minute", limiter.Schedule{Unit: limiter.PerHour, Zone: "Asia/Kolkata", ResetAt: 10*time.Minute + time.Second}, "2026-06-01T12:10:00+05:30", "2026-06-01T11:10:01+05:30", "2026-06-01T12:10:01+05:30"},

		{"Apia before the day it skipped", limiter.Schedule{Unit: limiter.PerDay, Zone: "Pacific/Apia"}, "2011-12-29T23:59:59-10:00", "2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00"},
		{"Apia after it", limiter.Schedule{Unit: limiter.PerDay, Zone: "Pacific/Apia"}, "2011-12-31T00:00:00+14:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"},
		{"a month that begins on the day that Apia skipped", limiter.Schedule{Unit: limiter.PerMonth, Zone: "Pacific/Apia", Day: 30, ResetAt: 9 * h}, "2011-12-31T01:00:00+14:00", "2011-12-31T00:00:00+14:00", "2012-01-30T09:00:00+14:00"},
		{"Samoa's week has six days", limiter.Schedule{Unit: limiter.PerWeek, Zone: "Pacific/Apia"}, "2011-12-31T12:00:00+14:00", "2011-12-26T00:00:00-10:00", "2012-01-02T00:00:00+14:00"},
		{"Kwajalein skipped a Saturday", limiter.Schedule{Unit: limiter.PerDay, Zone: "Pacific/Kwajalein"}, "1993-08-22T00:00:00+12:00", "1993-08-22T00:00:00+12:00", "1993-08-23T00:00:00+12:00"},

		{"a leap day", limiter.Schedule{Unit: limiter.PerDay}, "2028-02-29T12:00:00Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"},
		{"the 31st of a February", limiter.Schedule{Unit: limiter.PerMonth, Day: 31}, "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"},
		{"the 31st of a leap February", limiter.Schedule{Unit: limiter.PerMonth, Day: 31}, "2028-02-28T23:59:59Z", "2028-01-31T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"the 31st of an April", limiter.Schedule{Unit: limiter.PerMonth, Day: 31}, "2026-05-01T00:00:00Z", "2026-04-30T00:00:00Z", "2026-05-31T00:00:00Z"},
		{"the 15th at nine, a second before", limiter.Schedule{Unit: limiter.PerMonth, Day: 15, ResetAt: 9 * h, Zone: "America/New_York"}, "2026-03-15T08:59:59-04:00", "2026-02-15T09:00:00-05:00", "2026-03-15T09:00:00-04:00"},
		{"years that begin on the 29th of February", limiter.Schedule{Unit: limiter.PerYear, Month: 2, Day: 29}, "2027-12-31T00:00:00Z", "2027-02-28T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"2100 is no leap year", limiter.Schedule{Unit: limiter.PerYear, Month: 2, Day: 29}, "2100-03-01T00:00:00Z", "2100-02-28T00:00:00Z", "2101-02-28T00:00:00Z"},
		{"2400 is one", limiter.Schedule{Unit: limiter.PerMonth, Day: 31}, "2400-02-29T00:00:00Z", "2400-02-29T00:00:00Z", "2400-03-31T00:00:00Z"},
		{"a fiscal year from April", limiter.Schedule{Unit: limiter.PerYear, Month: 4, Day: 6, Zone: "Europe/London"}, "2026-04-05T23:59:59+01:00", "2025-04-06T00:00:00+01:00", "2026-04-06T00:00:00+01:00"},
		{"a quarter", limiter.Schedule{Unit: limiter.PerQuarter}, "2026-11-27T00:00:00Z", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"quarters from February", limiter.Schedule{Unit: limiter.PerQuarter, Month: 2}, "2026-01-31T00:00:00Z", "2025-11-01T00:00:00Z", "2026-02-01T00:00:00Z"},
		{"quarters from November are those from February", limiter.Schedule{Unit: limiter.PerQuarter, Month: 11, Day: 31}, "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-05-31T00:00:00Z"},
		{"a week from Monday", limiter.Schedule{Unit: limiter.PerWeek}, "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"a week from Sunday", limiter.Schedule{Unit: limiter.PerWeek, WeekStart: 7}, "2026-11-29T00:00:00Z", "2026-11-29T00:00:00Z", "2026-12-06T00:00:00Z"},
		{"a week over a new year", limiter.Schedule{Unit: limiter.PerWeek, ResetAt: 18 * h, WeekStart: 5, Zone: "Asia/Tokyo"}, "2027-01-01T17:59:59+09:00", "2026-12-25T18:00:00+09:00", "2027-01-01T18:00:00+09:00"},

		{"spans count from the epoch", limiter.Schedule{Unit: limiter.PerSpan, Every: 36 * h}, "1970-01-02T12:00:00Z", "1970-01-02T12:00:00Z", "1970-01-04T00:00:00Z"},
		{"spans count from a zone's midnight and do not care for its clocks", limiter.Schedule{Unit: limiter.PerSpan, Every: 24 * h, Zone: "Europe/Berlin", ResetAt: 9 * h}, "2026-07-01T12:00:00+02:00", "2026-07-01T10:00:00+02:00", "2026-07-02T10:00:00+02:00"},
		{"a rolling day of 24 parts", limiter.Schedule{Unit: limiter.PerDay, Rolling: 24}, "2026-07-01T12:34:56Z", "2026-07-01T12:00:00Z", "2026-07-01T13:00:00Z"},
		{"a rolling week of 7 parts", limiter.Schedule{Unit: limiter.PerWeek, Rolling: 7}, "2026-07-01T12:34:56Z", "2026-07-01T00:00:00Z", "2026-07-02T00:00:00Z"},
		{"a rolling span", limiter.Schedule{Unit: limiter.PerSpan, Every: 5 * time.Minute, Rolling: 5}, "2026-07-01T12:34:56Z", "2026-07-01T12:34:00Z", "2026-07-01T12:35:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newCalendar(t, tc.s).Window(seconds(t, tc.at))
			if w.Start != seconds(t, tc.start) || w.End != seconds(t, tc.end) {
				z := zone(t, tc.s.Zone)
				t.Errorf("%s is in [%s, %s), want [%s, %s)", tc.at,
					time.Unix(w.Start, 0).In(z).Format(time.RFC3339), time.Unix(w.End, 0).In(z).Format(time.RFC3339), tc.start, tc.end)
			}
		})
	}
}

func TestMomentsOutsideTheRangeAreInTheNearestWindow(t *testing.T) {
	t.Parallel()
	c := newCalendar(t, limiter.Schedule{Unit: limiter.PerYear, Zone: "Pacific/Honolulu"})
	if got, want := c.Window(-1<<63), c.Window(0); got != want {
		t.Errorf("the first moment is in %v, 1970-01-01 in %v", got, want)
	}
	if got, want := c.Window(1<<63-1), c.Window(seconds(t, "2400-12-31T23:59:59Z")); got != want {
		t.Errorf("the last moment is in %v, the last second of 2400 in %v", got, want)
	}
	if calendar.MomentMax != seconds(t, "2400-12-31T23:59:59Z") {
		t.Error("MomentMax is not the last second of 2400")
	}
}

func TestLengthIsThatOfTheSchedule(t *testing.T) {
	t.Parallel()
	const d = 86_400
	for _, tc := range []struct {
		s    limiter.Schedule
		want int64
	}{
		{limiter.Schedule{Every: 36 * time.Hour}, 36 * 3600},
		{limiter.Schedule{Unit: limiter.PerHour}, 3600},
		{limiter.Schedule{Unit: limiter.PerDay, Zone: "Europe/Berlin"}, d},
		{limiter.Schedule{Unit: limiter.PerDay, Rolling: 24}, 3600},
		{limiter.Schedule{Unit: limiter.PerWeek}, 7 * d},
		{limiter.Schedule{Unit: limiter.PerMonth}, 31 * d},
		{limiter.Schedule{Unit: limiter.PerQuarter}, 92 * d},
		{limiter.Schedule{Unit: limiter.PerYear}, 366 * d},
	} {
		if got := newCalendar(t, tc.s).Length(); got != tc.want {
			t.Errorf("%+v: %d, want %d", tc.s, got, tc.want)
		}
	}
}

func TestIndexCounts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		s    limiter.Schedule
		at   string
		want int64
	}{
		{"days since 1970", limiter.Schedule{Unit: limiter.PerDay, Zone: "Asia/Tokyo"}, "1970-01-03T00:00:00+09:00", 2},
		{"a skipped day has a number of its own", limiter.Schedule{Unit: limiter.PerDay, Zone: "Pacific/Apia"}, "2011-12-31T00:00:00+14:00", 15_339},
		{"months", limiter.Schedule{Unit: limiter.PerMonth}, "2026-11-27T00:00:00Z", 2026*12 + 10},
		{"years", limiter.Schedule{Unit: limiter.PerYear, Month: 4}, "2026-03-31T00:00:00Z", 2025},
		{"quarters", limiter.Schedule{Unit: limiter.PerQuarter}, "2026-04-01T00:00:00Z", 2026*4 + 1},
		{"spans", limiter.Schedule{Unit: limiter.PerSpan, Every: 36 * time.Hour}, "1970-01-04T00:00:00Z", 2},
		{"hours have their start", limiter.Schedule{Unit: limiter.PerHour}, "1970-01-01T01:59:59Z", 3600},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if w := newCalendar(t, tc.s).Window(seconds(t, tc.at)); w.Index != tc.want {
				t.Errorf("%s has index %d, want %d", tc.at, w.Index, tc.want)
			}
		})
	}
}

func TestACursorNeverGoesBack(t *testing.T) {
	t.Parallel()
	c := newCalendar(t, limiter.Schedule{Unit: limiter.PerDay})
	cur := c.Cursor()
	for _, step := range []struct {
		at, want int64
	}{{-1 << 63, 0}, {100, 0}, {86_400, 1}, {86_399, 1}, {0, 1}, {5 * 86_400, 5}, {1 << 62, 157_419}, {0, 157_419}} {
		if w := cur.At(step.at); w.Index != step.want {
			t.Errorf("at %d the cursor is in window %d, want %d", step.at, w.Index, step.want)
		}
	}
}

func TestNewReportsEveryProblem(t *testing.T) {
	t.Parallel()
	c, err := calendar.New(limiter.Schedule{Unit: limiter.PerDay, Every: time.Hour, ResetAt: 24 * time.Hour, Day: 1}, nil)
	var bound *limiter.BoundError
	if c != nil || !errors.As(err, &bound) {
		t.Fatalf("got %v, %v", c, err)
	}
	const want = "limiter: Every=1h0m0s: must be 0: only a span has one\n" +
		"limiter: ResetAt=24h0m0s: must be whole seconds in [0, 24h0m0s)\n" +
		"limiter: Day=1: must be 0: only a month, a quarter or a year has one"
	if err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}

func TestNilMeansUTC(t *testing.T) {
	t.Parallel()
	c, err := calendar.New(limiter.Schedule{Unit: limiter.PerDay}, nil)
	if err != nil || c.Window(86_400) != (calendar.Window{Index: 1, Start: 86_400, End: 172_800}) {
		t.Errorf("got %v, %v", c.Window(86_400), err)
	}
}
