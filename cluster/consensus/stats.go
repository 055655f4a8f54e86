package consensus

import (
	"errors"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A Role is a node's part in a group.
type Role uint8

// The roles.
const (
	Follower Role = iota
	Candidate
	Leader
	Stopped
)

// String returns the role in lower case.
func (r Role) String() string {
	switch r {
	case Follower:
		return "follower"
	case Candidate:
		return "candidate"
	case Leader:
		return "leader"
	default:
		return "stopped"
	}
}

// Stats are a Node's figures at one moment.
type Stats struct {
	ConnsIn  int // connections that other nodes opened
	ConnsOut int // connections to other nodes
	Groups   []GroupStats
}

// GroupStats are one group's figures.
type GroupStats struct {
	Group    uint32
	Role     Role
	LeaderID string // empty: nobody is known
	Voters   int

	Term         uint64
	FirstIndex   uint64 // the oldest entry in the log; 0: it is empty, or can't be read
	LastIndex    uint64 // the newest entry in the log
	CommitIndex  uint64 // the newest one that a majority has
	AppliedIndex uint64 // the newest one that the state machine was given

	// SinceLeader is how long ago the leader was heard of: 0 at the leader, -1 if
	// it never was.
	SinceLeader time.Duration

	Inflight  int // calls that wait for raft
	Proposals ProposalStats
	Machine   MachineStats
}

// ProposalStats count what became of the calls of Propose since the start.
type ProposalStats struct {
	Applied    uint64
	NotLeader  uint64
	Overloaded uint64
	Deadline   uint64 // nothing was proposed
	Unknown    uint64
	Refused    uint64 // stopped, too large

	Latencies Latencies // of the applied ones, until the answer
}

// MachineStats count what a group's state machine was given since the start.
type MachineStats struct {
	Applies Latencies // batches of entries, by how long the machine took for each

	Snapshots       uint64 // made here, and stored
	SnapshotsFailed uint64
	Restores        uint64 // snapshots that were taken over, from a leader or at the start
}

// Latencies count how long something took: Buckets[i] took less than
// LatencyBound(i), and no less than the bound before. The last bucket has no bound.
type Latencies struct {
	Buckets [LatencyBuckets]uint64
	Sum     time.Duration
}

// LatencyBuckets is the number of buckets of Latencies.
const LatencyBuckets = 18

// LatencyBound returns the upper bound of bucket i: 64 µs doubled i times.
func LatencyBound(i int) time.Duration { return 64 * time.Microsecond << i }

// latencyBucket returns the bucket that d belongs to.
func latencyBucket(d time.Duration) int {
	return min(bits.Len64(uint64(max(d, 0)/(64*time.Microsecond))), LatencyBuckets-1)
}

// latencies are live Latencies.
type latencies struct {
	buckets [LatencyBuckets]atomic.Uint64
	sum     atomic.Int64
}

func (l *latencies) add(took time.Duration) {
	l.buckets[latencyBucket(took)].Add(1)
	l.sum.Add(int64(took))
}

func (l *latencies) stats() Latencies {
	s := Latencies{Sum: time.Duration(l.sum.Load())}
	for i := range l.buckets {
		s.Buckets[i] = l.buckets[i].Load()
	}
	return s
}

// counters are the live ProposalStats and MachineStats of one group.
type counters struct {
	applied, notLeader, overloaded, deadline, unknown, refused atomic.Uint64

	proposals, applies                   latencies
	snapshots, snapshotsFailed, restores atomic.Uint64
}

// proposed counts one call of Propose.
func (c *counters) proposed(took time.Duration, err error) {
	switch {
	case err == nil:
		c.applied.Add(1)
		c.proposals.add(took)
	case errors.Is(err, ErrUnknown):
		c.unknown.Add(1)
	case errors.Is(err, ErrNotLeader):
		c.notLeader.Add(1)
	case errors.Is(err, ErrOverloaded):
		c.overloaded.Add(1)
	case errors.Is(err, ErrDeadline):
		c.deadline.Add(1)
	default:
		c.refused.Add(1)
	}
}

// stats returns the counts so far.
func (c *counters) stats() (ProposalStats, MachineStats) {
	p := ProposalStats{
		Applied: c.applied.Load(), NotLeader: c.notLeader.Load(), Overloaded: c.overloaded.Load(),
		Deadline: c.deadline.Load(), Unknown: c.unknown.Load(), Refused: c.refused.Load(),
		Latencies: c.proposals.stats(),
	}
	m := MachineStats{
		Applies:   c.applies.stats(),
		Snapshots: c.snapshots.Load(), SnapshotsFailed: c.snapshotsFailed.Load(), Restores: c.restores.Load(),
	}
	return p, m
}

// Stats returns the figures of this moment. Those of a group are read one after
// the other while raft goes on.
func (n *Node) Stats() Stats {
	s := Stats{Groups: make([]GroupStats, 0, len(n.groups))}
	s.ConnsIn, s.ConnsOut = n.mux.open()
	for _, g := range n.groups {
		s.Groups = append(s.Groups, g.stats())
	}
	return s
}

// stats returns the group's figures.
func (g *group) stats() GroupStats {
	s := GroupStats{
		Group: g.id, LeaderID: g.leader().ID, Voters: len(g.voters()),
		Term: g.raft.CurrentTerm(), LastIndex: g.raft.LastIndex(),
		CommitIndex: g.raft.CommitIndex(), AppliedIndex: g.raft.AppliedIndex(),
		SinceLeader: -1,
	}
	s.Proposals, s.Machine = g.counts.stats()
	if first, err := g.log.FirstIndex(); err == nil {
		s.FirstIndex = first
	}
	g.mu.Lock()
	s.Inflight = g.inflight
	g.mu.Unlock()
	switch g.raft.State() {
	case raft.Follower:
		s.Role = Follower
	case raft.Candidate:
		s.Role = Candidate
	case raft.Leader:
		s.Role, s.SinceLeader = Leader, 0
	default:
		s.Role = Stopped
	}
	if last := g.raft.LastContact(); s.Role != Leader && !last.IsZero() {
		s.SinceLeader = time.Since(last)
	}
	return s
}
