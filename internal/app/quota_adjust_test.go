package app

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/headgate/headgate/api/admin"
)

// adjust adjusts the quota of a user as fields say; the answer must have the status.
func adjust(t *testing.T, n *testNode, user string, fields map[string]any, status int) (out admin.QuotaAdjusted, text string) {
	t.Helper()
	return postQuota(t, n, "adjust", user, fields, status)
}

func postQuota(t *testing.T, n *testNode, what, user string, fields map[string]any, status int) (out admin.QuotaAdjusted, text string) {
	t.Helper()
	in := map[string]any{"domain": "shop", "attributes": attributes("user", user), "reason": "bought a pack"}
	maps.Copy(in, fields)
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post("http://"+n.Admin+"/v1/quotas/"+what, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	got, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != status {
		t.Fatalf("%v: %d %s", in, answer.StatusCode, got)
	}
	if status == http.StatusOK {
		if err := json.Unmarshal(got, &out); err != nil {
			t.Fatal(err)
		}
	}
	return out, string(got)
}

func TestACallSaysWhatRemainsOfAnAmountThatWasLowered(t *testing.T) {
	n := startNode(t, patientConfig(t, yearly(1000)))
	for range 12 {
		allow(t, n, "alice", true)
	}
	out, _ := adjust(t, n, "alice", map[string]any{"by": -1000}, 200)
	if q := out.Quota; q.Amount != 0 || q.Used != 12 || q.Remaining != q.Held || q.Held == 0 {
		t.Fatalf("%+v", q)
	}
	// What was granted before may be spent still, and nothing else.
	if r := check(t, n.client, "shop", "alice"); r.GetRemaining() != out.Quota.Held-1 {
		t.Errorf("%v, want %d remaining", r, out.Quota.Held-1)
	}
}

func TestAnExhaustedQuotaThatIsRaisedAdmitsAgainAtOnce(t *testing.T) {
	c := patientConfig(t, yearly(3))
	n := startNode(t, c)
	allow(t, n, "alice", true, true, true, false)
	allow(t, n, "bob", true, true, true, false)
	out, _ := adjust(t, n, "alice", map[string]any{"by": 2}, 200)
	if q := out.Quota; q.Amount != 5 || q.Correct != 2 || q.Revision != 1 || q.Used != 3 || q.Remaining != 2 || len(out.Warnings) > 0 {
		t.Errorf("%+v", out)
	}
	allow(t, n, "alice", true, true, false)
	allow(t, n, "bob", false)

	// Less: what was used stays used.
	if out, _ = adjust(t, n, "alice", map[string]any{"by": -1, "revision": 1}, 200); out.Quota.Amount != 4 || out.Quota.Used != 5 || out.Quota.Remaining != 0 {
		t.Errorf("%+v", out)
	}
	allow(t, n, "alice", false)
	if _, text := adjust(t, n, "alice", map[string]any{"by": -1, "revision": 1}, 409); !strings.Contains(text, "it is 2") {
		t.Error(text)
	}

	// A new policy and a restart keep it.
	write(t, c.Policy.Paths[0], yearly(4))
	eventually(t, "the new policy", func() bool { return strings.Count(n.log.String(), "policies in force") == 2 })
	if q := quotaOf(t, n, "alice"); q.Amount != 5 || q.Correct != 1 {
		t.Errorf("%+v", q)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, c)
	allow(t, n, "alice", false)
	allow(t, n, "bob", true, false)
	if q := quotaOf(t, n, "alice"); q.Amount != 5 || q.Used != 5 || q.Revision != 2 {
		t.Errorf("%+v", q)
	}

	_, log := get(t, "http://"+n.Admin+"/v1/audit")
	for _, want := range []string{`"action": "quota_adjust"`, `"reason": "bought a pack"`, `+2 of \"plan\", ` + out.Quota.Key, "+1 in all, revision 2"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in %s", want, log)
		}
	}
	if strings.Contains(log+n.log.String(), "alice") {
		t.Error("a value is written down")
	}
}

func TestAnUnusedQuotaIsRaised(t *testing.T) {
	n := startNode(t, patientConfig(t, yearly(2)))
	if out, _ := adjust(t, n, "alice", map[string]any{"by": 1}, 200); out.Quota.Amount != 3 || out.Quota.Remaining != 3 || out.Quota.Used != 0 {
		t.Errorf("%+v", out)
	}
	allow(t, n, "alice", true, true, true, false)
	if out, _ := adjust(t, n, "bob", map[string]any{"by": -5}, 200); out.Quota.Amount != 0 || out.Quota.Remaining != 0 {
		t.Errorf("%+v", out)
	}
	allow(t, n, "bob", false)
}

func TestAdjustmentsThatMeetAreAllCounted(t *testing.T) {
	n := startNode(t, patientConfig(t, yearly(5)))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			body := `{"domain": "shop", "attributes": [{"key": "user", "value": "alice"}], "by": 1, "reason": "r"}`
			answer, err := http.Post("http://"+n.Admin+"/v1/quotas/adjust", "application/json", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			if _ = answer.Body.Close(); answer.StatusCode != http.StatusOK {
				t.Errorf("%d", answer.StatusCode)
			}
		})
	}
	wg.Wait()
	if q := quotaOf(t, n, "alice"); q.Correct != 8 || q.Revision != 8 || q.Amount != 13 {
		t.Errorf("%+v", q)
	}
}

// reset resets the quota of a user; the answer must have the status.
func reset(t *testing.T, n *testNode, user string, fields map[string]any, status int) (out admin.QuotaAdjusted, text string) {
	t.Helper()
	return postQuota(t, n, "reset", user, fields, status)
}

func TestAResetQuotaHasItsWholeAmountAgainAndKeepsItsUse(t *testing.T) {
	c := patientConfig(t, yearly(3)+"    post_paid: true\n")
	n := startNode(t, c)
	if out, _ := reset(t, n, "alice", nil, 200); out.By != 0 || out.Quota.Revision != 0 || out.Quota.Remaining != 3 {
		t.Errorf("unused: %+v", out)
	}
	charge(t, n, "alice", 5) // 2 are owed
	charge(t, n, "bob", 1)
	eventually(t, "the debt", func() bool { return quotaOf(t, n, "alice").Debt == 2 })
	if _, text := reset(t, n, "alice", map[string]any{"revision": 1}, 409); !strings.Contains(text, "it is 0") {
		t.Error(text)
	}
	out, _ := reset(t, n, "alice", map[string]any{"revision": 0}, 200)
	if q := out.Quota; out.By != 5 || q.Amount != 8 || q.Used != 3 || q.Debt != 2 || q.Remaining != 3 || q.Waived != 5 || q.Correct != 0 || len(out.Warnings) > 0 {
		t.Errorf("%+v", out)
	}
	if q := quotaOf(t, n, "bob"); q.Used != 1 || q.Correct != 0 {
		t.Errorf("somebody else was reset: %+v", q)
	}
	charge(t, n, "alice", 3)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, c)
	if q := quotaOf(t, n, "alice"); q.Used != 6 || q.Debt != 2 || q.Remaining != 0 || q.Amount != 8 {
		t.Errorf("after a restart: %+v", q)
	}
	// Again, and with a correction: as much as an unused counter has.
	adjust(t, n, "alice", map[string]any{"by": 4}, 200)
	for _, by := range []int64{3, 0} {
		if out, _ = reset(t, n, "alice", nil, 200); out.By != by || out.Quota.Remaining != 7 || out.Quota.Waived != 8 || out.Quota.Correct != 4 {
			t.Errorf("again: %+v", out)
		}
	}
	if _, log := get(t, "http://"+n.Admin+"/v1/audit"); !strings.Contains(log, `"action": "quota_reset"`) || !strings.Contains(log, "+5 of") || strings.Contains(log, "alice") {
		t.Error(log)
	}
}

func TestAResetIsRefusedWhereAnAdjustmentIs(t *testing.T) {
	n := startNode(t, patientConfig(t, yearly(5)+"  - {name: search, when: {user: ann}, quota: 50/day}\n"))
	for name, in := range map[string]struct {
		fields map[string]any
		status int
		says   string
	}{
		"without reason": {map[string]any{"reason": ""}, 400, "reason: "},
		"two quotas":     {nil, 409, "reach 2 quotas: pick one with limit (--limit): \""},
		"no such limit":  {map[string]any{"limit": "x"}, 404, `no limit "x"`},
		"with an amount": {map[string]any{"by": 1}, 400, "by"},
		"by fingerprint": {map[string]any{"key": "00ff00ff00ff00ff"}, 400, "key: give a domain"},
	} {
		if _, text := reset(t, n, "ann", in.fields, in.status); !strings.Contains(text, in.says) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestAdjustmentsAreBounded(t *testing.T) {
	c := patientConfig(t, yearly(5)+"  - {name: search, when: {user: ann}, quota: 50/day}\n")
	n := startNode(t, c)
	for name, in := range map[string]struct {
		fields map[string]any
		status int
		says   string
	}{
		"by nothing":     {map[string]any{}, 400, "by: \"0\""},
		"by too much":    {map[string]any{"by": int64(1) << 60}, 400, "by: "},
		"without reason": {map[string]any{"by": 1, "reason": ""}, 400, "reason: "},
		"two lines":      {map[string]any{"by": 1, "reason": "a\nb"}, 400, "reason: "},
		"two quotas":     {map[string]any{"by": 1}, 409, "reach 2 quotas: pick one with limit (--limit): \""},
		"no such limit":  {map[string]any{"by": 1, "limit": "x"}, 404, `no limit "x"`},
		"no such member": {map[string]any{"by": 1, "all": true}, 400, "all"},
	} {
		if _, text := adjust(t, n, "ann", in.fields, in.status); !strings.Contains(text, in.says) {
			t.Errorf("%s: %s", name, text)
		}
	}
	if out, _ := adjust(t, n, "ann", map[string]any{"by": 1, "limit": "search"}, 200); out.Quota.Limit != "search" || out.Quota.Amount != 51 {
		t.Errorf("%+v", out)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	c.Admin.ReadOnly = true
	n = startNode(t, c)
	adjust(t, n, "ann", map[string]any{"by": 1, "limit": "search"}, 403)
}
