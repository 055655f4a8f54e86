package quota

import (
	"slices"
	"time"

	"github.com/headgate/headgate/limiter"
)

// A Stamper tells a group's leader which time to stamp on an entry, so that a
// clock that jumps can neither open a window too early nor have one forgotten:
// stamps advance by at most 1.02 × the elapsed time + 1 s, unless a majority of
// the voters' clocks have got further. Every voter keeps one; the zero Stamper has
// applied nothing. No promise about units rests on it.
type Stamper struct {
	applied int64           // the highest stamp applied, Unix milliseconds
	base    int64           // what a majority's clocks had reached, Unix milliseconds
	since   limiter.Instant // when that was, on this node's monotonic clock
	agreed  bool            // whether a majority was ever asked
}

// Applied notes the stamp of an entry that was applied here.
func (s *Stamper) Applied(at int64) { s.applied = max(s.applied, at) }

// Agree notes that a majority of the voters' clocks had reached at (see
// [Majority]) when this node's monotonic clock showed now. A leader asks them
// when it is elected, when Stamp suspects its clock, and now and then.
func (s *Stamper) Agree(now limiter.Instant, at int64) {
	s.base, s.since, s.agreed = at, now, true
}

// Stamp returns the stamp for an entry made now, when the wall clock shows wall
// (Unix milliseconds). suspect means that the wall clock is further ahead than it
// may be: the stamp is then as late as it may be.
func (s *Stamper) Stamp(now limiter.Instant, wall int64) (at int64, suspect bool) {
	latest := s.applied
	if s.agreed {
		elapsed := max(0, int64(now.Sub(s.since)/time.Millisecond))
		latest = max(latest, s.base+elapsed+elapsed/50+1000)
	}
	latest = min(latest, 1000*TimeMax)
	return min(max(wall, s.applied), latest), wall > latest
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
