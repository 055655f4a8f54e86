package rpc

import (
	"context"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/headgate/headgate/api/gubernator"
	"github.com/headgate/headgate/api/h2"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// HealthName is the name by which clients of Envoy's own service ask for its
// health.
const HealthName = "ratelimit"

// healthNames are the names whose health is told.
func healthNames() []string {
	return []string{
		"", HealthName,
		rlsv3.RateLimitService_ServiceDesc.ServiceName,
		headgatev1.DecisionService_ServiceDesc.ServiceName,
		gubernator.ServiceName,
	}
}

// SetServing says whether health answers SERVING, for the whole server and each
// of its services. It has no effect once Drain has begun.
func (s *Server) SetServing(serving bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthv1.HealthCheckResponse_SERVING
	}
	for _, name := range healthNames() {
		s.health.SetServingStatus(name, state)
	}
}

// A healthCheck answers grpc.health.v1's Check. Probes are rare: it may allocate.
type healthCheck struct{ s *Server }

// Begin does nothing.
func (healthCheck) Begin(*h2.Call) {}

// Prepare does nothing.
func (healthCheck) Prepare(*h2.Call) (again bool) { return false }

// Decide does nothing.
func (healthCheck) Decide(*h2.Call) (done bool) { return true }

// Answer looks the name up.
func (h healthCheck) Answer(dst []byte, c *h2.Call) []byte {
	var req healthv1.HealthCheckRequest
	if err := proto.Unmarshal(c.In, &req); err != nil {
		c.Fail(uint32(codes.Internal), "message: not a HealthCheckRequest")
		return dst
	}
	resp, err := h.s.health.Check(context.Background(), &req)
	if err != nil {
		c.Fail(uint32(codes.NotFound), "service: unknown")
		return dst
	}
	if dst, err = (proto.MarshalOptions{}).MarshalAppend(dst, resp); err != nil {
		c.Fail(uint32(codes.Internal), "internal error")
	}
	return dst
}

// Expire is never called.
func (healthCheck) Expire(dst []byte, _ *h2.Call) []byte { return dst }
