package app

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/storage"
)

func TestANodeThatStartsOnAFullDiskServesTheRestAndGoesOnWhenThereIsRoom(t *testing.T) {
	c := patientConfig(t, yearly(3)+"  - name: rate\n    by: [other]\n    window: 1/hour\n")
	n := startNode(t, c)
	allow(t, n, "alice", true)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	var full atomic.Bool
	start := func() *testNode {
		full.Store(true)
		n, err := tryStartWith(t, Options{Config: c, room: func() error {
			if full.Load() {
				return fmt.Errorf("%w (none is left)", storage.ErrFull)
			}
			return nil
		}})
		if err != nil {
			t.Fatalf("%v\n%s", err, n.log)
		}
		return n
	}
	n = start()
	if err := n.stop(); err != nil {
		t.Fatal("it does not stop before there is room:", err)
	}

	n = start()
	r := check(t, n.client, "shop", "alice")
	if r.GetVerdict() != headgatev1.Verdict_VERDICT_DENIED || r.GetDegraded() != headgatev1.DegradedReason_DEGRADED_REASON_UNAVAILABLE {
		t.Errorf("a quota without its store: %v", r)
	}
	other := &headgatev1.CheckRequest{Domain: "shop", Attributes: []*headgatev1.Attribute{{Key: "other", Value: "x"}}}
	for i, want := range []headgatev1.Verdict{headgatev1.Verdict_VERDICT_ALLOWED, headgatev1.Verdict_VERDICT_DENIED} {
		if r, err := n.client.Check(t.Context(), other); err != nil || r.GetVerdict() != want || r.GetDegraded() != 0 {
			t.Errorf("call %d of another kind: %v %v", i, r, err)
		}
	}
	if _, body := get(t, "http://"+n.HTTP+"/metrics"); !strings.Contains(body, "headgate_store_full 1\n") {
		t.Error("no metric says that the disk is full")
	}
	if code, body := get(t, "http://"+n.Admin+"/v1/quotas"); code != 503 || !strings.Contains(body, "the disk is full") {
		t.Errorf("the admin API: %d %s", code, body)
	}
	write(t, c.Policy.Paths[0], yearly(4)) // what is in force when there is room is what counts
	eventually(t, "the new policy", func() bool { return strings.Count(n.log.String(), "policies in force") == 2 })
	full.Store(false)
	eventually(t, "the store", func() bool { return strings.Contains(n.log.String(), "quotas are served") })
	allow(t, n, "alice", true, true, true, false)
	if strings.Count(n.log.String(), "level=ERROR") != 1 {
		t.Errorf("it says:\n%s", n.log)
	}
}
