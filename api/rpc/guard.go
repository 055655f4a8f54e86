package rpc

import (
	"context"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// recovered turns a panic of a handler into an INTERNAL status. It is deferred.
func (s *Server) recovered(method string, err *error) {
	v := recover()
	if v == nil {
		return
	}
	s.panicked(method, v, debug.Stack())
	*err = status.Error(codes.Internal, "internal error")
}

// guardUnary recovers panics of unary calls.
func (s *Server) guardUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer s.recovered(info.FullMethod, &err)
	return handler(ctx, req)
}

// panicked counts and reports a panic.
func (s *Server) panicked(method string, v any, stack []byte) {
	s.panics.Add(1)
	if s.events.Panic != nil {
		s.events.Panic(method, v, stack)
	}
}

// errDraining tells the client of a stream to go elsewhere.
var errDraining = status.Error(codes.Unavailable, "the server is draining")

// guardStream recovers panics of streams, and ends them when the server drains:
// a health watch, or a reflection client that stays, would hold it up for ever.
func (s *Server) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if err != nil && s.draining.Err() != nil {
			err = errDraining
		}
	}()
	defer s.recovered(info.FullMethod, &err)
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.draining, cancel)()
	return handler(srv, &guardedStream{stream, ctx})
}

// A guardedStream is a stream with a context that ends when the server drains.
type guardedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // grpc.ServerStream has it as a method
}

// Context returns the stream's context.
func (g *guardedStream) Context() context.Context { return g.ctx }

// RecvMsg waits for a message until the stream's context ends. Then the handler
// must return, which ends the wait that is left behind; m belongs to it.
func (g *guardedStream) RecvMsg(m any) error {
	received := make(chan error, 1)
	go func() { received <- g.ServerStream.RecvMsg(m) }()
	select {
	case err := <-received:
		return err
	case <-g.ctx.Done():
		return status.FromContextError(g.ctx.Err()).Err()
	}
}
