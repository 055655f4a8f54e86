package app

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// series returns the value of a line of a page of metrics, and whether it is there.
func series(page, name string) (float64, bool) {
	m := regexp.MustCompile("(?m)^" + regexp.QuoteMeta(name) + ` ([0-9.e+-]+)$`).FindStringSubmatch(page)
	if m == nil {
		return 0, false
	}
	v, err := strconv.ParseFloat(m[1], 64)
	return v, err == nil
}

func TestMetricsTellWhatAQuotaCostTheLogAndTheDisk(t *testing.T) {
	c := patientConfig(t, hourly(5))
	n := startNode(t, c)
	allow(t, n, "alice", true)
	if _, page := get(t, "http://"+n.HTTP+"/metrics"); strings.Contains(page, "headgate_raft_") || strings.Contains(page, "headgate_store_") {
		t.Error("a node without quotas has metrics of their store")
	}
	write(t, c.Policy.Paths[0], yearly(2))
	eventually(t, "the policy with a quota", func() bool { return strings.Count(n.log.String(), "policies in force") == 2 })
	allow(t, n, "alice", true, true, false)
	_, page := get(t, "http://"+n.HTTP+"/metrics")
	for _, tc := range []struct {
		name        string
		least, most float64
	}{
		{`headgate_quota_commands_total{end="done",op="ensure"}`, 2, 10},
		{`headgate_quota_commands_total{end="done",op="settle"}`, 0, 0},
		{`headgate_quota_pool_units_total{what="granted"}`, 2, 2},
		{`headgate_quota_pool_units_total{what="returned"}`, 0, 0},
		{`headgate_quota_pool_reads_total`, 0, 10},
		{`headgate_quota_queue_commands{group="7"}`, 0, 0},
		{`headgate_quota_queue_refused_total`, 0, 0},
		{`headgate_quota_entry_seconds_count`, 1, 20},
		{`headgate_quota_apply_seconds_count`, 9, 100}, // each group's first entry among them
		{`headgate_raft_leads{group="0"}`, 1, 1},
		{`headgate_raft_leader_known{group="7"}`, 1, 1},
		{`headgate_raft_leader_contact_seconds{group="3"}`, 0, 0},
		{`headgate_raft_voters{group="3"}`, 1, 1},
		{`headgate_raft_term{group="3"}`, 2, 9},
		{`headgate_raft_commit_index{group="3"}`, 2, 50},
		{`headgate_raft_applied_index{group="3"}`, 2, 50},
		{`headgate_raft_log_entries{group="3"}`, 2, 50},
		{`headgate_raft_inflight{group="3"}`, 0, 0},
		{`headgate_raft_proposals_total{result="applied"}`, 2, 50},
		{`headgate_raft_proposals_total{result="unknown"}`, 0, 0},
		{`headgate_raft_snapshots_total{result="failed"}`, 0, 0},
		{`headgate_store_sync_seconds_count`, 8, 1000},
		{`headgate_store_sync_seconds_bucket{le="10"}`, 8, 1000},
		{`headgate_store_full`, 0, 0},
		{`headgate_store_failed`, 0, 0},
		{`headgate_store_bytes`, 1000, 1 << 30},
		{`headgate_store_log_bytes`, 1, 1 << 30},
		{`headgate_store_stalls_total`, 0, 0},
		{`headgate_store_flushes_total`, 0, 100},
	} {
		if v, ok := series(page, tc.name); !ok || v < tc.least || v > tc.most {
			t.Errorf("%s is %g (there: %v), want %g to %g", tc.name, v, ok, tc.least, tc.most)
		}
	}
	allow(t, n, "alice", false) // from memory: the log hears nothing of it
	if _, again := get(t, "http://"+n.HTTP+"/metrics"); commits(again) != commits(page) {
		t.Error("a denial from memory has cost an entry")
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
}

// commits returns the lines of a page that tell how far the logs are.
func commits(page string) string {
	return strings.Join(regexp.MustCompile(`(?m)^headgate_raft_commit_index.*$`).FindAllString(page, -1), "\n")
}
