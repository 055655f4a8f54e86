package app

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate/headgate/api/admin"
)

// setMode asks the node for a mode and returns the status and the answer.
func setMode(t *testing.T, n *testNode, in admin.ModeChange) (int, admin.ModeChanged) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post("http://"+n.Admin+"/v1/mode", "application/json", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var out admin.ModeChanged
	if answer.StatusCode == http.StatusOK {
		if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
	}
	return answer.StatusCode, out
}

func mustSetMode(t *testing.T, n *testNode, in admin.ModeChange) {
	t.Helper()
	if code, out := setMode(t, n, in); code != http.StatusOK || out.To != in.Mode || len(out.Warnings) > 0 {
		t.Fatalf("%d %+v", code, out)
	}
}

func TestAModeHoldsForEveryFollowingDecision(t *testing.T) {
	n := startNode(t, testConfig(t, hourly(1)))
	allow(t, n, "alice", true)
	for range 20 {
		mustSetMode(t, n, admin.ModeChange{Domain: "shop", Mode: "enforce"})
		allow(t, n, "alice", false)
		mustSetMode(t, n, admin.ModeChange{Domain: "shop", Mode: "shadow"})
		allow(t, n, "alice", true, true)
		mustSetMode(t, n, admin.ModeChange{Domain: "shop", Mode: "off"})
		allow(t, n, "alice", true, true)
	}
	_, page := get(t, "http://"+n.HTTP+"/metrics")
	for _, line := range []string{
		`headgate_policy_mode{domain="shop",mode="off"} 1`,
		`headgate_decisions_total{domain="shop",limit="calls",verdict="shadow_denied"} 40`,
		`headgate_decisions_total{domain="shop",limit="calls",verdict="denied"} 20`,
		`headgate_requests_total{outcome="unmatched"} 40`,
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("no %q in /metrics", line)
		}
	}
	if _, body := get(t, "http://"+n.HTTP+"/readyz"); !strings.Contains(body, `"modes":{"shop":"off"}`) {
		t.Errorf("/readyz: %s", body)
	}
}

func TestAModeSurvivesReloadsAndARestart(t *testing.T) {
	c := testConfig(t, hourly(1))
	n := startNode(t, c)
	mustSetMode(t, n, admin.ModeChange{Domain: "shop", Mode: "shadow", Reason: "why"})
	replace(t, c.Policy.Paths[0], hourly(2))
	inForce(t, n, 2)
	allow(t, n, "alice", true, true, true)
	replace(t, c.Policy.Paths[0], strings.Replace(hourly(2), "shop", "other", 1)) // the domain is gone
	inForce(t, n, 3)
	_, body := get(t, "http://"+n.Admin+"/v1/mode")
	if !strings.Contains(body, `"no_policy": true`) {
		t.Errorf("%s", body)
	}
	replace(t, c.Policy.Paths[0], hourly(2)) // and back
	inForce(t, n, 4)
	allow(t, n, "alice", true)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, c)
	allow(t, n, "alice", true, true)
	mustSetMode(t, n, admin.ModeChange{Domain: "shop", Mode: "enforce"})
	allow(t, n, "alice", false)
	var log admin.Audit
	_, body = get(t, "http://"+n.Admin+"/audit")
	if err := json.Unmarshal([]byte(body), &log); err != nil || len(log.Records) != 2 || log.Records[0].To != "enforce" ||
		log.Records[1].Reason != "why" || log.Records[1].Remote == "" || log.Records[1].From != "enforce" {
		t.Errorf("%+v %v", log, err)
	}
}

func TestAModeEndsWhenItsTimeIsOver(t *testing.T) {
	n := startNode(t, testConfig(t, hourly(1)))
	allow(t, n, "alice", true, false)
	mustSetMode(t, n, admin.ModeChange{Domain: "shop", Mode: "off", For: "1s"})
	allow(t, n, "alice", true)
	began := time.Now()
	eventually(t, "the domain is enforced again", func() bool { return !allowed(t, n, "alice") })
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("after %v", took)
	}
	eventually(t, "the audit log says so", func() bool { // after it is in force
		_, body := get(t, "http://"+n.Admin+"/audit")
		return strings.Count(body, `"action"`) == 2 && strings.Contains(body, "is over")
	})
}

func TestAWrongModeChangesNothing(t *testing.T) {
	n := startNode(t, testConfig(t, hourly(1)))
	for name, in := range map[string]admin.ModeChange{
		"an unknown domain":  {Domain: "shpo", Mode: "off"},
		"an unknown mode":    {Domain: "shop", Mode: "audit"},
		"no domain":          {Mode: "off"},
		"a reason of lines":  {Domain: "shop", Mode: "off", Reason: "a\nb"},
		"a long reason":      {Domain: "shop", Mode: "off", Reason: strings.Repeat("r", reasonBytesMax+1)},
		"a short time":       {Domain: "shop", Mode: "off", For: "1ms"},
		"a long time":        {Domain: "shop", Mode: "off", For: "9000h"},
		"enforce for a time": {Domain: "shop", Mode: "enforce", For: "1h"},
	} {
		if code, _ := setMode(t, n, in); code < 400 || code > 499 {
			t.Errorf("%s: %d", name, code)
		}
	}
	if _, body := get(t, "http://"+n.Admin+"/v1/audit"); strings.Contains(body, "action") {
		t.Errorf("%s", body)
	}
	allow(t, n, "alice", true, false)
}

func TestDamagedModesAreSetAside(t *testing.T) {
	c := testConfig(t, hourly(1))
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(c.DataDir, modesName), `{"shop": {"mode": "of`)
	n := startNode(t, c)
	allow(t, n, "alice", true, false)
	if !strings.Contains(n.log.String(), "damaged") {
		t.Error("nothing in the log")
	}
	if found, _ := filepath.Glob(filepath.Join(c.DataDir, modesName+damaged+"*")); len(found) != 1 {
		t.Errorf("%v", found)
	}
}

func TestReadOnlyNodesKeepTheirModes(t *testing.T) {
	c := testConfig(t, hourly(1))
	c.Admin.ReadOnly = true
	n := startNode(t, c)
	if code, _ := setMode(t, n, admin.ModeChange{Domain: "shop", Mode: "off"}); code != http.StatusForbidden {
		t.Error(code)
	}
	allow(t, n, "alice", true, false)
}

// TestModesAndReloadsUnderTraffic changes both at once: no request fails, and the
// last mode is the one in force.
func TestModesAndReloadsUnderTraffic(t *testing.T) {
	c := testConfig(t, hourly(1))
	n := startNode(t, c)
	var wg sync.WaitGroup
	end := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			default:
				check(t, n.client, "shop", "bob")
			}
		}
	})
	wg.Go(func() {
		for i := range 5 {
			replace(t, c.Policy.Paths[0], hourly(2+i))
			time.Sleep(50 * time.Millisecond)
		}
	})
	for range 20 {
		mustSetMode(t, n, admin.ModeChange{Domain: "shop", Mode: "off"})
		mustSetMode(t, n, admin.ModeChange{Domain: "shop", Mode: "shadow"})
	}
	close(end)
	wg.Wait()
	replace(t, c.Policy.Paths[0], hourly(50))
	eventually(t, "the last policy is in force", func() bool {
		_, body := get(t, "http://"+n.Admin+"/v1/policy")
		return !strings.Contains(body, `"version": 1,`)
	})
	mustSetMode(t, n, admin.ModeChange{Domain: "shop", Mode: "off"})
	allow(t, n, "alice", true, true)
	if code, _ := setMode(t, n, admin.ModeChange{Domain: "shop", Mode: "enforce"}); code != 200 {
		t.Error(code)
	}
}
