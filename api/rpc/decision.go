package rpc

import (
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// decisionService describes our own service to reflection. Of its methods only those
// of reservations come to grpc-go: see Server.fast and Server.rest.
func (s *Server) decisionService() *grpc.ServiceDesc {
	d := headgatev1.DecisionService_ServiceDesc
	d.HandlerType, d.Methods, d.Streams = (*any)(nil), s.reservationMethods(d.ServiceName), nil
	return &d
}

// authorizationService describes ext_authz to reflection. Its method does not come
// to grpc-go either.
func authorizationService() *grpc.ServiceDesc {
	d := authv3.Authorization_ServiceDesc
	d.HandlerType, d.Methods = (*any)(nil), nil
	return &d
}
