package rpc

import (
	"context"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/headgate/headgate/api/gubernator"
	"github.com/headgate/headgate/api/h2"
)

// A gubernatorHealth answers HealthCheck, and LiveCheck. Their requests have no
// fields.
type gubernatorHealth struct {
	s    *Server
	live bool
}

// Begin does nothing.
func (gubernatorHealth) Begin(*h2.Call) {}

// Prepare does nothing.
func (gubernatorHealth) Prepare(*h2.Call) (again bool) { return false }

// Decide does nothing.
func (gubernatorHealth) Decide(*h2.Call) (done bool) { return true }

// Answer says what the node's health is; that it lives is said by answering.
func (g gubernatorHealth) Answer(dst []byte, c *h2.Call) []byte {
	switch {
	case g.live:
		return dst
	case g.s.isServing():
		return gubernator.AppendHealthy(dst)
	default:
		c.Fail(uint32(codes.Unavailable), "the node is not serving")
		return dst
	}
}

// Expire is never called.
func (gubernatorHealth) Expire(dst []byte, _ *h2.Call) []byte { return dst }

// isServing reports whether health says SERVING.
func (s *Server) isServing() bool {
	resp, err := s.health.Check(context.Background(), &healthv1.HealthCheckRequest{})
	return err == nil && resp.GetStatus() == healthv1.HealthCheckResponse_SERVING
}
