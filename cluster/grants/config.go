package grants

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// Bounds of a Config.
const (
	QueueLimit   = 1 << 20
	TimeoutMin   = 10 * time.Millisecond
	TimeoutLimit = time.Minute
	GatherLimit  = time.Second
)

// Groups are the Raft groups: a consensus.Node, or a simulator's.
type Groups interface {
	// Propose has an entry committed and applied, and returns what the group's
	// state machine made of it.
	Propose(ctx context.Context, group uint32, entry []byte) (any, error)
	// Leads reports whether this node leads the group, as far as it knows.
	Leads(group uint32) bool
	// Current reports whether it does, and has applied all that was committed before.
	Current(group uint32) bool
	// Leader returns who does, as far as it is known.
	Leader(group uint32) (consensus.Server, bool)
	// Voters returns the group's voters.
	Voters(group uint32) []consensus.Server
}

// A Ledger is what this node has applied.
type Ledger interface {
	// Time and Clock return what quota.Group has of the group, in Unix milliseconds.
	Time(group uint32) int64
	Clock(group uint32) int64
	// Answer returns what the ledger answers to c, if c would change nothing.
	Answer(group uint32, c *quota.Command) (quota.Result, bool)
}

// A Config says what a Driver works with. ID, Groups, Ledger, Now and Wall have no
// default; a zero number or time stands for its default.
type Config struct {
	ID     string // this node's, as in Groups
	Groups Groups
	Ledger Ledger

	// Now is the node's clock, and Wall its wall clock in Unix milliseconds.
	Now  func() limiter.Instant
	Wall func() int64

	// Forward sends commands of several groups to the node that leads them, and sets what
	// became of each part. Nil: commands of groups that are led elsewhere are lost.
	Forward func(ctx context.Context, to consensus.Server, parts []*Part)

	// Clock asks a voter for its wall clock, in Unix milliseconds. Nil: of several
	// voters none agrees, and the time of their groups stands still.
	Clock func(ctx context.Context, of consensus.Server) (int64, error)

	// QueueMax bounds the commands of one group that wait to be sent; one more is
	// refused. Default 65,536, at most QueueLimit.
	QueueMax int

	// Timeout bounds one entry, and one message to a leader. Default 2 s.
	Timeout time.Duration

	// Gather is how long a command waits for others that is asked for ahead of need,
	// so that fewer entries have more of them. Default 50 ms, at most GatherLimit.
	Gather time.Duration

	// Events are told what happens. The zero value tells nobody.
	Events Events
}

// Events are told what happens; each may be nil. They are called on the goroutine
// of a group and must return at once.
type Events struct {
	// Failed: an entry of the group, of so many commands, got no answer.
	Failed func(group uint32, commands int, err error)

	// ClockSuspect: this node leads the group, and its wall clock is ahead of what
	// a majority of the voters' clocks allow, by so much. Entries are stamped with
	// the latest time that is allowed.
	ClockSuspect func(group uint32, ahead time.Duration)
}

// Default returns the settings that zero fields stand for.
func Default() Config {
	return Config{QueueMax: 1 << 16, Timeout: 2 * time.Second, Gather: 50 * time.Millisecond}
}

// withDefaults returns c with every zero field set to its default.
func (c Config) withDefaults() Config {
	d := Default()
	if c.QueueMax == 0 {
		c.QueueMax = d.QueueMax
	}
	if c.Timeout == 0 {
		c.Timeout = d.Timeout
	}
	if c.Gather == 0 {
		c.Gather = d.Gather
	}
	return c
}

// Validate reports every field that is missing or out of bounds, joined.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	for _, f := range []struct {
		field   string
		missing bool
	}{
		{"ID", c.ID == ""},
		{"Groups", c.Groups == nil},
		{"Ledger", c.Ledger == nil},
		{"Now", c.Now == nil},
		{"Wall", c.Wall == nil},
	} {
		if f.missing {
			errs = append(errs, fmt.Errorf("grants: %s: must be given", f.field))
		}
	}
	if c.QueueMax < 1 || c.QueueMax > QueueLimit {
		errs = append(errs, fmt.Errorf("grants: QueueMax=%d: must be in [1, %d]", c.QueueMax, QueueLimit))
	}
	if c.Timeout < TimeoutMin || c.Timeout > TimeoutLimit {
		errs = append(errs, fmt.Errorf("grants: Timeout=%s: must be in [%s, %s]", c.Timeout, TimeoutMin, TimeoutLimit))
	}
	if c.Gather < 0 || c.Gather > GatherLimit {
		errs = append(errs, fmt.Errorf("grants: Gather=%s: must be in [0s, %s]", c.Gather, GatherLimit))
	}
	return errors.Join(errs...)
}
