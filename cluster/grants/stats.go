package grants

import "github.com/headgate/headgate/limiter/quota"

// Stats are a Driver's figures, by group.
type Stats [quota.Groups]LineStats

// LineStats are one group's figures. All but Waiting count since the start.
type LineStats struct {
	Waiting  int    // commands that wait to be sent
	Refused  uint64 // commands that found no room
	Entries  uint64 // proposed and answered
	Commands uint64 // in those
	Applied  uint64 // commands that were answered from applied state, without an entry
	Sent     uint64 // commands that another node answered
	Again    uint64 // commands that failed and were sent again
	Lost     uint64 // commands that got no answer
	Suspect  uint64 // entries that the wall clock was too far ahead for

	// Ends counts this node's own commands by operation and how they ended.
	Ends [OpCount][EndCount]uint64
}

// OpCount is more than the highest quota.Op.
const OpCount = int(quota.OpJoin) + 1

// An End is how a command ended.
type End uint8

// The ends.
const (
	EndDone       End = iota // also if it had been done before
	EndExhausted             // there were too few units
	EndRefused               // any other code of the ledger
	EndUnanswered            // whether it was done is not known
	EndLate                  // it was not sent: nobody waited for it any more
	endCount
)

// EndCount is the number of ends.
const EndCount = int(endCount)

// String returns the end's name.
func (e End) String() string {
	switch e {
	case EndDone:
		return "done"
	case EndExhausted:
		return "exhausted"
	case EndRefused:
		return "refused"
	case EndLate:
		return "late"
	default:
		return "unanswered"
	}
}

// endOf returns how a command ended that was answered with code.
func endOf(code quota.Code) End {
	switch code {
	case quota.OK:
		return EndDone
	case quota.Exhausted:
		return EndExhausted
	default:
		return EndRefused
	}
}

// ended counts the end of an item, unless it is another node's.
func (s *LineStats) ended(it *item, e End) {
	if op := int(it.command.Op); !it.served && op < OpCount {
		s.Ends[op][e]++
	}
}

// Stats returns the figures of this moment.
func (d *Driver) Stats() (s Stats) {
	for g, l := range d.lines {
		s[g] = l.stats()
	}
	return s
}
