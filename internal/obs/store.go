package obs

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A StoreReading is the state of where quotas are recorded: the Raft groups of the
// node, their ledgers, and the database under all of them.
type StoreReading struct {
	Groups   []GroupReading
	Commands []CommandReading // of this node's holders and operators

	PoolReads    uint64 // commands that were answered from what is applied
	QueueRefused uint64 // commands that found no room in their group's queue
	SentAgain    uint64 // commands that got no answer and were sent again

	// Units that moved between pools and those who spend them.
	Granted, Returned, Charged, Credited uint64

	// Entries this node proposed, by what became of them.
	Applied, NotLeader, Overloaded, Deadline, Unknown, Refused uint64

	Snapshots, SnapshotsFailed, Restores uint64

	Entry Latencies // from a proposal until it is applied here
	Apply Latencies // of the state machine, by batch
	Sync  Latencies // of the write-ahead log

	Full, Failed               bool
	Bytes, LogBytes, DebtBytes uint64
	Flushes, Compactions       uint64
	Stalls, Slow               uint64
}

// A GroupReading is the state of one Raft group. Its number is its place in the list.
type GroupReading struct {
	Leads, LeaderKnown                   bool
	Term, CommitIndex, AppliedIndex      uint64
	LogEntries, Voters, Inflight, Queued uint64
	SinceLeader                          time.Duration // -1: it was never heard of
}

// A CommandReading counts the commands of one operation that ended in one way.
type CommandReading struct {
	Op, End string
	Count   uint64
}

// Latencies count how long something took: Counts[i] at most Bounds[i], and more than
// the bound before. Counts has one more, without a bound.
type Latencies struct {
	Bounds []time.Duration
	Counts []uint64
	Sum    time.Duration
}

// store turns a StoreReading into metrics. There are none of them while the node
// keeps no quotas.
type store struct {
	read func() *StoreReading

	commands, again, reads, units, refused, entry, apply                              *prometheus.Desc
	queued, term, leads, known, contact, commit, applied, entries, voters, inflight   *prometheus.Desc
	proposals, snapshots                                                              *prometheus.Desc
	sync, full, failed, bytes, logBytes, debtBytes, flushes, compactions, stall, slow *prometheus.Desc
}

func newStore(read func() *StoreReading) *store {
	return &store{
		read: read,

		commands: desc("quota_commands_total", "Commands that this node gave to the quota log, by operation and how they ended.", "op", "end"),
		again:    desc("quota_commands_again_total", "Times that a command got no answer and was sent again."),
		reads:    desc("quota_pool_reads_total", "Commands that were answered from what is applied, without an entry."),
		units:    desc("quota_pool_units_total", "Units that moved between pools and those who spend them.", "what"),
		refused:  desc("quota_queue_refused_total", "Commands that found no room in their group's queue."),
		queued:   desc("quota_queue_commands", "Commands that wait to become part of an entry.", "group"),
		entry:    desc("quota_entry_seconds", "Time from the proposal of an entry until it is committed and applied."),
		apply:    desc("quota_apply_seconds", "Time that a batch of entries took to be applied."),

		term:      desc("raft_term", "The term of a group.", "group"),
		leads:     desc("raft_leads", "1 if this node leads the group.", "group"),
		known:     desc("raft_leader_known", "1 if this node knows who leads the group.", "group"),
		contact:   desc("raft_leader_contact_seconds", "How long ago the group's leader was heard of; 0 at the leader.", "group"),
		commit:    desc("raft_commit_index", "The newest entry of a group that a majority has.", "group"),
		applied:   desc("raft_applied_index", "The newest entry of a group that is applied here.", "group"),
		entries:   desc("raft_log_entries", "Entries in the log of a group.", "group"),
		voters:    desc("raft_voters", "Voters of a group.", "group"),
		inflight:  desc("raft_inflight", "Calls of a group that wait for Raft.", "group"),
		proposals: desc("raft_proposals_total", "Entries that this node proposed, by what became of them.", "result"),
		snapshots: desc("raft_snapshots_total", "Snapshots of all groups, by what became of them.", "result"),

		sync:        desc("store_sync_seconds", "Time that the write-ahead log took to be synced."),
		full:        desc("store_full", "1 while the disk is full and quotas get no more units."),
		failed:      desc("store_failed", "1 if the disk has failed: the store is not used until the node is started again."),
		bytes:       desc("store_bytes", "Files of the database."),
		logBytes:    desc("store_log_bytes", "What its write-ahead log has that is not in its tables yet."),
		debtBytes:   desc("store_compaction_debt_bytes", "What compactions have yet to rewrite, about."),
		flushes:     desc("store_flushes_total", "Flushes of memory tables."),
		compactions: desc("store_compactions_total", "Compactions."),
		stall:       desc("store_stalls_total", "Times that writes waited since flushing or compacting was behind."),
		slow:        desc("store_slow_total", "Writes and syncs that took longer than a second."),
	}
}

// Describe implements prometheus.Collector.
func (s *store) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		s.commands, s.again, s.reads, s.units, s.refused, s.entry, s.apply,
		s.queued, s.term, s.leads, s.known, s.contact, s.commit, s.applied, s.entries, s.voters, s.inflight,
		s.proposals, s.snapshots,
		s.sync, s.full, s.failed, s.bytes, s.logBytes, s.debtBytes, s.flushes, s.compactions, s.stall, s.slow,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *store) Collect(ch chan<- prometheus.Metric) {
	r := read(s.read)
	if r == nil {
		return
	}
	gauge, counter := emitters(ch)
	for _, c := range r.Commands {
		counter(s.commands, c.Count, c.Op, c.End)
	}
	counter(s.again, r.SentAgain)
	counter(s.reads, r.PoolReads)
	counter(s.refused, r.QueueRefused)
	counter(s.units, r.Granted, "granted")
	counter(s.units, r.Returned, "returned")
	counter(s.units, r.Charged, "charged")
	counter(s.units, r.Credited, "credited")
	for i := range r.Groups {
		s.group(gauge, &r.Groups[i], strconv.Itoa(i))
	}
	counter(s.proposals, r.Applied, "applied")
	counter(s.proposals, r.NotLeader, "not_leader")
	counter(s.proposals, r.Overloaded, "overloaded")
	counter(s.proposals, r.Deadline, "deadline")
	counter(s.proposals, r.Unknown, "unknown")
	counter(s.proposals, r.Refused, "refused")
	counter(s.snapshots, r.Snapshots, "made")
	counter(s.snapshots, r.SnapshotsFailed, "failed")
	counter(s.snapshots, r.Restores, "restored")
	ch <- r.Entry.metric(s.entry)
	ch <- r.Apply.metric(s.apply)

	gauge(s.full, truth(r.Full))
	gauge(s.failed, truth(r.Failed))
	counter(s.stall, r.Stalls)
	counter(s.slow, r.Slow)
	if r.Failed {
		return // what is on the disk can't be asked any more
	}
	ch <- r.Sync.metric(s.sync)
	gauge(s.bytes, float64(r.Bytes))
	gauge(s.logBytes, float64(r.LogBytes))
	gauge(s.debtBytes, float64(r.DebtBytes))
	counter(s.flushes, r.Flushes)
	counter(s.compactions, r.Compactions)
}

func (s *store) group(gauge func(*prometheus.Desc, float64, ...string), g *GroupReading, group string) {
	gauge(s.queued, float64(g.Queued), group)
	gauge(s.term, float64(g.Term), group)
	gauge(s.leads, truth(g.Leads), group)
	gauge(s.known, truth(g.LeaderKnown), group)
	if g.SinceLeader >= 0 {
		gauge(s.contact, g.SinceLeader.Seconds(), group)
	}
	gauge(s.commit, float64(g.CommitIndex), group)
	gauge(s.applied, float64(g.AppliedIndex), group)
	gauge(s.entries, float64(g.LogEntries), group)
	gauge(s.voters, float64(g.Voters), group)
	gauge(s.inflight, float64(g.Inflight), group)
}

// metric returns the histogram of l.
func (l *Latencies) metric(about *prometheus.Desc) prometheus.Metric {
	buckets := make(map[float64]uint64, len(l.Bounds))
	count := uint64(0)
	for i, n := range l.Counts {
		count += n
		if i < len(l.Bounds) {
			buckets[l.Bounds[i].Seconds()] = count
		}
	}
	return prometheus.MustNewConstHistogram(about, count, l.Sum.Seconds(), buckets)
}

// emitters return functions that send a gauge and a counter.
func emitters(ch chan<- prometheus.Metric) (gauge func(*prometheus.Desc, float64, ...string), counter func(*prometheus.Desc, uint64, ...string)) {
	gauge = func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter = func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	return gauge, counter
}
