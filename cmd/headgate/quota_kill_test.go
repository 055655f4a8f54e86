package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/headgate/headgate/api/admin"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

var (
	kills      = flag.Int("kills", 20, "how often the node of the kill test is killed")
	exactKills = flag.Int("exact-kills", 4, "the same of the kill test of exact mode")
)

// killPolicy has a quota that is soon used up, one that lasts for some kills, and
// one that lasts.
const killPolicy = `domain: shop
limits:
  - {name: tiny, by: [tiny], quota: 40/year}
  - {name: some, by: [some], quota: 3000/year}
  - {name: much, by: [much], quota: 100000000/year}
`

func killAmounts() map[string]uint64 {
	return map[string]uint64{"tiny": 40, "some": 3000, "much": 100_000_000}
}

// A victim is a node in a process of its own.
type victim struct {
	t    *testing.T
	path string // of the program
	dir  string
	cmd  *exec.Cmd
	addr string // of the gRPC port
	web  string // of the HTTP port
	adm  string // of the admin API
	logs sync.WaitGroup
}

func newVictim(t *testing.T, policy string) *victim {
	t.Helper()
	v := &victim{t: t, dir: t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v.path = filepath.Join(v.dir, "headgate")
	if err := os.Symlink(self, v.path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.dir, "shop.yaml"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if v.cmd != nil {
			v.end(os.Kill)
		}
	})
	return v
}

// command returns what runs the node.
func (v *victim) command() *exec.Cmd {
	cmd := exec.Command(v.path, "serve", "--policy", "shop.yaml", "--data-dir", "data",
		"--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	cmd.Dir = v.dir
	return cmd
}

// start runs the node and returns when it is ready.
func (v *victim) start() {
	v.t.Helper()
	v.cmd = v.command()
	log, err := v.cmd.StderrPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	ready := make(chan []string, 1)
	v.logs.Go(func() {
		defer close(ready)
		re := regexp.MustCompile(`msg="headgate is ready" grpc=(\S+) http=(\S+) admin=(\S+)`)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if m := re.FindStringSubmatch(lines.Text()); m != nil {
				ready <- m[1:]
				io.Copy(io.Discard, log) //nolint:errcheck // it ends with the process
			}
		}
	})
	addrs, ok := <-ready
	if !ok {
		v.t.Fatal("the node ended before it was ready")
	}
	v.addr, v.web, v.adm = addrs[0], addrs[1], addrs[2]
}

// quota asks the node what it has of a limit's only counter.
func (v *victim) quota(limit string) admin.Quota {
	v.t.Helper()
	answer, err := http.Get("http://" + v.adm + "/v1/quota?domain=shop&attribute=" + limit + "%3Dx")
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	var out admin.Quotas
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil || len(out.Quotas) != 1 {
		v.t.Fatalf("%s: %+v, %v", limit, out, err)
	}
	return out.Quotas[0]
}

// end ends the process with a signal.
func (v *victim) end(s os.Signal) {
	v.cmd.Process.Signal(s) //nolint:errcheck // it may have ended
	v.logs.Wait()
	v.cmd.Wait() //nolint:errcheck // how it ended is the signal's business
	v.cmd = nil
}

// client connects to the node.
func (v *victim) client() (headgatev1.DecisionServiceClient, func()) {
	v.t.Helper()
	conn, err := grpc.NewClient(v.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		v.t.Fatal(err)
	}
	return headgatev1.NewDecisionServiceClient(conn), func() { conn.Close() } //nolint:errcheck // nothing depends on it
}

func killRequest(limit string, cost uint64) *headgatev1.CheckRequest {
	return &headgatev1.CheckRequest{Domain: "shop", Cost: &cost, Attributes: []*headgatev1.Attribute{{Key: limit, Value: "x"}}}
}

// A killTally is what clients know of one limit.
type killTally struct{ admitted, unanswered atomic.Uint64 }

// load asks for units until stop is closed or the node is gone.
func load(c headgatev1.DecisionServiceClient, stop <-chan struct{}, limit string, tally *killTally, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	for {
		select {
		case <-stop:
			return
		default:
		}
		cost := 1 + random.Uint64N(3)
		answer, err := c.Check(context.Background(), killRequest(limit, cost))
		switch {
		case err != nil:
			tally.unanswered.Add(cost)
			return
		case answer.GetVerdict() == headgatev1.Verdict_VERDICT_ALLOWED:
			tally.admitted.Add(cost)
		}
	}
}

// TestKilledAgainAndAgainAQuotaAdmitsNoMore kills a node under load, and counts
// what its clients were admitted: never more than the amount, and what is missing
// from the rest was admitted, unanswered, or held when the node was killed. What the
// node shows of it adds up to the amount.
func TestKilledAgainAndAgainAQuotaAdmitsNoMore(t *testing.T) {
	v := newVictim(t, killPolicy)
	tallies := map[string]*killTally{}
	for limit := range killAmounts() {
		tallies[limit] = &killTally{}
	}
	for round := range *kills {
		v.start()
		client, closeClient := v.client()
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for limit, tally := range tallies {
			for i := range 2 {
				clients.Go(func() { load(client, stop, limit, tally, uint64(round*10+i)) })
			}
		}
		time.Sleep(time.Duration(20+round*7%100) * time.Millisecond)
		v.end(os.Kill)
		close(stop)
		clients.Wait()
		closeClient()
		for limit, amount := range killAmounts() {
			if got := tallies[limit].admitted.Load(); got > amount {
				t.Fatalf("after %d kills: %s admitted %d units of %d", round+1, limit, got, amount)
			}
		}
	}
	v.start()
	for limit, amount := range killAmounts() {
		q := v.quota(limit)
		admitted, unanswered := tallies[limit].admitted.Load(), tallies[limit].unanswered.Load()
		if q.Used+q.Stranded+q.Remaining != amount || q.Amount != amount || q.Held != 0 || q.Debt != 0 {
			t.Errorf("%s: %d used, %d stranded and %d left are not %d: %+v", limit, q.Used, q.Stranded, q.Remaining, amount, q)
		}
		if q.Used > admitted+unanswered || q.Used+q.Stranded < admitted {
			t.Errorf("%s: %d used and %d stranded, while %d were admitted and %d unanswered", limit, q.Used, q.Stranded, admitted, unanswered)
		}
		// A grant is at most a hundredth of the amount and a second's use, and at least
		// what a call needs; two may be held, and one more is on its way.
		grant := max(3, min(amount/100, admitted+unanswered))
		if most := uint64(*kills) * 3 * grant; q.Stranded > most {
			t.Errorf("%s: %d units are stranded by %d kills, at most %d explain themselves", limit, q.Stranded, *kills, most)
		}
		t.Logf("%s: %d admitted, %d used, %d stranded, %d left in %d kills", limit, admitted, q.Used, q.Stranded, q.Remaining, *kills)
	}
	if tallies["much"].admitted.Load() == 0 || tallies["tiny"].admitted.Load() == 0 {
		t.Error("nothing was admitted: the test shows nothing")
	}
}
