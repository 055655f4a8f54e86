package rpc_test

import (
	"context"
	"net"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/api/rpc"
	"github.com/headgate/headgate/internal/apitest"
	"github.com/headgate/headgate/limiter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shop = `
domain: shop
limits:
  - {name: two, by: [user], window: 2/year}
  - {name: plenty, by: [remote_address], rate: 1000000/s}
  - {name: strict, by: [account], window: 2/year, on_unavailable: deny}
  - {name: trial, by: [trial], window: 1/year, shadow: true}
`

func wallClock() limiter.Instant { return limiter.Instant(time.Now().UnixNano()) }

// edge is for requests that a real Envoy sent.
const edge = `
domain: edge
limits:
  - {name: path-and-client, descriptor: [path, remote_address], rate: 1000000/s}
  - {name: per-key, when: {plan: "*"}, by: [api_key], rate: 1000000/s}
`

type setup struct {
	config  rpc.Config
	policy  string
	decider api.Decider // nil: a real table
	events  rpc.Events
	watch   api.Observer
}

// start serves on loopback until the test ends.
func start(tb testing.TB, change func(*setup)) (*rpc.Server, string) {
	tb.Helper()
	u := setup{config: rpc.Default(), policy: shop}
	u.config.Alarm = func(ring func()) (set func(time.Duration), stop func() bool) {
		t := time.AfterFunc(time.Hour, ring)
		t.Stop()
		return func(d time.Duration) { t.Reset(d) }, t.Stop
	}
	if change != nil {
		change(&u)
	}
	g := apitest.Gate(tb, u.policy, apitest.Strict(), u.decider)
	g.Observer = u.watch
	u.config.Reservations = apitest.Reservations(tb, g.Decider, wallClock)
	s, err := rpc.New(&u.config, g, wallClock, u.events)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	tb.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	s.SetServing(true)
	return s, l.Addr().String()
}

func dial(tb testing.TB, addr string, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	cc, err := grpc.NewClient(addr, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cc.Close() })
	return cc
}

// A client has all services of one server.
type client struct {
	cc       *grpc.ClientConn
	limits   rlsv3.RateLimitServiceClient
	decision headgatev1.DecisionServiceClient
}

func connect(tb testing.TB, addr string) *client {
	tb.Helper()
	cc := dial(tb, addr)
	return &client{cc, rlsv3.NewRateLimitServiceClient(cc), headgatev1.NewDecisionServiceClient(cc)}
}

// brief is a context for one call.
func brief(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

func rateLimitRequest(domain string, kv ...string) *rlsv3.RateLimitRequest {
	d := &ratelimitv3.RateLimitDescriptor{}
	for i := 0; i < len(kv); i += 2 {
		d.Entries = append(d.Entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: kv[i], Value: kv[i+1]})
	}
	return &rlsv3.RateLimitRequest{Domain: domain, Descriptors: []*ratelimitv3.RateLimitDescriptor{d}}
}

func checkRequest(domain string, kv ...string) *headgatev1.CheckRequest {
	req := &headgatev1.CheckRequest{Domain: domain}
	for i := 0; i < len(kv); i += 2 {
		req.Attributes = append(req.Attributes, &headgatev1.Attribute{Key: kv[i], Value: kv[i+1]})
	}
	return req
}

// A deciderFunc is a Decider.
type deciderFunc func(now limiter.Instant, c *limiter.Call) bool

func (f deciderFunc) Decide(now limiter.Instant, c *limiter.Call) bool { return f(now, c) }

func allow(c *limiter.Call) {
	for i := range c.Charges() {
		c.Charges()[i].Decision = limiter.Decision{Verdict: limiter.Allowed, Remaining: 1}
	}
}
