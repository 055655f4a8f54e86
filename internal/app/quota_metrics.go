package app

import (
	"sync"
	"time"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/internal/obs"
	"github.com/headgate/headgate/limiter/quota"
)

// quotaMeters is where metrics find the store while it may be asked. Its lock is held
// while they read, and never while the store opens or ends.
type quotaMeters struct {
	mu      sync.Mutex // guards what follows
	store   *quotaStore
	driver  *grants.Driver
	waiting bool // for room on the disk: there is no store yet
}

// wait has metrics say whether the disk has no room for the store.
func (m *quotaMeters) wait(waiting bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = waiting
}

// watch has metrics read the store from now on; nil: nothing any more.
func (m *quotaMeters) watch(store *quotaStore, driver *grants.Driver) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store, m.driver = store, driver
}

// reading is what metrics say of the store, nil if there is none.
func (m *quotaMeters) reading() *obs.StoreReading {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.store == nil && m.waiting:
		return &obs.StoreReading{Full: true}
	case m.store == nil:
		return nil
	}
	r := new(obs.StoreReading)
	readGroups(r, m.store.groups.Stats().Groups)
	readLines(r, m.driver.Stats())
	for _, l := range m.store.ledgers {
		s := l.Stats()
		r.Granted += s.Granted
		r.Returned += s.Returned
		r.Charged += s.Charged
		r.Credited += s.Credited
	}
	d := m.store.db.Stats()
	r.Full, r.Failed, r.Stalls, r.Slow = d.Full, d.Failed, d.Stalls, d.Slow
	r.Bytes, r.LogBytes, r.DebtBytes = d.Bytes, d.LogBytes, d.DebtBytes
	r.Flushes, r.Compactions = d.Flushes, d.Compactions
	r.Sync = obs.Latencies{Bounds: d.SyncBounds, Counts: d.SyncCounts, Sum: d.SyncSum}
	return r
}

// readGroups takes over the figures of the Raft groups.
func readGroups(r *obs.StoreReading, groups []consensus.GroupStats) {
	bounds := make([]time.Duration, consensus.LatencyBuckets-1)
	for i := range bounds {
		bounds[i] = consensus.LatencyBound(i)
	}
	r.Entry = obs.Latencies{Bounds: bounds, Counts: make([]uint64, consensus.LatencyBuckets)}
	r.Apply = obs.Latencies{Bounds: bounds, Counts: make([]uint64, consensus.LatencyBuckets)}
	add := func(to *obs.Latencies, from *consensus.Latencies) {
		for i, n := range from.Buckets {
			to.Counts[i] += n
		}
		to.Sum += from.Sum
	}
	for i := range groups {
		g := &groups[i]
		reading := obs.GroupReading{
			Leads: g.Role == consensus.Leader, LeaderKnown: g.LeaderID != "",
			Term: g.Term, CommitIndex: g.CommitIndex, AppliedIndex: g.AppliedIndex,
			Voters: uint64(g.Voters), Inflight: uint64(g.Inflight), SinceLeader: g.SinceLeader,
		}
		if g.FirstIndex > 0 {
			reading.LogEntries = g.LastIndex + 1 - min(g.FirstIndex, g.LastIndex+1)
		}
		r.Groups = append(r.Groups, reading)
		r.Applied += g.Proposals.Applied
		r.NotLeader += g.Proposals.NotLeader
		r.Overloaded += g.Proposals.Overloaded
		r.Deadline += g.Proposals.Deadline
		r.Unknown += g.Proposals.Unknown
		r.Refused += g.Proposals.Refused
		r.Snapshots += g.Machine.Snapshots
		r.SnapshotsFailed += g.Machine.SnapshotsFailed
		r.Restores += g.Machine.Restores
		add(&r.Entry, &g.Proposals.Latencies)
		add(&r.Apply, &g.Machine.Applies)
	}
}

// readLines takes over the figures of the driver, which has a line for each group.
func readLines(r *obs.StoreReading, lines grants.Stats) {
	var ends [grants.OpCount][grants.EndCount]uint64
	for g := range lines {
		l := &lines[g]
		r.PoolReads += l.Applied
		r.QueueRefused += l.Refused
		r.SentAgain += l.Again
		if g < len(r.Groups) {
			r.Groups[g].Queued = uint64(l.Waiting)
		}
		for op := range l.Ends {
			for end, n := range l.Ends[op] {
				ends[op][end] += n
			}
		}
	}
	for op := range ends {
		for end, n := range ends[op] {
			// Those that go well are there from the first scrape on, so that a rate starts from 0.
			if named := quota.Op(op).String() != quota.Op(0).String(); n > 0 || named && grants.End(end) == grants.EndDone {
				r.Commands = append(r.Commands, obs.CommandReading{Op: quota.Op(op).String(), End: grants.End(end).String(), Count: n})
			}
		}
	}
}
