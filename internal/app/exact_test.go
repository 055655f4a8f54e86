package app

import (
	"regexp"
	"testing"

	"github.com/headgate/headgate/api/admin"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// TestAnExactQuotaStrandsNothing: what the next process finds is what callers were
// told, though this one gives nothing back.
func TestAnExactQuotaStrandsNothing(t *testing.T) {
	c := patientConfig(t, yearly(9)+"    mode: exact\n")
	n := startNode(t, c)
	allow(t, n, "alice", true, true)
	if r := check(t, n.client, "shop", "alice"); r.GetRemaining() != 6 || r.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
		t.Errorf("%v, want 6 remaining", r)
	}
	if q := quotaOf(t, n, "alice"); q.Mode != "exact" || q.Exact != 3 || q.Used != 3 || q.Held != 0 || q.Remaining != 6 {
		t.Errorf("%+v", q)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, c)
	listed := func() admin.Quota {
		list := quotasAt(t, n, "/v1/quotas", 200).Quotas
		if len(list) != 1 {
			t.Fatalf("%+v", list)
		}
		return list[0]
	}
	if q := listed(); q.Limit != "" || q.Used != 3 {
		t.Errorf("listed after a restart, before anybody asks: %+v", q)
	}
	for _, want := range []uint64{5, 4, 3, 2, 1, 0} {
		if r := check(t, n.client, "shop", "alice"); r.GetRemaining() != want || r.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
			t.Errorf("after a restart %v, want %d remaining", r, want)
		}
	}
	if q, got := listed(), quotaOf(t, n, "alice"); q.Domain != "shop" || q.Limit != "plan" || q.Mode != "exact" || q.Used != 9 ||
		q.ResetsAt == nil || got.ResetsAt == nil || *q.ResetsAt != *got.ResetsAt || q.Key != got.Key {
		t.Errorf("listed: %+v, and got: %+v", q, got)
	}
	entries := func() string {
		_, page := get(t, "http://"+n.HTTP+"/metrics")
		return regexp.MustCompile(`\nheadgate_quota_entries_total (\S+)\n`).FindString(page)
	}
	before := entries()
	for range 20 {
		if r := check(t, n.client, "shop", "alice"); r.GetDeniedBy() != "plan" || r.GetDegraded() != 0 {
			t.Errorf("%v", r)
		}
	}
	if after := entries(); after != before || after == "" {
		t.Errorf("denials made entries of the log: %s, then %s", before, after)
	}
}
