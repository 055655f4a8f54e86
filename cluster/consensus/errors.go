package consensus

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// What a proposal, a read or a change of voters can meet. All but ErrUnknown say
// that nothing was proposed; errors.Is finds them in what the methods return.
var (
	// ErrNotLeader: another node leads the group, or nobody does. The error is a
	// NotLeaderError.
	ErrNotLeader = errors.New("consensus: not the leader")

	// ErrOverloaded: Config.InflightMax calls of the group are in flight.
	ErrOverloaded = errors.New("consensus: too many calls in flight")

	// ErrTooLarge: the entry has more than Config.EntryBytesMax bytes.
	ErrTooLarge = errors.New("consensus: entry too large")

	// ErrStopped: the node is stopping.
	ErrStopped = errors.New("consensus: stopped")

	// ErrNoGroup: the node has no such group.
	ErrNoGroup = errors.New("consensus: no such group")

	// ErrDeadline: time was up. Without ErrUnknown beside it nothing was proposed.
	ErrDeadline = errors.New("consensus: deadline passed")

	// ErrUnknown: leadership, the node or the deadline ended while the entry was
	// in flight, or the store failed. It may be applied now, later or never.
	ErrUnknown = errors.New("consensus: outcome unknown")
)

// A NotLeaderError says who leads a group instead of this node.
type NotLeaderError struct {
	Group uint32

	// Leader is who leads, as far as this node knows. The zero Server is nobody:
	// there is an election, or leadership is being transferred.
	Leader Server
}

// Error implements error.
func (e *NotLeaderError) Error() string {
	if e.Leader.ID == "" {
		return fmt.Sprintf("consensus: group %d: no leader is known", e.Group)
	}
	return fmt.Sprintf("consensus: group %d: led by %s at %s", e.Group, e.Leader.ID, e.Leader.Addr)
}

// Is reports whether target is ErrNotLeader.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// meaning translates what a future of raft ended with.
func (g *group) meaning(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return &NotLeaderError{Group: g.id, Leader: g.otherLeader()}
	case errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return &NotLeaderError{Group: g.id}
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: group %d: raft accepted nothing in time", ErrDeadline, g.id)
	default: // leadership lost, shutdown, a store that failed: it may be in somebody's log
		return fmt.Errorf("%w: group %d: %w", ErrUnknown, g.id, err)
	}
}

// otherLeader returns who leads the group, if that is not this node.
func (g *group) otherLeader() Server {
	if s := g.leader(); s.ID != g.cfg.ID {
		return s
	}
	return Server{}
}
