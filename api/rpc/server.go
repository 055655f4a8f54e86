package rpc

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // for messages of streams
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/authz"
	"github.com/headgate/headgate/api/decision"
	"github.com/headgate/headgate/api/h2"
	"github.com/headgate/headgate/api/rls"
	"github.com/headgate/headgate/limiter"
)

// Events are what a Server tells. A nil func is not called.
type Events struct {
	// Panic is told of a panic while a method was served. stack is its stack.
	Panic func(method string, value any, stack []byte)
}

// Stats are counters since the server was made.
type Stats struct {
	Front  h2.Stats
	Faults uint64 // requests answered with an error: malformed, beyond a bound, unknown domain
	Late   uint64 // decisions that were not made within DecideTimeout
	Held   uint64 // calls that are held until their turn now
	Unheld uint64 // calls that a pace could not have held: there were HeldMax
	Panics uint64
}

// A Server serves gRPC. Make one with New.
type Server struct {
	front  *h2.Server
	grpc   *grpc.Server
	health *health.Server
	desk   *api.Desk
	limits rls.Service
	checks decision.Service
	authz  *authz.Service
	pool   buffers
	events Events

	draining context.Context //nolint:containedctx // ends streams, as a done channel would
	drain    context.CancelFunc
	panics   atomic.Uint64
}

// New returns a server that decides at gate. Health says NOT_SERVING until
// SetServing. now is the node's clock.
func New(c *Config, gate *api.Gate, now func() limiter.Instant, e Events) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	authorization, err := authz.New(authz.Config{Bounds: c.Bounds, Domain: c.ExtAuthzDomain})
	if err != nil {
		return nil, fmt.Errorf("rpc: %w", err)
	}
	desk := api.NewDesk(gate, now, c.DecideTimeout)
	desk.HeldMax, desk.Alarm = int64(c.HeldMax), c.Alarm
	s := &Server{
		desk:   desk,
		limits: rls.Service{Desk: desk, Bounds: c.Bounds, Headers: c.Headers},
		checks: decision.Service{Desk: desk, Bounds: c.Bounds, Reservations: c.Reservations},
		authz:  authorization,
		health: health.NewServer(),
		events: e,
	}
	s.draining, s.drain = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(newCodec()),
		grpc.UnaryInterceptor(s.guardUnary),
		grpc.StreamInterceptor(s.guardStream),
		grpc.MaxRecvMsgSize(c.Bounds.MessageBytes),
		grpc.StatsHandler(consumption{}),
	)
	s.grpc.RegisterService(s.rateLimitService(), nil)
	s.grpc.RegisterService(s.decisionService(), nil)
	s.grpc.RegisterService(authorizationService(), nil)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	if c.Reflection {
		reflection.Register(s.grpc)
	}
	s.SetServing(false)
	front, err := h2.New(s.frontConfig(c, now))
	if err != nil {
		s.grpc.Stop()
		return nil, fmt.Errorf("rpc: %w", err)
	}
	s.front = front
	return s, nil
}

// frontConfig returns the settings of the front, which have the same names.
func (s *Server) frontConfig(c *Config, now func() limiter.Instant) h2.Config {
	f := h2.Default()
	f.Fast, f.Rest = s.fast(), s.rest()
	f.Now = func() int64 { return int64(now()) }
	f.Authorize, f.TLS, f.CPU = c.Authorize, c.TLS, c.CPU
	f.Panic = s.panicked
	f.Connections, f.Streams, f.StreamsTotal = c.Connections, c.Streams, c.StreamsTotal
	f.MessageBytes, f.BufferBytes = c.Bounds.MessageBytes, c.BufferBytes
	f.ReadAhead = c.Bounds.MessageBytes + readAheadMore
	f.HandshakeTimeout = c.HandshakeTimeout
	f.RequestTimeout, f.StallTimeout = c.RequestTimeout, c.StallTimeout
	f.KeepaliveInterval, f.KeepaliveTimeout = c.KeepaliveInterval, c.KeepaliveTimeout
	f.KeepaliveClientMin = c.KeepaliveClientMin
	f.ConnectionAge, f.ConnectionGrace = c.ConnectionAge, c.ConnectionGrace
	f.BehindMax = c.BehindMax
	return f
}

// Serve serves connections of l until Drain or Close, which make it return nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.front.Serve(l); err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	return nil
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
	err := s.front.Drain(ctx)
	s.grpc.Stop()
	if err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	return nil
}

// Close stops at once: requests in flight fail.
func (s *Server) Close() {
	s.drain()
	s.front.Close()
	s.grpc.Stop()
}

// Native returns the native API's service, for doors that are not gRPC.
func (s *Server) Native() *decision.Service { return &s.checks }

// Desk returns the desk at which the server's requests are decided, for doors that
// are not gRPC.
func (s *Server) Desk() *api.Desk { return s.desk }

// Behind reports whether the node's own load makes new calls come too late to be
// decided, for doors that are not gRPC: see Config.BehindMax.
func (s *Server) Behind() bool { return s.front.Behind() }

// Stats returns the present counts.
func (s *Server) Stats() Stats {
	return Stats{
		Front: s.front.Stats(), Faults: s.desk.Faults(), Late: s.desk.Late(), Panics: s.panics.Load(),
		Held: uint64(max(0, s.desk.Held())), Unheld: s.desk.Unheld(),
	}
}
