package obs

import (
	"testing"
	"time"
)

func TestTheStoreOfQuotasBecomesMetrics(t *testing.T) {
	r := &StoreReading{
		Groups: []GroupReading{
			{Leads: true, LeaderKnown: true, Term: 2, CommitIndex: 5, AppliedIndex: 4, LogEntries: 3, Voters: 1, Inflight: 6, Queued: 7},
			{SinceLeader: -1},
		},
		Commands:  []CommandReading{{"ensure", "done", 8}, {"return", "unanswered", 9}},
		PoolReads: 10, QueueRefused: 11, SentAgain: 32,
		Granted: 12, Returned: 13, Charged: 14, Credited: 15,
		Applied: 16, NotLeader: 17, Overloaded: 18, Deadline: 19, Unknown: 20, Refused: 21,
		Snapshots: 22, SnapshotsFailed: 23, Restores: 24,
		Entry: Latencies{Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []uint64{1, 2, 3}, Sum: time.Minute},
		Apply: Latencies{Bounds: []time.Duration{time.Second}, Counts: []uint64{4, 0}},
		Sync:  Latencies{Bounds: []time.Duration{time.Second}, Counts: []uint64{0, 5}},
		Full:  true, Bytes: 25, LogBytes: 26, DebtBytes: 27, Flushes: 28, Compactions: 29, Stalls: 30, Slow: 31,
	}
	c := testConfig()
	c.Store = func() *StoreReading { return r }
	m := New(c)
	want := map[string]float64{
		"headgate_quota_commands_total{done,ensure}":       8,
		"headgate_quota_commands_total{unanswered,return}": 9,
		"headgate_quota_pool_reads_total{}":                10,
		"headgate_quota_queue_refused_total{}":             11,
		"headgate_quota_commands_again_total{}":            32,
		"headgate_quota_queue_commands{0}":                 7,
		"headgate_quota_pool_units_total{granted}":         12,
		"headgate_quota_pool_units_total{returned}":        13,
		"headgate_quota_pool_units_total{charged}":         14,
		"headgate_quota_pool_units_total{credited}":        15,
		"headgate_quota_entry_seconds{}":                   6,
		"headgate_quota_apply_seconds{}":                   4,
		"headgate_raft_term{0}":                            2,
		"headgate_raft_leads{0}":                           1,
		"headgate_raft_leads{1}":                           0,
		"headgate_raft_leader_known{0}":                    1,
		"headgate_raft_leader_contact_seconds{0}":          0,
		"headgate_raft_commit_index{0}":                    5,
		"headgate_raft_applied_index{0}":                   4,
		"headgate_raft_log_entries{0}":                     3,
		"headgate_raft_voters{0}":                          1,
		"headgate_raft_inflight{0}":                        6,
		"headgate_raft_proposals_total{applied}":           16,
		"headgate_raft_proposals_total{not_leader}":        17,
		"headgate_raft_proposals_total{overloaded}":        18,
		"headgate_raft_proposals_total{deadline}":          19,
		"headgate_raft_proposals_total{unknown}":           20,
		"headgate_raft_proposals_total{refused}":           21,
		"headgate_raft_snapshots_total{made}":              22,
		"headgate_raft_snapshots_total{failed}":            23,
		"headgate_raft_snapshots_total{restored}":          24,
		"headgate_store_sync_seconds{}":                    5,
		"headgate_store_full{}":                            1,
		"headgate_store_failed{}":                          0,
		"headgate_store_bytes{}":                           25,
		"headgate_store_log_bytes{}":                       26,
		"headgate_store_compaction_debt_bytes{}":           27,
		"headgate_store_flushes_total{}":                   28,
		"headgate_store_compactions_total{}":               29,
		"headgate_store_stalls_total{}":                    30,
		"headgate_store_slow_total{}":                      31,
	}
	got := gather(t, m, "headgate_")
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s = %v (present %v), want %v", name, g, ok, v)
		}
	}
	if v, ok := got["headgate_raft_leader_contact_seconds{1}"]; ok {
		t.Errorf("a leader that was never heard of was heard of %v s ago", v)
	}
	r.Full, r.Failed = false, true
	got = gather(t, m, "headgate_store_")
	if _, ok := got["headgate_store_bytes{}"]; ok || got["headgate_store_failed{}"] != 1 {
		t.Errorf("a store that has failed: %v", got)
	}
	r = nil
	if got = gather(t, m, "headgate_raft_"); len(got) > 0 {
		t.Errorf("without a store: %v", got)
	}
}
