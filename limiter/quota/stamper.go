package quota

import (
	"slices"
	"time"

	"github.com/headgate/headgate/limiter"
)

// A Stamper tells a group's leader what to stamp on an entry: the group's time, by
// which windows are forgotten, and how far the leader's clock is ahead of it, which
// opens them. Every voter keeps one; the zero Stamper has applied nothing. No promise
// about units rests on it.
//
// The group's time advances by at most twice as much as its leaders have run, whatever
// their clocks show: what is lost by forgetting can't be had back. So after a pause it
// is behind, and has made up for it when the group has run for as long again. And a
// clock that is wrong has to be so for two days of running, and two lengths of the
// window, until one that is not over is forgotten: see [Window.Purges].
//
// The clock advances by at most 1.02 × the elapsed time + 1 s, unless a majority of
// the voters' clocks have got further.
type Stamper struct {
	time  int64           // the latest stamped or applied, Unix milliseconds
	ran   limiter.Instant // up to when running has been counted in time; 0: not yet
	clock int64           // the group's, as applied, Unix milliseconds

	base   int64           // what a majority's clocks had reached, Unix milliseconds
	since  limiter.Instant // when that was, on this node's monotonic clock
	agreed bool            // whether a majority was ever asked
}

// catchUp is how much the group's time advances at most while its leader runs.
const catchUp = 2

// Applied notes the time and the clock that the group has now, as entries that were
// applied here left them.
func (s *Stamper) Applied(now limiter.Instant, at, clock int64) {
	if s.ran == 0 || at > s.time {
		s.time, s.ran = at, now
	}
	s.clock = clock
}

// Agree notes that a majority of the voters' clocks had reached at (see
// [Majority]) when this node's monotonic clock showed now. A leader asks them
// when it is elected, when Stamp suspects its clock, and now and then.
func (s *Stamper) Agree(now limiter.Instant, at int64) {
	s.base, s.since, s.agreed = at, now, true
}

// Stamp returns At and Ahead of an entry made now, when the wall clock shows wall
// (Unix milliseconds). suspect means that the wall clock is further ahead than it
// may be: the stamp is then as late as it may be.
func (s *Stamper) Stamp(now limiter.Instant, wall int64) (at, ahead int64, suspect bool) {
	latest := max(s.clock, s.time)
	if s.agreed {
		elapsed := max(0, int64(now.Sub(s.since)/time.Millisecond))
		latest = max(latest, s.base+elapsed+elapsed/50+1000)
	}
	latest = min(latest, 1000*TimeMax)
	clock := min(max(wall, s.time), latest)
	at = s.advance(now, clock)
	return at, clock - at, wall > latest
}

// advance returns the group's time now, which is at most the clock.
func (s *Stamper) advance(now limiter.Instant, clock int64) int64 {
	elapsed := max(0, int64(now.Sub(s.ran)/time.Millisecond))
	switch {
	case s.time == 0 && s.clock == 0: // nothing was recorded that could be forgotten
		s.time, s.ran = clock, now
	case s.time+catchUp*elapsed >= clock:
		s.time, s.ran = clock, now
	default:
		s.time += catchUp * elapsed
		s.ran = s.ran.Add(time.Duration(elapsed) * time.Millisecond)
	}
	return s.time
}

// Majority returns the latest time that a majority of the voters' clocks have
// reached: clocks are those that answered, in any unit, and are reordered.
// It is false if fewer than a majority did.
func Majority(clocks []int64, voters int) (int64, bool) {
	need := voters/2 + 1
	if len(clocks) < need {
		return 0, false
	}
	slices.Sort(clocks)
	return clocks[len(clocks)-need], true
}
