package rpc

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/decision"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// decisionService describes our own service as grpc-go's generated code does,
// except that the handlers get and return bytes.
func (s *Server) decisionService() *grpc.ServiceDesc {
	d := headgatev1.DecisionService_ServiceDesc
	d.HandlerType = (*any)(nil)
	d.Methods = []grpc.MethodDesc{
		{MethodName: "Check", Handler: s.check},
		{MethodName: "CheckBatch", Handler: s.checkBatch},
		{MethodName: "Peek", Handler: s.peek},
	}
	d.Streams = []grpc.StreamDesc{{
		StreamName: "CheckStream", Handler: s.checkStream, ServerStreams: true, ClientStreams: true,
	}}
	return &d
}

// check is a grpc.MethodHandler. Like those below, it recovers by itself.
func (s *Server) check(_ any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (reply any, err error) { //nolint:revive // grpc.MethodHandler has this order
	defer s.recovered(headgatev1.DecisionService_Check_FullMethodName, &err)
	return s.exchange(ctx, receive, s.checks.Check)
}

func (s *Server) peek(_ any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (reply any, err error) { //nolint:revive // grpc.MethodHandler has this order
	defer s.recovered(headgatev1.DecisionService_Peek_FullMethodName, &err)
	return s.exchange(ctx, receive, s.checks.Peek)
}

// An inbox is where a message of any length is received.
type inbox struct {
	pool *buffers
	buf  *[]byte // the pool's; nil until there is one
}

func (s *Server) checkBatch(_ any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (reply any, err error) { //nolint:revive // grpc.MethodHandler has this order
	defer s.recovered(headgatev1.DecisionService_CheckBatch_FullMethodName, &err)
	in := inbox{pool: s.pool}
	if err := receive(&in); err != nil {
		return nil, err // grpc-go's own status
	}
	// As long as that the answers of short checks fit.
	reply = s.pool.reply(2*len(*in.buf), func(dst []byte) []byte {
		dst, err = s.checks.CheckBatch(ctx, dst, *in.buf)
		return dst
	})
	s.pool.Put(in.buf)
	if err != nil {
		s.desk.CountFault()
		return nil, api.Status(err)
	}
	return reply, nil
}

// checkStream is a grpc.StreamHandler.
func (s *Server) checkStream(_ any, stream grpc.ServerStream) error {
	st := s.checks.NewStream(&pipe{stream, inbox{pool: s.pool}})
	read := make(chan error, 1)
	go func() { read <- s.readChecks(st, stream.Context()) }()
	err := st.Run(stream.Context(), s.draining.Done(), read)
	var fault *api.Fault
	switch {
	case errors.As(err, &fault):
		s.desk.CountFault()
		return api.Status(err)
	case errors.Is(err, decision.ErrStopping):
		return errDraining
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	default:
		return err // nil, or grpc-go's own status
	}
}

// readChecks is Read with panics recovered: it has its own goroutine.
func (s *Server) readChecks(st *decision.Stream, ctx context.Context) (err error) { //nolint:revive // st is the receiver
	defer s.recovered(headgatev1.DecisionService_CheckStream_FullMethodName, &err)
	return st.Read(ctx)
}

// A pipe is a decision.Pipe through a gRPC stream.
type pipe struct {
	stream grpc.ServerStream
	in     inbox
}

// Receive waits for a message.
func (p *pipe) Receive(use func([]byte) error) error {
	if err := p.stream.RecvMsg(&p.in); err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return err
	}
	err := use(*p.in.buf)
	p.in.pool.Put(p.in.buf)
	p.in.buf = nil
	return err
}

// Send sends a message.
func (p *pipe) Send(fill func([]byte) []byte) error {
	return p.stream.SendMsg(p.in.pool.reply(smallBytes, fill))
}
