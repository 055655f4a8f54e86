package bench

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAScheduleCountsWhatItSaysIsDue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.1, 1e8).Draw(t, "rate")
		s := schedule{
			interval: float64(time.Second) / rate,
			lanes:    rapid.IntRange(1, 64).Draw(t, "lanes"),
			until:    rapid.Int64Range(1, int64(time.Hour)).Draw(t, "until"),
		}
		now := rapid.Int64Range(-1, int64(2*time.Hour)).Draw(t, "now")
		k := s.count(now)
		due := func(k int64) int64 { return s.due(int(k%int64(s.lanes)), k/int64(s.lanes)) }
		if k > 0 && (due(k-1) > now || due(k-1) >= s.until) {
			t.Fatalf("count(%d) = %d, but the last is due at %d, until %d", now, k, due(k-1), s.until)
		}
		if next := due(k); next <= now && next < s.until {
			t.Fatalf("count(%d) = %d, but the next is due at %d already", now, k, next)
		}
	})
}

func TestLanesShareAllThatIsDue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := rapid.IntRange(1, 20).Draw(t, "lanes")
		p := &plan{schedule: schedule{interval: 1000, lanes: lanes, until: 1 << 40}}
		now := rapid.Int64Range(0, 1_000_000).Draw(t, "now")
		var sum int64
		for i := range lanes {
			l := &lane{plan: p, number: i}
			waiting := l.waiting(now)
			for j := range waiting {
				if p.schedule.due(i, j) > now {
					t.Fatalf("lane %d counts its request %d, which is not due", i, j)
				}
			}
			sum += waiting
		}
		if sum != p.schedule.count(now) {
			t.Fatalf("the lanes have %d requests due, the schedule %d", sum, p.schedule.count(now))
		}
	})
}
