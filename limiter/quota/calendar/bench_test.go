package calendar_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
)

func TestAtAllocatesNothing(t *testing.T) {
	c := newCalendar(t, limiter.Schedule{Unit: limiter.PerMonth, Zone: "Europe/Berlin", Day: 31, ResetAt: 9 * time.Hour})
	cur, at := c.Cursor(), seconds(t, "2026-01-01T00:00:00Z")
	if n := testing.AllocsPerRun(1000, func() {
		at += 86_400 // into new windows, too
		cur.At(at)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkAt is what a decision pays.
func BenchmarkAt(b *testing.B) {
	c := newCalendar(b, limiter.Schedule{Unit: limiter.PerMonth, Zone: "Europe/Berlin"})
	cur, at := c.Cursor(), seconds(b, "2026-11-27T00:00:00Z")
	b.ReportAllocs()
	for b.Loop() {
		cur.At(at)
	}
}

// BenchmarkWindow is what the first decision of a window pays.
func BenchmarkWindow(b *testing.B) {
	for _, u := range []limiter.CalendarUnit{limiter.PerHour, limiter.PerDay, limiter.PerMonth} {
		b.Run(u.String(), func(b *testing.B) {
			c := newCalendar(b, limiter.Schedule{Unit: u, Zone: "Europe/Berlin"})
			at := seconds(b, "2026-11-27T00:00:00Z")
			b.ReportAllocs()
			for b.Loop() {
				c.Window(at)
				at += 3600
			}
		})
	}
}
