package conformance

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // so that both servers know it
	_ "google.golang.org/grpc/encoding/proto"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/api/rpc"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

const (
	rlsPath    = rlsv3.RateLimitService_ShouldRateLimit_FullMethodName
	checkPath  = headgatev1.DecisionService_Check_FullMethodName
	peekPath   = headgatev1.DecisionService_Peek_FullMethodName
	healthPath = healthv1.Health_Check_FullMethodName

	headerBytesMax = 16 << 10 // of a header list, at both
	streamsMax     = 100
)

func encoded(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // of a message that is made here
	}
	return b
}

func rlsRequest() []byte {
	return encoded(&rlsv3.RateLimitRequest{Domain: "shop", Descriptors: []*ratelimitv3.RateLimitDescriptor{
		{Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "user", Value: "alice"}}},
	}})
}

func checkRequest() []byte {
	return encoded(&headgatev1.CheckRequest{Domain: "shop", Attributes: []*headgatev1.Attribute{{Key: "user", Value: "alice"}}})
}

func healthRequest() []byte { return encoded(&healthv1.HealthCheckRequest{Service: rpc.HealthName}) }

// A constant decides every charge alike, so that the order of requests changes
// no answer.
type constant struct{}

// Decide allows.
func (constant) Decide(_ limiter.Instant, c *limiter.Call) bool {
	for i := range c.Charges() {
		c.Charges()[i].Decision = limiter.Decision{Verdict: limiter.Allowed, Remaining: 1}
	}
	return true
}

// startProduct serves what the product serves, with its own front, and returns
// where.
func startProduct(tb testing.TB) string {
	tb.Helper()
	docs, problems := policy.Parse([]policy.Source{{Name: "policy.yaml", Text: []byte("domain: shop\nlimits:\n  - {name: two, by: [user], window: 2/year}\n")}})
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	snapshot, problems := policy.Compile(docs, policy.Options{Version: 7, OnUnknownDomain: policy.UnknownDomainError})
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	var p atomic.Pointer[policy.Snapshot]
	p.Store(snapshot)
	c := rpc.Default()
	c.Bounds.MessageBytes = messageBytesMax
	c.Streams = streamsMax
	c.KeepaliveClientMin = 0
	now := func() limiter.Instant { return limiter.Instant(1e18) } // stands still: nothing is late
	s, err := rpc.New(&c, &api.Gate{Policies: &p, Decider: constant{}}, now, rpc.Events{})
	if err != nil {
		tb.Fatal(err)
	}
	s.SetServing(true)
	l := listen(tb)
	go func() { _ = s.Serve(l) }() // ends with Close
	tb.Cleanup(s.Close)
	return l.Addr().String()
}

// startReference serves the same with grpc-go's own server: its methods ask the
// product.
func startReference(tb testing.TB, product string) string {
	tb.Helper()
	s := newReference(tb, product)
	l := listen(tb)
	go func() { _ = s.Serve(l) }() // ends with Stop
	tb.Cleanup(s.Stop)
	return l.Addr().String()
}

// startHandler serves the reference through grpc.Server.ServeHTTP and net/http:
// another server that answers a little differently, so that
// the harness can be seen to notice.
func startHandler(tb testing.TB, product string) string {
	tb.Helper()
	s := newReference(tb, product)
	l := listen(tb)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	h := &http.Server{
		Handler: s, Protocols: &protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streamsMax},
		ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	go func() { _ = h.Serve(l) }() // ends with Close
	tb.Cleanup(func() { _ = h.Close() })
	return l.Addr().String()
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// rawCodec passes []byte through.
type rawCodec struct{ encoding.CodecV2 }

func raw() rawCodec { return rawCodec{encoding.GetCodecV2("proto")} }

// Marshal takes a []byte.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

// Unmarshal fills a *[]byte.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func newReference(tb testing.TB, product string) *grpc.Server {
	tb.Helper()
	cc, err := grpc.NewClient("passthrough:"+product, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw())))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cc.Close() })
	s := grpc.NewServer(
		grpc.ForceServerCodecV2(raw()),
		grpc.MaxRecvMsgSize(messageBytesMax),
		grpc.MaxHeaderListSize(headerBytesMax),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 1, PermitWithoutStream: true}),
	)
	for _, d := range []grpc.ServiceDesc{rlsv3.RateLimitService_ServiceDesc, headgatev1.DecisionService_ServiceDesc, healthv1.Health_ServiceDesc} {
		asked := grpc.ServiceDesc{ServiceName: d.ServiceName, HandlerType: (*any)(nil)}
		for _, m := range d.Methods {
			asked.Methods = append(asked.Methods, grpc.MethodDesc{MethodName: m.MethodName, Handler: ask(cc, "/"+d.ServiceName+"/"+m.MethodName)})
		}
		s.RegisterService(&asked, nil)
	}
	return s
}

// ask returns a handler that asks the product.
func ask(cc *grpc.ClientConn, method string) grpc.MethodHandler {
	return func(_ any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in, out []byte
		if err := receive(&in); err != nil {
			return nil, err
		}
		if err := cc.Invoke(ctx, method, in, &out); err != nil {
			return nil, err
		}
		return out, nil
	}
}
