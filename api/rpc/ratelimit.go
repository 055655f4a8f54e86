package rpc

import (
	"bytes"
	"context"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/headgate/headgate/api"
)

// rateLimitService describes Envoy's service as grpc-go's generated code does,
// except that the handler gets and returns bytes.
func (s *Server) rateLimitService() *grpc.ServiceDesc {
	d := rlsv3.RateLimitService_ServiceDesc
	d.HandlerType = (*any)(nil)
	d.Methods = []grpc.MethodDesc{{MethodName: "ShouldRateLimit", Handler: s.shouldRateLimit}}
	return &d
}

// An incoming is where a message of Envoy's service is received. It opens an
// exchange when the message is there: a caller that sends only headers holds none.
type incoming struct {
	desk *api.Desk
	x    *api.Exchange
}

// shouldRateLimit is a grpc.MethodHandler. It runs no interceptor: it recovers
// by itself.
func (s *Server) shouldRateLimit(_ any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (reply any, err error) { //nolint:revive // grpc.MethodHandler has this order
	defer s.recovered(rlsv3.RateLimitService_ShouldRateLimit_FullMethodName, &err)
	return s.exchange(ctx, receive, s.limits.ShouldRateLimit)
}

// exchange receives a message, has it answered, and returns the answer. It
// closes the exchange that answer returns.
func (s *Server) exchange(ctx context.Context, receive func(any) error, answer func(context.Context, *api.Exchange) (*api.Exchange, error)) (reply any, err error) {
	in := incoming{desk: s.desk}
	if err := receive(&in); err != nil {
		if in.x != nil {
			s.desk.Close(in.x)
		}
		return nil, err // grpc-go's own status
	}
	x, err := answer(ctx, in.x)
	if err != nil {
		s.desk.CountFault()
		err = api.Status(err)
	} else {
		// The transport keeps the bytes for longer than x is ours.
		reply = mem.SliceBuffer(bytes.Clone(x.Out))
	}
	s.desk.Close(x)
	return reply, err
}
