package quota

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

// A span of days and of years, in milliseconds.
const (
	dayMS  = int64(86_400_000)
	yearMS = 365 * dayMS
)

func TestTheGroupsTimeAdvancesByAtMostTwiceAsMuchAsItsLeadersRun(t *testing.T) {
	const began = 1_800_000_000_000
	type step struct {
		name      string
		restarted bool  // by a process that has only what was applied
		ran       int64 // since the step before, milliseconds
		wall      int64 // behind began
		time      int64 // the group's after it, behind began
	}
	for name, steps := range map[string][]step{
		"an empty group begins with its clock": {
			{"first", true, 0, 0, 0},
			{"and follows it", false, dayMS, dayMS, dayMS},
		},
		"a clock that jumps a year ahead and back": {
			{"first", true, 0, 0, 0},
			{"an hour later", false, dayMS / 24, yearMS, dayMS / 12},
			{"in small steps", false, 1, yearMS, dayMS/12 + 2},
			{"back", false, 0, dayMS / 24, dayMS/12 + 2},
			{"until it gets there", false, dayMS / 24, dayMS / 12, dayMS/12 + 2},
			{"and on", false, 1000, dayMS/12 + 1000, dayMS/12 + 1000},
		},
		"a start with a clock a year ahead": {
			{"first", true, 0, 0, 0},
			{"the start", true, 0, yearMS, 0},
			{"a minute later", false, 60_000, yearMS + 60_000, 120_000},
			{"the next", true, 0, 120_000, 120_000},
			{"as if nothing had been", false, dayMS, 120_000 + dayMS, 120_000 + dayMS},
		},
		"off for 90 days": {
			{"first", true, 0, 0, 0},
			{"the start", true, 0, 90 * dayMS, 0},
			{"after 45 days half of it is made up for", false, 45 * dayMS, 135 * dayMS, 90 * dayMS},
			{"after 90 days all", false, 45 * dayMS, 180 * dayMS, 180 * dayMS},
		},
		"a clock that is behind at the start": {
			{"first", true, 0, 0, 0},
			{"the start", true, 0, -yearMS, 0},
			{"a day later", false, dayMS, dayMS - yearMS, 0},
			{"set right", false, 0, dayMS, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s Stamper
			var g Group
			now := limiter.Instant(1)
			for _, step := range steps {
				if step.restarted {
					s, now = Stamper{}, 1
				}
				now = now.Add(time.Duration(step.ran) * time.Millisecond)
				wall := began + step.wall
				s.Applied(now, g.Time(), g.Clock())
				s.Agree(now, wall)
				at, ahead, suspect := s.Stamp(now, wall)
				g.Begin(&Batch{At: at, Ahead: ahead})
				if g.Time() != began+step.time || suspect {
					t.Errorf("%s: the time is %d, want %d, suspect %v", step.name, g.Time()-began, step.time, suspect)
				}
				if want := began + max(step.wall, step.time); g.Clock() != want {
					t.Errorf("%s: the clock shows %d, want %d", step.name, g.Clock()-began, want-began)
				}
			}
		})
	}
}

// A clock has to be wrong for two days of running, and two lengths of a window, until a
// window that is not over is forgotten; whatever it shows, and however often the node
// is started.
func TestNoClockForgetsAWindowThatIsNotOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moment := int64(1_800_000_000_000) // what a right clock shows, Unix milliseconds
		var g Group
		g.Advance(moment)
		var s Stamper
		now, off, wrong := limiter.Instant(1), int64(0), int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			run := rapid.Int64Range(0, 3*dayMS).Draw(t, "runs for")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0: // off
				moment += rapid.Int64Range(0, yearMS).Draw(t, "is off for")
				s, now, run = Stamper{}, 1, 0
			case 1: // set
				off = rapid.Int64Range(-2*yearMS, 2*yearMS).Draw(t, "clock off by")
			case 2:
				off = 0
			}
			moment, now = moment+run, now.Add(time.Duration(run)*time.Millisecond)
			if off > 0 {
				wrong += run
			}
			s.Applied(now, g.Time(), g.Clock())
			s.Agree(now, moment+off)
			at, ahead, _ := s.Stamp(now, moment+off)
			g.Begin(&Batch{At: at, Ahead: ahead})
			for _, length := range []int64{3600, 86_400, 31 * 86_400, 366 * 86_400} {
				start := moment / 1000 / length * length
				w := Window{Start: start, End: start + length}
				if g.Purged(w) && wrong < max(2*dayMS, 2000*length) {
					t.Fatalf("a window of %d s is forgotten, after the clock was wrong for %d ms", length, wrong)
				}
				if off == 0 && g.Clock() < 1000*start {
					t.Fatalf("a window of %d s is not open: the clock shows %d, it is %d", length, g.Clock(), moment)
				}
			}
		}
	})
}

func TestWindowsOpenByTheClockAndAreForgottenByTheTime(t *testing.T) {
	today := Window{Start: 1000 * 86_400, End: 1001 * 86_400}
	ask := func(w Window) *Command {
		return &Command{Op: OpEnsure, Window: w, Holder: Holder{Tenure: 1}}
	}
	noon := 1000*dayMS + dayMS/2
	var g Group
	for _, step := range []struct {
		name      string
		at, ahead int64
		day       int // from today
		want      Code
	}{
		{"a year is opened by a clock that is ahead", noon, yearMS, 365, OK},
		{"and does not end today", noon, yearMS, 0, OK},
		{"a clock that is set back closes it", noon + 1, 0, 365, Early},
		{"an entry that comes late moves the clock, and not the time", noon, 2 * dayMS, 1, OK},
		{"time forgets", noon + 4*dayMS, 0, 0, Purged},
	} {
		g.Begin(&Batch{At: step.at, Ahead: step.ahead})
		if got := g.Refuses(ask(today.Near(step.day))); got != step.want {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
	}
}
