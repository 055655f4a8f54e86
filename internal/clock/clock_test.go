package clock

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

func TestNewClockAgreesWithTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		if got := c.Now().Time(); !got.Equal(time.Now()) {
			t.Fatalf("Now() = %v, want %v", got, time.Now())
		}
		time.Sleep(90 * time.Minute)
		if got := c.Now().Time(); !got.Equal(time.Now()) {
			t.Fatalf("after 90 minutes Now() = %v, want %v", got, time.Now())
		}
	})
}

func TestNowAllocatesNothing(t *testing.T) {
	c := New()
	if n := testing.AllocsPerRun(100, func() { _ = c.Now() }); n != 0 {
		t.Fatalf("allocations = %v, want 0", n)
	}
}

// Readings are in order whatever the wall clock does, also for a reader that
// looks at the segment from before a change or from after it.
func TestTimeNeverRunsBackwards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &Clock{start: time.Now()}
		c.seg.Store(&segment{after: line{at: 1_700_000_000_000_000_000}})
		var mono time.Duration
		last := c.seg.Load().now(0)
		read := func(s *segment) {
			got := s.now(mono)
			if got < last {
				t.Fatalf("now(%v) = %d after %d", mono, got, last)
			}
			last = got
		}
		for range rapid.IntRange(1, 50).Draw(t, "adjustments") {
			before := c.seg.Load()
			skew := time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "skew"))
			c.adjust(mono, before.now(mono).Time().Add(skew))
			after := c.seg.Load()
			for range rapid.IntRange(1, 10).Draw(t, "readings") {
				mono += time.Duration(rapid.Int64Range(0, 5000).Draw(t, "step"))
				if mono < after.after.mono {
					read(before) // has not seen the change yet
				}
				read(after)
			}
			mono += time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "pause"))
			read(after)
		}
	})
}

func TestLinesSlewByPartsPerMillion(t *testing.T) {
	tests := []struct {
		name string
		line line
		mono time.Duration
		want limiter.Instant
	}{
		{"no slew", line{at: 10}, time.Hour, 10 + limiter.Instant(time.Hour)},
		{"fast", line{ppm: 1000}, time.Second, limiter.Instant(time.Second + time.Millisecond)},
		{"slow", line{ppm: -1000}, time.Second, limiter.Instant(time.Second - time.Millisecond)},
		{"a century", line{ppm: 1000}, 100 * 365 * 24 * time.Hour, limiter.Instant(100 * 365 * 24 * (time.Hour + time.Hour/1000))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.line.now(tt.mono); got != tt.want {
				t.Fatalf("now(%v) = %d, want %d", tt.mono, got, tt.want)
			}
		})
	}
}

func TestClockComesBackToASteppedWallClock(t *testing.T) {
	c := New()
	const step = 400 * time.Millisecond
	wall := c.seg.Load().after.at.Time().Add(step)
	var mono time.Duration
	for range 600 { // 400 ms at 1 ms a second, with room
		c.adjust(mono, wall.Add(mono))
		mono += followEvery
	}
	if off := c.seg.Load().now(mono).Time().Sub(wall.Add(mono)).Abs(); off > 10*time.Microsecond {
		t.Fatalf("off by %v after 10 minutes", off)
	}
}

func TestFollowEndsWithItsContextWhileOthersRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { c.Follow(ctx) })
		wg.Go(func() {
			var last limiter.Instant
			for ctx.Err() == nil {
				now := c.Now()
				if now < last {
					t.Errorf("Now() = %d after %d", now, last)
				}
				last = now
				time.Sleep(time.Millisecond)
			}
		})
		time.Sleep(5 * time.Second)
		cancel()
		wg.Wait()
	})
}
