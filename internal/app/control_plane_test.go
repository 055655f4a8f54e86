package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/internal/xds/xdstest"
	"github.com/headgate/headgate/policy"
)

// publishedConfig returns settings of a node that follows s.
func publishedConfig(t *testing.T, s *xdstest.Server, node string) config.Config {
	t.Helper()
	c := testConfig(t, "")
	c.Policy.XDS.Server, c.Policy.XDS.NodeID = s.Addr, node
	c.Policy.XDS.BackoffMin, c.Policy.XDS.BackoffMax = 10*time.Millisecond, 50*time.Millisecond
	return c
}

// limits asks a node as Envoy does and returns the codes: overall, then of each
// descriptor, as O (over) or k. Descriptors are key=value,…; several are
// separated by ";", and each may end in " hits=N".
func limits(t *testing.T, conn *grpc.ClientConn, domain, descriptors string) string {
	t.Helper()
	r := &rlsv3.RateLimitRequest{Domain: domain}
	for text := range strings.SplitSeq(descriptors, ";") {
		d := &ratelimitv3.RateLimitDescriptor{}
		if entries, hits, ok := strings.Cut(text, " hits="); ok {
			var n uint64
			if _, err := fmt.Sscan(hits, &n); err != nil {
				t.Fatal(err)
			}
			text, d.HitsAddend = entries, wrapperspb.UInt64(n)
		}
		for entry := range strings.SplitSeq(text, ",") {
			k, v, _ := strings.Cut(entry, "=")
			d.Entries = append(d.Entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: k, Value: v})
		}
		r.Descriptors = append(r.Descriptors, d)
	}
	resp, err := rlsv3.NewRateLimitServiceClient(conn).ShouldRateLimit(context.Background(), r)
	if err != nil {
		return "error"
	}
	letter := func(c rlsv3.RateLimitResponse_Code) string {
		if c == rlsv3.RateLimitResponse_OVER_LIMIT {
			return "O"
		}
		return "k"
	}
	codes := letter(resp.GetOverallCode())
	for _, s := range resp.GetStatuses() {
		codes += letter(s.GetCode())
	}
	return codes
}

type publishedCall struct{ domain, descriptors, want string }

func checkCalls(t *testing.T, conn *grpc.ClientConn, calls []publishedCall) {
	t.Helper()
	for i, c := range calls {
		for j, want := range strings.Fields(c.want) {
			if got := limits(t, conn, c.domain, c.descriptors); got != want {
				t.Errorf("call %d, %s %s, time %d: %s, want %s", i, c.domain, c.descriptors, j+1, got, want)
			}
		}
	}
}

func TestEnvoyGatewaysSnapshotDecidesAsTheReferenceServiceWould(t *testing.T) {
	s := xdstest.Start(t, nil)
	s.Set(t, xdstest.EnvoyGatewayNode, "1", xdstest.EnvoyGateway()...)
	n := startNode(t, publishedConfig(t, s, xdstest.EnvoyGatewayNode))
	s.Await(t, xdstest.Accepted("1"))
	const eg, shared = "default/eg/http", "test-namespace/test-policy-1"
	checkCalls(t, n.conn, []publishedCall{
		{eg, "first-route=first-route,rule-0-match-0=alice", "kk kk kk kk kk OO OO"},
		{eg, "first-route=first-route,rule-0-match-0=bob", "kk"},
		{eg, "first-route=first-route", "kk kk kk kk kk kk kk"}, // no limit at this depth
		{eg, "other-route=other-route,rule-0-match-0=alice", "kk"},
		{eg, "second-route=second-route,rule-0-match-0=rule-0-match-0,masked_remote_address=192.168.0.0/16", "kk kk kk kk"}, // shadow
		{eg, "third-route=third-route,rule-0-match-0=rule-0-match-0;third-route=third-route,rule-1-match--1=rule-1-match--1", "kkk OkO OkO OOO"},
		{eg, "fourth-route=fourth-route,masked_remote_address=192.168.0.10/32", "OO"},
		{eg, "fourth-route=fourth-route,masked_remote_address=192.168.0.11/32", "kk"},
		{shared, shared + "/rule/0=" + shared + "/rule/0,rule-0-match-0=rule-0-match-0", "kk kk kk kk OO"},
		{"nobody's", "a=b", "kk"},
	})
}

func TestEnvoyAIGatewaysQuotasAreAnAlternative(t *testing.T) {
	s := xdstest.Start(t, nil)
	s.Set(t, xdstest.EnvoyAIGatewayNode, "1", xdstest.EnvoyAIGateway()...)
	n := startNode(t, publishedConfig(t, s, xdstest.EnvoyAIGatewayNode))
	s.Await(t, xdstest.Accepted("1"))
	const domain, model = "ai-gateway-quota", "backend_name=default/openai,model_name_override="
	user, all := model+"gpt-4,rule-0-x-user-id-match-0=ann", model+"gpt-4,rule-1-match--1=rule-1-match--1"
	checkCalls(t, n.conn, []publishedCall{
		{domain, user + " hits=0;" + all + " hits=0", "kkk"},       // the check before a request
		{domain, user + " hits=100;" + all + " hits=100", "kkk"},   // its cost afterwards
		{domain, user + " hits=0;" + all + " hits=0", "kkk"},       // exactly full is not over
		{domain, user + " hits=50;" + all + " hits=50", "kOk"},     // the default bucket still has room
		{domain, user + " hits=0;" + all + " hits=0", "kOk"},       //
		{domain, user + " hits=900;" + all + " hits=900", "OOO"},   // now none has
		{domain, user + " hits=0", "OO"},                           //
		{domain, model + "gpt-4o-mini hits=50", "kk OO"},           //
		{domain, model + "another hits=10", "kk OO"},               // the backend's, per model
		{domain, "backend_name=other,model_name_override=x", "kk"}, // nobody limits it
	})
}

func TestARefusedSnapshotChangesNothingAndIsToldToBothSides(t *testing.T) {
	s := xdstest.Start(t, nil)
	good := xdstest.EnvoyGateway()
	s.Set(t, xdstest.EnvoyGatewayNode, "1", good...)
	n := startNode(t, publishedConfig(t, s, xdstest.EnvoyGatewayNode))
	s.Await(t, xdstest.Accepted("1"))
	bad := xdstest.EnvoyGateway()
	bad[0].Descriptors[0].Descriptors[0].Limit.Unit = "UNKNOWN"
	s.Set(t, xdstest.EnvoyGatewayNode, "2", bad...)
	r := s.Await(t, xdstest.Rejected)
	if r.Version != "1" || !strings.Contains(r.Detail, `resource "default/eg/http": first-route_first-route / rule-0-match-0: unit "UNKNOWN"`) {
		t.Errorf("rejection %+v", r)
	}
	checkCalls(t, n.conn, []publishedCall{{"default/eg/http", "first-route=first-route,rule-0-match-0=alice", "kk kk kk kk kk OO"}})
	status, body := get(t, "http://"+n.HTTP+"/readyz")
	if status != 200 || !strings.Contains(body, `"version":"1","refused":true`) || !strings.Contains(body, "first-route_first-route") {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if _, metrics := get(t, "http://"+n.HTTP+"/metrics"); strings.Contains(metrics, `headgate_policy_reloads_total{result="rejected"} 0`) {
		t.Error("no rejection in the metrics")
	}
	time.Sleep(200 * time.Millisecond) // the server sends what was rejected again at once
	rejections := 0
	for _, r := range s.Requests() {
		if r.Detail != "" {
			rejections++
		}
	}
	if rejections < 2 || rejections > 10 || strings.Count(n.log.String(), "policies refused") != 1 {
		t.Errorf("%d rejections in 200 ms\n%s", rejections, n.log)
	}
	s.Set(t, xdstest.EnvoyGatewayNode, "3", good...)
	s.Await(t, xdstest.Accepted("3"))
	if _, body := get(t, "http://"+n.HTTP+"/readyz"); !strings.Contains(body, `"version":"3","refused":false`) || strings.Contains(body, "problems") {
		t.Errorf("/readyz: %s", body)
	}
	checkCalls(t, n.conn, []publishedCall{{"default/eg/http", "first-route=first-route,rule-0-match-0=alice", "OO"}}) // counters stay
}

func TestSnapshotsUnderTrafficGiveNoWrongAnswer(t *testing.T) {
	s := xdstest.Start(t, nil)
	snapshot := func(version int) {
		configs := xdstest.EnvoyGateway()
		d := &configs[0].Descriptors[0].Descriptors
		(*d)[0].Limit.Amount = 500
		*d = append(*d, policy.EnvoyDescriptor{Key: fmt.Sprint("rule-", version), Limit: &policy.EnvoyLimit{Unit: "DAY", Amount: 1}})
		s.Set(t, xdstest.EnvoyGatewayNode, fmt.Sprint(version), configs...)
	}
	snapshot(1)
	c := publishedConfig(t, s, xdstest.EnvoyGatewayNode)
	c.GRPC.BehindMax = 0 // on a busy machine some requests would be decided without their counter
	n := startNode(t, c)
	var admitted, denied, failed atomic.Int64
	var callers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				switch limits(t, n.conn, "default/eg/http", "first-route=first-route,rule-0-match-0=alice") {
				case "kk":
					admitted.Add(1)
				case "OO":
					denied.Add(1)
				default:
					failed.Add(1)
				}
			}
		})
	}
	for version := 2; version <= 30; version++ {
		snapshot(version)
		s.Await(t, xdstest.Accepted(fmt.Sprint(version)))
	}
	eventually(t, "the limit is reached", func() bool { return denied.Load() > 0 })
	close(done)
	callers.Wait()
	if admitted.Load() != 500 || failed.Load() > 0 {
		t.Errorf("%d admitted of 500, %d failed", admitted.Load(), failed.Load())
	}
}

func TestANodeIsReadyWithItsFirstConfiguration(t *testing.T) {
	for name, await := range map[string]bool{"awaited": true, "not awaited": false} {
		t.Run(name, func(t *testing.T) {
			s := xdstest.Start(t, nil)
			c := publishedConfig(t, s, xdstest.EnvoyGatewayNode)
			c.Policy.XDS.AwaitInitial = await
			c.HTTP.Addr, c.GRPC.Addr = freeAddr(t), freeAddr(t)
			up := make(chan struct{})
			conn, err := grpc.NewClient(c.GRPC.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close() //nolint:errcheck // nothing is lost
			go func() {        // before startNode returns, if it awaits
				defer close(up)
				status := 0
				for range 2000 {
					if r, err := http.Get("http://" + c.HTTP.Addr + "/readyz"); err == nil {
						status = r.StatusCode
						_ = r.Body.Close()
						break
					}
					time.Sleep(5 * time.Millisecond)
				}
				if want := map[bool]int{true: 503, false: 200}[await]; status != want && (await || status != 503) {
					t.Errorf("/readyz answers %d before the first configuration", status)
				}
				if got := limits(t, conn, "default/eg/http", "first-route=first-route,rule-0-match-0=x"); got != "error" {
					t.Errorf("%s before the first configuration", got)
				}
				s.Set(t, xdstest.EnvoyGatewayNode, "1", xdstest.EnvoyGateway()...)
			}()
			n := startNode(t, c)
			if await {
				if status, _ := get(t, "http://"+n.HTTP+"/readyz"); status != 200 {
					t.Errorf("/readyz answers %d", status)
				}
			}
			<-up
			s.Await(t, xdstest.Accepted("1"))
			checkCalls(t, n.conn, []publishedCall{
				{"default/eg/http", "first-route=first-route,rule-0-match-0=x", "kk kk kk kk kk OO"}, {"nobody's", "a=b", "kk"},
			})
		})
	}
}

func TestFilesAndAControlPlaneApplyTogether(t *testing.T) {
	s := xdstest.Start(t, nil)
	s.Set(t, xdstest.EnvoyGatewayNode, "1", xdstest.EnvoyGateway()...)
	c := publishedConfig(t, s, xdstest.EnvoyGatewayNode)
	own := testConfig(t, hourly(1))
	c.Policy.Paths = own.Policy.Paths
	n := startNode(t, c)
	s.Await(t, xdstest.Accepted("1"))
	if got := policyReport(t, n).Domains; len(got) != 3 {
		t.Errorf("domains %v", got)
	}
	allow(t, n, "alice", true, false)
	s.Set(t, xdstest.EnvoyGatewayNode, "2", append(xdstest.EnvoyGateway(), policy.EnvoyConfig{Name: "mine", Domain: "shop"})...)
	if r := s.Await(t, xdstest.Rejected); !strings.Contains(r.Detail, "shop") {
		t.Errorf("rejection %+v", r)
	}
	replace(t, c.Policy.Paths[0], hourly(2))
	eventually(t, "the file is read", func() bool { return policyReport(t, n).Version == 3 })
	allow(t, n, "alice", true, false)
	checkCalls(t, n.conn, []publishedCall{{"default/eg/http", "fourth-route=fourth-route,masked_remote_address=192.168.0.10/32", "OO"}})
}

// goruntime's way to publish: RUNTIME_ROOT is a link, replaced as a whole.
func TestEnvoysFilesAreReadAndALinkAboveThemIsFollowed(t *testing.T) {
	dir := t.TempDir()
	release := func(name, file, text string) {
		t.Helper()
		config := filepath.Join(dir, name, "ratelimit", "config")
		if err := os.MkdirAll(filepath.Join(config, ".hidden"), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(config, file), text)
		write(t, filepath.Join(config, ".hidden", "x"), "nonsense")
		if err := os.Symlink(name, filepath.Join(dir, "next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "current")); err != nil {
			t.Fatal(err)
		}
	}
	rule := func(amount int) string {
		return fmt.Sprintf("domain: d\ndescriptors:\n- key: k\n  rate_limit: {unit: hour, requests_per_unit: %d}\n", amount)
	}
	release("v1", "any-name", rule(2))
	c := testConfig(t, "")
	c.Policy.PollInterval = time.Hour
	c.Policy.Envoy.Root = filepath.Join(dir, "current")
	c.Policy.Envoy.Dir = filepath.Join(dir, "current", "ratelimit", "config")
	n := startNode(t, c)
	checkCalls(t, n.conn, []publishedCall{{"d", "k=v", "kk kk OO"}})
	release("v2", "config.yaml", rule(5))
	inForce(t, n, 2)
	checkCalls(t, n.conn, []publishedCall{{"d", "k=v", "kk kk OO"}, {"d", "k=w", "kk kk kk kk kk OO"}})
	release("v3", "config.yaml", "domain: d\nrules: []\n")
	eventually(t, "a bad file is refused", func() bool { return policyReport(t, n).Refused })
	checkCalls(t, n.conn, []publishedCall{{"d", "k=w", "OO"}})
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
