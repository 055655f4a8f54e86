package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/headgate/headgate/api/admin"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/policy"
)

// hourly is a policy that lets amount calls of each user pass in 1,000 hours:
// nothing comes back during a test.
func hourly(amount int) string {
	return fmt.Sprintf("domain: shop\nlimits:\n  - name: calls\n    by: [user]\n    rate: {amount: %d, every: 1000h}\n", amount)
}

func check(t *testing.T, c headgatev1.DecisionServiceClient, domain, user string) *headgatev1.CheckResponse {
	t.Helper()
	r, err := c.Check(context.Background(), &headgatev1.CheckRequest{
		Domain: domain, Attributes: []*headgatev1.Attribute{{Key: "user", Value: user}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func allowed(t *testing.T, n *testNode, user string) bool {
	t.Helper()
	return check(t, n.client, "shop", user).GetVerdict() == headgatev1.Verdict_VERDICT_ALLOWED
}

func allow(t *testing.T, n *testNode, user string, want ...bool) {
	t.Helper()
	for i, w := range want {
		if got := allowed(t, n, user); got != w {
			t.Fatalf("call %d of %s: allowed %v, want %v", i+1, user, got, w)
		}
	}
}

func TestANodeStartsDecidesAndStops(t *testing.T) {
	n := startNode(t, testConfig(t, hourly(2)))
	allow(t, n, "alice", true, true, false)
	allow(t, n, "bob", true)
	if code, body := get(t, "http://"+n.HTTP+"/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	code, body := get(t, "http://"+n.HTTP+"/readyz")
	var r readiness
	if err := json.Unmarshal([]byte(body), &r); err != nil || code != 200 || !r.Ready || r.State != "serving" || r.PolicyVersion != 1 || r.PolicyRefused {
		t.Errorf("/readyz: %d %s %v", code, body, err)
	}
	_, page := get(t, "http://"+n.HTTP+"/metrics")
	for _, line := range []string{
		`headgate_decisions_total{domain="shop",limit="calls",verdict="allowed"} 3`,
		`headgate_decisions_total{domain="shop",limit="calls",verdict="denied"} 1`,
		`headgate_requests_total{outcome="denied"} 1`,
		`headgate_table_entries 2`,
		`headgate_ready 1`,
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("no %q in /metrics", line)
		}
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
}

func TestTheAdminAPIReportsTheNode(t *testing.T) {
	c := testConfig(t, "domain: shop\nlimits:\n  - name: calls\n    by: [user]\n    labels: true\n    rate: {amount: 2, every: 1000h}\n")
	n := startNode(t, c)
	allow(t, n, "alice", true, true, false, false)
	var top admin.Top
	eventually(t, "the rankings know alice", func() bool {
		_, body := get(t, "http://"+n.Admin+"/v1/keys")
		if err := json.Unmarshal([]byte(body), &top); err != nil {
			t.Fatal(err)
		}
		return len(top.Hot) == 1 && top.Hot[0].Count == 4 && len(top.Denied) == 1 && top.Denied[0].Count == 2
	})
	if k := top.Denied[0]; k.Text != "user=alice" || k.Domain != "shop" || k.Limit != "calls" || len(k.Key) != 16 {
		t.Errorf("denied key: %+v", k)
	}
	var p admin.Policy
	_, body := get(t, "http://"+n.Admin+"/v1/policy")
	if err := json.Unmarshal([]byte(body), &p); err != nil || p.Version != 1 || len(p.Domains) != 1 || len(p.Files) != 1 {
		t.Errorf("policy: %s %v", body, err)
	}
	var s admin.Status
	_, body = get(t, "http://"+n.Admin+"/v1/status")
	if err := json.Unmarshal([]byte(body), &s); err != nil || !s.Ready || s.GRPC != n.GRPC || s.DataDir != c.DataDir {
		t.Errorf("status: %s %v", body, err)
	}
	var tab admin.Table
	_, body = get(t, "http://"+n.Admin+"/v1/table")
	if err := json.Unmarshal([]byte(body), &tab); err != nil || tab.Entries != 1 || tab.Domains["shop"] != 1 {
		t.Errorf("table: %s %v", body, err)
	}
	if _, body = get(t, "http://"+n.Admin+"/v1/config"); body != c.YAML() {
		t.Errorf("config: %s", body)
	}
}

func TestWithoutAPolicyTheSampleIsServedAndSaidSo(t *testing.T) {
	n := startNode(t, testConfig(t, ""))
	r, err := n.client.Check(context.Background(), &headgatev1.CheckRequest{Domain: "shop", Attributes: []*headgatev1.Attribute{
		{Key: "path", Value: "/login"}, {Key: "user", Value: "alice"},
	}})
	if err != nil || len(r.GetLimits()) == 0 {
		t.Errorf("the sample limits nothing: %v %v", r, err)
	}
	if !strings.Contains(n.log.String(), "built-in sample policy") {
		t.Errorf("the log does not say so:\n%s", n.log)
	}
	example, err := os.ReadFile("../../deploy/examples/shop.yaml")
	if err != nil || string(example) != string(sample) {
		t.Errorf("sample.yaml is not deploy/examples/shop.yaml any more: copy it (%v)", err)
	}
}

func TestUnknownDomainsGetWhatTheSettingSays(t *testing.T) {
	for setting, want := range map[string]string{"allow": "VERDICT_ALLOWED", "deny": "VERDICT_DENIED", "error": "NotFound"} {
		t.Run(setting, func(t *testing.T) {
			c := testConfig(t, hourly(1))
			c.Policy.OnUnknownDomain = setting
			n := startNode(t, c)
			r, err := n.client.Check(context.Background(), &headgatev1.CheckRequest{
				Domain: "nowhere", Attributes: []*headgatev1.Attribute{{Key: "a", Value: "b"}},
			})
			if got := r.GetVerdict().String(); got != want && status.Code(err).String() != want {
				t.Errorf("%v, %v; want %s", r, err, want)
			}
		})
	}
}

func TestABadPolicyAtStartIsAnErrorWithAllProblems(t *testing.T) {
	c := testConfig(t, "domain: shop\nlimits:\n  - name: a\n    rat: 1/s\n  - name: b\n    rate: fast\n")
	err := Run(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)})
	var ps policy.Problems
	if !errors.As(err, &ps) || len(ps) < 2 {
		t.Fatalf("error = %v, want two problems or more", err)
	}
	c.Policy.Paths = []string{t.TempDir()}
	if err := Run(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "no .yaml") {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestASecondProcessIsRefusedByTheLock(t *testing.T) {
	c := testConfig(t, hourly(1))
	n := startNode(t, c)
	err := Run(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), c.DataDir) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("error = %v, want ErrLocked with directory and process", err)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	again := startNode(t, c)
	if err := again.stop(); err != nil {
		t.Fatal(err)
	}
}

func TestADataDirectoryThatCannotBeUsedIsAClearError(t *testing.T) {
	c := testConfig(t, hourly(1))
	c.DataDir = filepath.Join(t.TempDir(), "file")
	write(t, c.DataDir, "")
	err := Run(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), c.DataDir) || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("error = %v", err)
	}
}

func TestAnAddressInUseIsAnErrorThatNamesTheSetting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := testConfig(t, hourly(1))
	c.HTTP.Addr = l.Addr().String()
	if err := Run(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "http.addr") {
		t.Errorf("error = %v", err)
	}
}

func TestCountersSurviveAGracefulRestart(t *testing.T) {
	c := testConfig(t, hourly(3))
	n := startNode(t, c)
	allow(t, n, "alice", true, true)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(c.DataDir, savedName)
	if _, err := os.Stat(saved); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, c)
	allow(t, n, "alice", true, false)
	allow(t, n, "bob", true)
	if _, err := os.Stat(saved); err == nil {
		t.Error("the file is still there: a crash would load it again")
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
}

func TestCountersAreNotLostByAStartThatFails(t *testing.T) {
	c := testConfig(t, hourly(1))
	n := startNode(t, c)
	allow(t, n, "alice", true)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	bad := c
	bad.HTTP.Addr = "192.0.2.1:1" // not ours
	if err := Run(t.Context(), Options{Config: bad, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Fatal("it started")
	}
	allow(t, startNode(t, c), "alice", false)
}

func TestSavedCountersFollowAPolicyThatChangedMeanwhile(t *testing.T) {
	c := testConfig(t, hourly(3))
	n := startNode(t, c)
	allow(t, n, "alice", true, true)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	write(t, c.Policy.Paths[0], hourly(4))
	allow(t, startNode(t, c), "alice", true, true, false)
}

func TestDamagedCountersAreSetAsideLoudly(t *testing.T) {
	c := testConfig(t, hourly(1))
	n := startNode(t, c)
	allow(t, n, "alice", true)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(c.DataDir, savedName)
	b, err := os.ReadFile(saved)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	write(t, saved, string(b))
	write(t, saved+".damaged-20200101T000000.000000000", "an older one")
	n = startNode(t, c)
	allow(t, n, "alice", true, false)
	if !strings.Contains(n.log.String(), "level=ERROR msg=\"a saved file is damaged: starting without what it had\" what=counters") {
		t.Errorf("log:\n%s", n.log)
	}
	aside, err := filepath.Glob(saved + ".damaged-*")
	if err != nil || len(aside) != 1 || strings.Contains(aside[0], "damaged-2020") {
		t.Errorf("set aside: %v %v", aside, err)
	}
}

func TestWhatAKilledSaveLeftIsRemoved(t *testing.T) {
	c := testConfig(t, hourly(1))
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	left := []string{"counters.tmp-1", "counters.tmp-22", "key-secret.tmp-3"}
	for _, name := range append(left, "notes.tmp-1") {
		write(t, filepath.Join(c.DataDir, name), "half")
	}
	startNode(t, c)
	for _, name := range left {
		if _, err := os.Stat(filepath.Join(c.DataDir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, "notes.tmp-1")); err != nil {
		t.Errorf("a file that is not ours: %v", err)
	}
}

func TestTheKeySecretIsMadeOnceAndKept(t *testing.T) {
	c := testConfig(t, hourly(1))
	name := filepath.Join(c.DataDir, secretName)
	var secrets [2]string
	for i := range secrets {
		n := startNode(t, c)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		secrets[i] = string(b)
	}
	if len(secrets[0]) != 16 || secrets[0] != secrets[1] || secrets[0] == string(make([]byte, 16)) {
		t.Errorf("secrets %x", secrets)
	}
	if stat, err := os.Stat(name); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", stat.Mode(), err)
	}
	write(t, name, "short")
	if err := Run(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("damaged secret: %v", err)
	}
	if b, err := os.ReadFile(name); err != nil || string(b) != "short" {
		t.Error("the damaged secret was replaced")
	}
}

// Every call that the server accepted is answered, however the clients hammer.
func TestNoAcceptedRequestIsDroppedByADrain(t *testing.T) {
	c := testConfig(t, hourly(1_000_000))
	c.Shutdown.DrainDelay = 150 * time.Millisecond
	n := startNode(t, c)
	var answered, wrong atomic.Int64
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for i := range 8 {
		conn, err := grpc.NewClient(n.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		client := headgatev1.NewDecisionServiceClient(conn)
		clients.Go(func() {
			defer conn.Close() //nolint:errcheck // the test is over
			var calls sync.WaitGroup
			for range 8 {
				calls.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						// Without waiting for ready, a call that finds no connection
						// fails with Unavailable before it is sent; what was sent and
						// then lost would be Unavailable too, with another message.
						_, err := client.Check(context.Background(), &headgatev1.CheckRequest{
							Domain: "shop", Attributes: []*headgatev1.Attribute{{Key: "user", Value: fmt.Sprint(i)}},
						})
						switch {
						case err == nil:
							answered.Add(1)
						case status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "connect: connection refused"):
							return // the server is gone, and was not asked
						default:
							wrong.Add(1)
							t.Errorf("a call failed: %v", err)
							return
						}
					}
				})
			}
			calls.Wait()
		})
	}
	eventually(t, "there is load", func() bool { return answered.Load() > 500 })
	n.signals <- syscall.SIGTERM
	eventually(t, "/readyz says draining", func() bool {
		code, body := get(t, "http://"+n.HTTP+"/readyz")
		return code == 503 && strings.Contains(body, "draining")
	})
	before := answered.Load()
	if err := n.end(); err != nil {
		t.Errorf("stop: %v", err)
	}
	close(stop)
	clients.Wait()
	if answered.Load() == before {
		t.Error("nothing was served while draining")
	}
}

func TestSIGINTSkipsTheDrainDelayAndASecondSignalCutsIt(t *testing.T) {
	c := testConfig(t, hourly(1))
	c.Shutdown.DrainDelay, c.Shutdown.Timeout = time.Minute, 2*time.Minute
	n := startNode(t, c)
	n.signals <- os.Interrupt
	if err := n.end(); err != nil {
		t.Errorf("SIGINT: %v", err)
	}
	n = startNode(t, c)
	allow(t, n, "alice", true)
	n.signals <- syscall.SIGTERM
	n.signals <- syscall.SIGHUP // is no second one
	n.signals <- syscall.SIGTERM
	if err := n.end(); err == nil {
		t.Error("a stop that was cut short is no graceful one")
	}
	c.Shutdown.DrainDelay = 0
	allow(t, startNode(t, c), "alice", false) // the counters were saved all the same
}

// A drain that does not end leaves time to save the counters.
func TestAStopThatIsCutStillSavesInTime(t *testing.T) {
	c := testConfig(t, hourly(1))
	c.Shutdown.DrainDelay, c.Shutdown.Timeout = time.Minute, 5*time.Second // the delay stands for a request that lasts
	n := startNode(t, c)
	allow(t, n, "alice", true)
	began := time.Now()
	if err := n.stop(); err == nil {
		t.Error("a stop that was cut is no graceful one")
	}
	if took := time.Since(began); took > c.Shutdown.Timeout {
		t.Errorf("the stop took %v", took)
	}
	c.Shutdown.DrainDelay = 0
	allow(t, startNode(t, c), "alice", false)
}

// Reading a large policy takes a while; a stop does not wait for it.
func TestAStopDoesNotWaitForAReload(t *testing.T) {
	signals := make(chan os.Signal, 2)
	n := &node{
		Options:  Options{Config: config.Default(), Signals: signals, Log: slog.New(slog.DiscardHandler)},
		policies: &policies{}, reread: make(chan struct{}, 1),
	}
	n.policies.loading.Lock() // a reload has begun
	defer n.policies.loading.Unlock()
	signals <- syscall.SIGHUP
	signals <- syscall.SIGTERM
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := n.wait(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the stop waits")
	}
}

func TestTheEndOfTheContextStopsTheNode(t *testing.T) {
	n := startNode(t, testConfig(t, hourly(1)))
	n.cancel()
	if err := n.end(); err != nil {
		t.Error(err)
	}
}

func TestSettingsReachTheComponents(t *testing.T) {
	c := config.Default()
	r := rpcConfig(&c)
	if err := r.Validate(); err != nil {
		t.Error(err)
	}
	if r.DecideTimeout != c.GRPC.DecideTimeout || r.Bounds.ValueBytes != int(c.GRPC.ValueBytesMax) || r.Headers.Limit != c.RLS.LimitHeader {
		t.Errorf("%+v", r)
	}
	for _, full := range []string{"allow", "deny"} {
		c.Table.OnFull = full
		if _, err := newTable(&c.Table); err != nil {
			t.Error(err)
		}
	}
}
