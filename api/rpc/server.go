package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/decision"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/api/rls"
	"github.com/headgate/headgate/limiter"
)

// Windows of HTTP/2 flow control: fixed, so that grpc-go does not ping to
// measure, and no smaller than what a full pipe of small requests needs.
const (
	streamWindowBytes     = 256 << 10
	connectionWindowBytes = 1 << 20
)

const (
	handshakeTimeout = 10 * time.Second
	// handshakeGrace is what a drain leaves those who are connecting: some
	// clients send requests without waiting for the handshake's end.
	handshakeGrace = 250 * time.Millisecond
	headerBytesMax = 16 << 10
)

// HealthName is the name by which clients of Envoy's own service ask for its
// health.
const HealthName = "ratelimit"

// Events are what a Server tells. A nil func is not called.
type Events struct {
	// Panic is told of a panic while a method was served. stack is its stack.
	Panic func(method string, value any, stack []byte)
}

// Stats are counters since the server was made, and how many connections are
// open now.
type Stats struct {
	Connections        int64  // open now
	ConnectionsRefused uint64 // for being more than Config.Connections
	Faults             uint64 // requests answered with an error: malformed, beyond a bound, unknown domain
	Late               uint64 // decisions that were not made within DecideTimeout
	Panics             uint64
}

// A Server serves gRPC. Make one with New.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	desk   *api.Desk
	limits rls.Service
	checks decision.Service
	pool   *buffers
	events Events

	connections int
	encrypted   bool
	draining    context.Context //nolint:containedctx // ends streams, as a done channel would
	drain       context.CancelFunc

	shaking         handshakes
	open            atomic.Int64
	refused, panics atomic.Uint64
}

// New returns a server that decides at gate. Health says NOT_SERVING until
// SetServing. now is the node's clock.
func New(c *Config, gate *api.Gate, now func() limiter.Instant, e Events) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	desk := api.NewDesk(gate, now, c.DecideTimeout)
	s := &Server{
		desk:        desk,
		limits:      rls.Service{Desk: desk, Bounds: c.Bounds, Headers: c.Headers},
		checks:      decision.Service{Desk: desk, Bounds: c.Bounds},
		pool:        new(buffers),
		health:      health.NewServer(),
		events:      e,
		connections: c.Connections,
		encrypted:   c.TLS != nil,
	}
	s.draining, s.drain = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(s.options(c)...)
	s.grpc.RegisterService(s.rateLimitService(), nil)
	s.grpc.RegisterService(s.decisionService(), nil)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	if c.Reflection {
		reflection.Register(s.grpc)
	}
	s.SetServing(false)
	return s, nil
}

func (s *Server) options(c *Config) []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.UnaryInterceptor(s.guardUnary),
		grpc.StreamInterceptor(s.guardStream),
		grpc.MaxRecvMsgSize(c.Bounds.MessageBytes),
		grpc.MaxConcurrentStreams(uint32(c.Streams)),
		grpc.MaxHeaderListSize(headerBytesMax),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge:      c.ConnectionAge, // 0 is never
			MaxConnectionAgeGrace: c.ConnectionGrace,
			Time:                  c.KeepaliveInterval,
			Timeout:               c.KeepaliveTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: max(c.KeepaliveClientMin, 1), PermitWithoutStream: true, // 0 would mean grpc-go's 5 minutes
		}),
		// Workers spare each call a new stack, which was seen to help connections
		// with few requests in flight; fixed windows spare the pings that size them.
		grpc.NumStreamWorkers(uint32(runtime.GOMAXPROCS(0))),
		grpc.StaticStreamWindowSize(streamWindowBytes),
		grpc.StaticConnWindowSize(connectionWindowBytes),
	}
	if c.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(c.TLS)))
	}
	return options
}

// Serve serves connections of l until Drain or Close, which make it return nil.
func (s *Server) Serve(l net.Listener) error {
	bounded, err := s.listen(l)
	if err != nil {
		return err
	}
	if err := s.grpc.Serve(bounded); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("rpc: serve %s: %w", l.Addr(), err)
	}
	return nil
}

// SetServing says whether health answers SERVING, for the whole server and each
// of its services. It has no effect once Drain has begun.
func (s *Server) SetServing(serving bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthv1.HealthCheckResponse_SERVING
	}
	for _, name := range []string{
		"", HealthName,
		rlsv3.RateLimitService_ServiceDesc.ServiceName,
		headgatev1.DecisionService_ServiceDesc.ServiceName,
	} {
		s.health.SetServingStatus(name, state)
	}
}

// Drain stops gracefully: health says NOT_SERVING, clients are asked to go
// away and no connection is accepted; Drain returns when every request that was
// accepted has its answer. Call SetServing(false) some seconds earlier, so that
// load balancers notice. Streams of checks end when what they have taken is
// answered, and streams that are not requests, health watches and reflection, at
// once; connections that have said nothing yet, soon. When ctx ends, what is left
// is cut and Drain returns an error that wraps ctx's.
func (s *Server) Drain(ctx context.Context) error {
	s.health.Shutdown()
	s.drain()
	grace, end := context.WithTimeout(ctx, handshakeGrace)
	defer end()
	defer context.AfterFunc(grace, s.shaking.end)()
	stopped := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(stopped)
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		<-stopped
		return fmt.Errorf("rpc: drain: %w", ctx.Err())
	}
}

// Close stops at once: requests in flight fail.
func (s *Server) Close() {
	s.drain()
	s.shaking.end()
	s.grpc.Stop()
}

// Stats returns the present counts.
func (s *Server) Stats() Stats {
	return Stats{
		Connections:        s.open.Load(),
		ConnectionsRefused: s.refused.Load(),
		Faults:             s.desk.Faults(),
		Late:               s.desk.Late(),
		Panics:             s.panics.Load(),
	}
}
