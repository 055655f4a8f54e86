package calendar_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota/calendar"
)

// A watcher is the rule of the package, said as plainly as possible: somebody
// looks at the clock on the wall every step, remembers the latest time that it
// has shown, and turns a leaf whenever that reaches a beginning. It knows time
// zones only by what their clocks show, and no arithmetic of months.
type watcher struct {
	s    limiter.Schedule
	zone *time.Location
	step time.Duration // divides every moment at which a clock is set, and ResetAt
}

// wall returns what the clock shows, as if it hung in Greenwich.
func (w watcher) wall(t time.Time) time.Time {
	_, offset := t.In(w.zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// begins reports whether a window begins when the clock first shows wall.
func (w watcher) begins(wall time.Time) bool {
	if w.s.Unit == limiter.PerHour {
		return wall.Sub(wall.Truncate(time.Hour)) == w.s.ResetAt
	}
	date := wall.Truncate(24 * time.Hour)
	if wall.Sub(date) != w.s.ResetAt {
		return false
	}
	lastOfMonth := date.AddDate(0, 0, 1).Month() != date.Month()
	day := max(1, int(w.s.Day))
	dayFits := date.Day() == day || lastOfMonth && date.Day() < day
	month := max(1, int(w.s.Month))
	switch w.s.Unit {
	case limiter.PerDay:
		return true
	case limiter.PerWeek:
		return int(date.Weekday()) == max(1, int(w.s.WeekStart))%7
	case limiter.PerMonth:
		return dayFits
	case limiter.PerQuarter:
		return dayFits && (int(date.Month())-month+12)%3 == 0
	default:
		return dayFits && int(date.Month()) == month
	}
}

// turns reports whether a leaf is turned at t, given the latest time shown
// before; it returns the latest time then.
func (w watcher) turns(t, latest time.Time) (bool, time.Time) {
	shown := w.wall(t)
	if w.s.Unit == limiter.PerHour && !shown.After(latest) { // set back: hours come twice
		latest = shown.Add(-w.step)
	}
	for latest.Before(shown) {
		latest = latest.Add(w.step)
		if w.begins(latest) {
			for latest.Before(shown) {
				latest = latest.Add(w.step)
			}
			return true, latest
		}
	}
	return false, latest
}

// window returns the window of t, which is a multiple of step.
func (w watcher) window(t time.Time) (start, end time.Time) {
	at := t.Add(-w.s.Length() - 4*24*time.Hour)
	latest := w.wall(at)
	for {
		at = at.Add(w.step)
		var turned bool
		turned, latest = w.turns(at, latest)
		switch {
		case turned && at.After(t):
			return start, at
		case turned:
			start = at
		}
	}
}

// drawSchedule draws what a policy may say, with times of day that step divides.
func drawSchedule(t *rapid.T, units []limiter.CalendarUnit, step time.Duration) limiter.Schedule {
	s := limiter.Schedule{Unit: rapid.SampledFrom(units).Draw(t, "unit")}
	before := 24 * time.Hour
	if s.Unit == limiter.PerHour {
		before = time.Hour
	}
	clock := rapid.OneOf(rapid.Just(time.Duration(0)), rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(before/step)-1).Draw(t, "steps")) * step
	}))
	if step < time.Hour { // most clocks are set between midnight and three
		clock = rapid.OneOf(clock, rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(min(before, 4*time.Hour)/step)-1).Draw(t, "early")) * step
		}))
	}
	s.ResetAt = clock.Draw(t, "reset_at")
	if s.Unit == limiter.PerWeek {
		s.WeekStart = rapid.Uint8Range(0, 7).Draw(t, "week_start")
	}
	if s.Unit >= limiter.PerMonth {
		s.Day = rapid.OneOf(rapid.Uint8Range(0, 31), rapid.Uint8Range(28, 31)).Draw(t, "day")
	}
	if s.Unit >= limiter.PerQuarter {
		s.Month = rapid.Uint8Range(0, 12).Draw(t, "month")
	}
	return s
}

// drawMoment draws a multiple of step, often near one at which the zone's clocks
// are set.
func drawMoment(t *rapid.T, loc *time.Location, step time.Duration) time.Time {
	// From 1982 to 2399: before, there were offsets of odd minutes and even seconds.
	const from, until = 378_691_200, 13_569_465_600
	at := time.Unix(rapid.OneOf(rapid.Int64Range(from, until-1), rapid.Int64Range(from, 2_000_000_000)).Draw(t, "moment"), 0).In(loc)
	if _, set := at.ZoneBounds(); rapid.Bool().Draw(t, "near") && !set.IsZero() && set.Unix() < until {
		at = set.Add(time.Duration(rapid.Int64Range(-60, 60).Draw(t, "half hours")) * 30 * time.Minute)
	}
	return time.Unix(at.Unix()-at.Unix()%int64(step/time.Second), 0)
}

// oddZones have the clocks that are hard to follow.
func oddZones() []string {
	return []string{
		"UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/Sao_Paulo", "America/Havana",
		"Australia/Lord_Howe", "Antarctica/Troll", "Antarctica/Casey", "Asia/Kathmandu", "Asia/Pyongyang", "Asia/Gaza", "Asia/Tehran",
		"Pacific/Apia", "Pacific/Kwajalein", "Pacific/Kiritimati", "Pacific/Chatham", "Africa/Casablanca", "Africa/Cairo", "America/Caracas",
		"America/Godthab", "Atlantic/Azores",
	}
}

func checkAgainstWatcher(t *rapid.T, s limiter.Schedule, step time.Duration) {
	loc, err := time.LoadLocation(s.Zone)
	if err != nil {
		t.Fatal(err)
	}
	c, err := calendar.New(s, loc)
	if err != nil {
		t.Fatal(err)
	}
	at := drawMoment(t, loc, step)
	start, end := watcher{s, loc, step}.window(at)
	if w := c.Window(at.Unix()); w.Start != start.Unix() || w.End != end.Unix() {
		t.Fatalf("%s of %+v: got [%s, %s), the watcher saw [%s, %s)", at.In(loc), s,
			time.Unix(w.Start, 0).In(loc), time.Unix(w.End, 0).In(loc), start.In(loc), end.In(loc))
	}
}

func TestShortWindowsAreWhatAWatcherSees(t *testing.T) {
	t.Parallel()
	zones := append(oddZones(), "America/St_Johns") // set at one minute past midnight
	rapid.Check(t, func(t *rapid.T) {
		s := drawSchedule(t, []limiter.CalendarUnit{limiter.PerHour, limiter.PerDay, limiter.PerDay, limiter.PerWeek}, time.Minute)
		s.Zone = rapid.SampledFrom(zones).Draw(t, "zone")
		checkAgainstWatcher(t, s, time.Minute)
	})
}

func TestLongWindowsAreWhatAWatcherSees(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawSchedule(t, []limiter.CalendarUnit{limiter.PerMonth, limiter.PerMonth, limiter.PerQuarter, limiter.PerYear}, 15*time.Minute)
		s.Zone = rapid.SampledFrom(oddZones()).Draw(t, "zone")
		checkAgainstWatcher(t, s, 15*time.Minute)
	})
}

// tiles checks what holds of every calendar around t.
func tiles(tb rapid.TB, c *calendar.Calendar, t int64) {
	w := c.Window(t)
	if inside := min(max(t, calendar.MomentMin), calendar.MomentMax); !w.Contains(inside) {
		tb.Fatalf("%d is not in its window %v", inside, w)
	}
	for _, edge := range []int64{w.Start, w.End - 1, w.Start + (w.End-w.Start)/2} {
		if edge >= calendar.MomentMin && edge <= calendar.MomentMax && c.Window(edge) != w {
			tb.Fatalf("%d is in %v, and so is %d, whose window is %v", edge, w, t, c.Window(edge))
		}
	}
	if next := c.Window(w.End); w.End <= calendar.MomentMax && (next.Start != w.End || next.Index <= w.Index) {
		tb.Fatalf("%v is followed by %v", w, next)
	}
	if last := c.Window(w.Start - 1); w.Start > calendar.MomentMin && (last.End != w.Start || last.Index >= w.Index) {
		tb.Fatalf("%v follows %v", w, last)
	}
}

func TestWindowsTileTime(t *testing.T) {
	t.Parallel()
	zones := append(oddZones(), "America/St_Johns", "Africa/Monrovia")
	units := []limiter.CalendarUnit{limiter.PerHour, limiter.PerDay, limiter.PerWeek, limiter.PerMonth, limiter.PerQuarter, limiter.PerYear}
	rapid.Check(t, func(t *rapid.T) {
		s := drawSchedule(t, units, time.Second)
		s.Zone = rapid.SampledFrom(zones).Draw(t, "zone")
		loc, err := time.LoadLocation(s.Zone)
		if err != nil {
			t.Fatal(err)
		}
		c, err := calendar.New(s, loc)
		if err != nil {
			t.Fatal(err)
		}
		for range 15 {
			tiles(t, c, rapid.Int64Range(calendar.MomentMin-1e9, calendar.MomentMax+1e9).Draw(t, "t"))
			tiles(t, c, drawMoment(t, loc, time.Second).Unix())
		}
	})
}

// TestEveryWindowOfManyYearsFollowsTheLast walks from window to window, which
// reaches every clock change.
func TestEveryWindowOfManyYearsFollowsTheLast(t *testing.T) {
	t.Parallel()
	until := seconds(t, "2040-01-01T00:00:00Z")
	for _, name := range append(oddZones(), "America/St_Johns", "Africa/Monrovia") {
		for _, s := range []limiter.Schedule{
			{Unit: limiter.PerHour},
			{Unit: limiter.PerDay},
			{Unit: limiter.PerDay, ResetAt: 2*time.Hour + 30*time.Minute},
			{Unit: limiter.PerDay, ResetAt: 23*time.Hour + 30*time.Minute + time.Second},
		} {
			s.Zone = name
			c := newCalendar(t, s)
			w := c.Window(0)
			for n := 0; w.Start < until; n++ {
				next := c.Window(w.End)
				if next.Start != w.End || next.Index <= w.Index {
					t.Fatalf("%+v: %v is followed by %v", s, w, next)
				}
				if n%7 == 0 && c.Window(w.End-1) != w {
					t.Fatalf("%+v: the last second of %v is in %v", s, w, c.Window(w.End-1))
				}
				if w = next; s.Unit == limiter.PerHour && n%500 == 499 {
					w = c.Window(w.End + 86_400*20) // not all of 600,000 hours
				}
			}
		}
	}
}

func FuzzWindow(f *testing.F) {
	f.Add(uint8(2), uint8(2), uint32(9000), uint8(15), int64(1_774_746_000))
	f.Add(uint8(4), uint8(14), uint32(0), uint8(31), int64(1_325_239_200))
	f.Add(uint8(1), uint8(7), uint32(900), uint8(0), int64(1_775_314_800))
	f.Add(uint8(0), uint8(1), uint32(3600), uint8(5), int64(-1))
	f.Fuzz(func(t *testing.T, unit, zoneNumber uint8, reset uint32, day uint8, at int64) {
		zones := oddZones()
		s := limiter.Schedule{Unit: limiter.CalendarUnit(unit), Zone: zones[int(zoneNumber)%len(zones)], ResetAt: time.Duration(reset) * time.Second}
		switch s.Unit {
		case limiter.PerSpan:
			s.Every = time.Duration(day) * 61 * time.Second
		case limiter.PerWeek:
			s.WeekStart = day
		case limiter.PerMonth:
			s.Day = day
		case limiter.PerQuarter, limiter.PerYear:
			s.Day, s.Month = day, 1+day%12
		default:
		}
		c, err := calendar.New(s, zone(t, s.Zone))
		if (err == nil) != (s.Check() == nil) {
			t.Fatalf("Check and New differ: %v", err)
		}
		if err == nil {
			tiles(t, c, at)
		}
	})
}
