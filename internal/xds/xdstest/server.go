package xdstest

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/headgate/headgate/policy"
)

// waitMax is how long Await waits.
const waitMax = 20 * time.Second

// A Request is what a client sent.
type Request struct {
	Node    *corev3.Node
	Version string
	Nonce   string
	Detail  string // of a rejection
	Type    string
}

// A Server is a control plane on a loopback port.
type Server struct {
	Addr string // host:port

	cache   cachev3.SnapshotCache
	secure  *tls.Config
	changed chan struct{} // room for one: something below is new

	mu       sync.Mutex // guards what is below
	grpc     *grpc.Server
	requests []Request
	headers  []metadata.MD // of each stream
}

// Start returns a running server; it ends with the test. secure nil: cleartext.
func Start(tb testing.TB, secure *tls.Config) *Server {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{
		Addr: l.Addr().String(), secure: secure,
		cache: cachev3.NewSnapshotCache(false, cachev3.IDHash{}, nil), changed: make(chan struct{}, 1),
	}
	s.serve(l)
	tb.Cleanup(s.Stop)
	return s
}

// Set publishes configs to node as a version.
func (s *Server) Set(tb testing.TB, node, version string, configs ...policy.EnvoyConfig) {
	tb.Helper()
	resources := make([]types.Resource, len(configs))
	for i := range configs {
		resources[i] = Message(&configs[i])
	}
	snapshot, err := cachev3.NewSnapshot(version, map[string][]types.Resource{resourcev3.RateLimitConfigType: resources})
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.cache.SetSnapshot(context.Background(), node, snapshot); err != nil {
		tb.Fatal(err)
	}
}

// Await returns the first request that ok wants, waiting for it if need be.
func (s *Server) Await(tb testing.TB, ok func(Request) bool) Request {
	tb.Helper()
	late := time.After(waitMax)
	for {
		all := s.Requests()
		for _, r := range all {
			if ok(r) {
				return r
			}
		}
		select {
		case <-s.changed:
		case <-late:
			tb.Fatalf("no such request; there were %+v", all)
		}
	}
}

// Accepted wants the acceptance of a version, Rejected any rejection.
func Accepted(version string) func(Request) bool {
	return func(r Request) bool { return r.Nonce != "" && r.Version == version && r.Detail == "" }
}

// Rejected wants a rejection.
func Rejected(r Request) bool { return r.Detail != "" }

// Requests returns what was sent so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Forget forgets the requests so far.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Headers returns the headers of each stream so far.
func (s *Server) Headers() []metadata.MD {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]metadata.MD(nil), s.headers...)
}

// Stop cuts all streams and listens no more.
func (s *Server) Stop() {
	s.mu.Lock()
	g := s.grpc
	s.mu.Unlock()
	g.Stop()
}

// Restart listens again where the server listened before Stop.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", s.Addr)
	if err != nil {
		tb.Fatal(err)
	}
	s.serve(l)
}

func (s *Server) serve(l net.Listener) {
	options := []grpc.ServerOption{grpc.StreamInterceptor(s.noteHeaders)}
	if s.secure != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.secure)))
	}
	g := grpc.NewServer(options...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, serverv3.NewServer(context.Background(), s.cache, serverv3.CallbackFuncs{
		StreamRequestFunc: func(_ int64, r *discoveryv3.DiscoveryRequest) error { s.note(r); return nil },
	}))
	s.mu.Lock()
	s.grpc = g
	s.mu.Unlock()
	go g.Serve(l) //nolint:errcheck // ended by Stop
}

func (s *Server) note(r *discoveryv3.DiscoveryRequest) {
	r = proto.Clone(r).(*discoveryv3.DiscoveryRequest) //nolint:forcetypeassert // a clone has its type
	s.mu.Lock()
	s.requests = append(s.requests, Request{
		Node: r.GetNode(), Version: r.GetVersionInfo(), Nonce: r.GetResponseNonce(),
		Detail: r.GetErrorDetail().GetMessage(), Type: r.GetTypeUrl(),
	})
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Server) noteHeaders(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	s.mu.Lock()
	s.headers = append(s.headers, md)
	s.mu.Unlock()
	return h(srv, stream)
}
