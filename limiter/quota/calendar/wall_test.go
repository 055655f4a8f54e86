package calendar

import (
	"testing"
	"time"
	_ "time/tzdata" // the same rules on every machine that has none

	"github.com/headgate/headgate/limiter"
)

// TestAStretchContainsItsMoments has every day of years for which there are only
// rules, no list of dates: package time says that the last day of a leap year is
// not in the stretch that it is in, and walking on by seconds takes 100 ms.
func TestAStretchContainsItsMoments(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Europe/Berlin", "Pacific/Auckland", "America/New_York", "America/Sao_Paulo"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(limiter.Schedule{Unit: limiter.PerDay}, zone)
		if err != nil {
			t.Fatal(err)
		}
		for at := time.Date(2039, 1, 1, 6, 0, 0, 0, time.UTC); at.Year() < 2050; at = at.AddDate(0, 0, 1) {
			s := c.stretch(at.Unix())
			onlySeconds := at.YearDay() == 366 && s.until < at.Unix()+day/2
			if s.from > at.Unix() || s.until <= at.Unix() || onlySeconds {
				t.Errorf("%s: at %s the stretch is %v", name, at, s)
			}
			if _, offset := time.Unix(s.until-1, 0).In(zone).Zone(); s.until < 1<<62 && int64(offset) != s.offset {
				t.Errorf("%s: at %s the stretch is %v, at whose end the offset is %d", name, at, s, offset)
			}
		}
	}
}
