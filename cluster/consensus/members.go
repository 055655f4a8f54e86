package consensus

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Voters returns the group's voters in the newest configuration that this node
// knows; it need not be committed yet. Nil: there is no such group, or it has none.
func (n *Node) Voters(id uint32) []Server {
	g, err := n.group(id)
	if err != nil {
		return nil
	}
	return g.voters()
}

// AddLearner sends the group's log to a node that does not vote, so that it has
// caught up before it is made a voter. Only the leader can.
func (n *Node) AddLearner(ctx context.Context, id uint32, s Server) error {
	return n.add(ctx, id, func(r *raft.Raft, left time.Duration) raft.IndexFuture {
		return r.AddNonvoter(raft.ServerID(s.ID), raft.ServerAddress(s.Addr), 0, left)
	})
}

// AddVoter gives a node a vote, or a voter a new address. From then on it counts
// for the majority, even if it has no entry yet: AddLearner first. Only the leader
// can, and one change at a time.
func (n *Node) AddVoter(ctx context.Context, id uint32, s Server) error {
	return n.add(ctx, id, func(r *raft.Raft, left time.Duration) raft.IndexFuture {
		return r.AddVoter(raft.ServerID(s.ID), raft.ServerAddress(s.Addr), 0, left)
	})
}

// RemoveServer takes a node out of the group, voter or not. A leader that removes
// itself steps down when that is committed. Only the leader can.
func (n *Node) RemoveServer(ctx context.Context, id uint32, server string) error {
	return n.change(ctx, id, func(r *raft.Raft, left time.Duration) raft.IndexFuture {
		return r.RemoveServer(raft.ServerID(server), 0, left)
	})
}

// Transfer gives leadership of the group to a voter; the zero Server stands for
// the one that has most of the log. While it lasts, at most Config.Heartbeat,
// nothing is accepted. Only the leader can.
func (n *Node) Transfer(ctx context.Context, id uint32, to Server) error {
	g, err := n.group(id)
	if err != nil {
		return err
	}
	return g.transfer(ctx, to)
}

// add is change for members that this node has to reach.
func (n *Node) add(ctx context.Context, id uint32, start func(*raft.Raft, time.Duration) raft.IndexFuture) error {
	if n.cfg.Listener == nil { // two voters, and no majority ever again
		return fmt.Errorf("consensus: add a member to group %d: %w", id, errAlone)
	}
	return n.change(ctx, id, start)
}

// change has a change of the group's members committed.
func (n *Node) change(ctx context.Context, id uint32, start func(*raft.Raft, time.Duration) raft.IndexFuture) error {
	g, err := n.group(id)
	if err != nil {
		return err
	}
	_, err = g.call(ctx, func(left time.Duration) raft.Future { return start(g.raft, left) })
	if err != nil {
		return fmt.Errorf("consensus: change members: %w", err)
	}
	return nil
}
