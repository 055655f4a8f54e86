package rpc

import (
	"context"

	"google.golang.org/grpc"

	"github.com/headgate/headgate/api"
)

// reservationMethods are those of our own service that go through grpc-go: they come
// once for a call that lasts, and may wait. They get and return bytes.
func (s *Server) reservationMethods(service string) []grpc.MethodDesc {
	if s.checks.Reservations == nil {
		return nil
	}
	var methods []grpc.MethodDesc
	for name, answer := range map[string]func(context.Context, *api.Exchange) (*api.Exchange, error){
		"Reserve": s.checks.Reserve, "Extend": s.checks.Extend, "Settle": s.checks.Settle, "Cancel": s.checks.Cancel,
	} {
		method := "/" + service + "/" + name
		methods = append(methods, grpc.MethodDesc{
			MethodName: name,
			Handler: func(_ any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (reply any, err error) {
				defer s.recovered(method, &err)
				return s.exchange(ctx, receive, answer)
			},
		})
	}
	return methods
}
