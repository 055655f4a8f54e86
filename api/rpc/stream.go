package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/decision"
	"github.com/headgate/headgate/api/h2"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// rest is the handler of what is not answered on the front's read loop. Streams
// of checks don't go through grpc-go: of all that it does for a message they need
// the 5 bytes before it.
func (s *Server) rest() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == headgatev1.DecisionService_CheckStream_FullMethodName {
			s.checkStream(w, r)
			return
		}
		s.grpc.ServeHTTP(w, r)
	})
}

// checkStream serves one CheckStream.
func (s *Server) checkStream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Grpc-Accept-Encoding", "identity")
	p := &pipe{ctx: r.Context(), body: r.Body, w: w, pool: &s.pool, most: s.checks.Bounds.MessageBytes}
	_ = p.flush() // the client sees that the stream is open
	st := s.checks.NewStream(p)
	read, over := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(over)
		read <- s.readChecks(st, r.Context())
	}()
	defer func() {
		_ = r.Body.Close() // ends the wait for a message
		<-over
	}()
	err := st.Run(r.Context(), s.draining.Done(), read)
	end := status.Convert(s.streamStatus(err))
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(int(end.Code())))
	if m := end.Message(); m != "" {
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", percentEncode(m))
	}
}

// readChecks is Stream.Read with panics recovered, since it has its own goroutine.
func (s *Server) readChecks(st *decision.Stream, ctx context.Context) (err error) { //nolint:revive // st is the receiver
	defer s.recovered(headgatev1.DecisionService_CheckStream_FullMethodName, &err)
	return st.Read(ctx)
}

// streamStatus returns the status of a stream that Run has ended with err.
func (s *Server) streamStatus(err error) error {
	var fault *api.Fault
	switch {
	case errors.As(err, &fault):
		s.desk.CountFault()
		return api.Status(err)
	case errors.Is(err, decision.ErrStopping):
		return errDraining
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return api.Status(err)
}

// prefixBytes is what gRPC has before each message: whether it is compressed,
// and its length.
const prefixBytes = 5

// firstBytes is how much room there is for a message before its bytes are there:
// a length alone shall cost nothing.
const firstBytes = 64 << 10

// A pipe is a decision.Pipe in the form of gRPC, over HTTP/2.
type pipe struct {
	ctx    context.Context //nolint:containedctx // the request's, which is as long as the pipe
	body   io.Reader
	w      http.ResponseWriter
	pool   *buffers
	most   int // bytes of a message
	prefix [prefixBytes]byte
}

// Receive waits for a message. Until there is one, it holds no buffer.
func (p *pipe) Receive(use func([]byte) error) error {
	if _, err := io.ReadFull(p.body, p.prefix[:]); err != nil {
		return p.cut(err)
	}
	n := int(binary.BigEndian.Uint32(p.prefix[1:]))
	switch {
	case p.prefix[0] != 0:
		return status.Error(codes.Unimplemented, "a compressed message: only identity is supported")
	case n > p.most:
		return status.Error(codes.ResourceExhausted, fmt.Sprintf("message: %d bytes: at most %d bytes", n, p.most))
	}
	b := p.pool.Get(min(n, firstBytes))
	defer p.pool.Put(b)
	for read := 0; read < n; {
		if read == len(*b) {
			*b = slices.Grow(*b, min(read, n-read))
			*b = (*b)[:min(n, cap(*b))]
		}
		got, err := p.body.Read((*b)[read:])
		read += got
		if err != nil && read < n {
			return p.cut(io.ErrUnexpectedEOF)
		}
	}
	err := use(*b)
	h2.Consumed(p.ctx, prefixBytes+n)
	return err
}

// cut returns what the end of the body means.
func (p *pipe) cut(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &api.Fault{Reason: api.Malformed, Field: "message", Bound: "must be whole"}
	}
	return err
}

// Send sends a message.
func (p *pipe) Send(fill func([]byte) []byte) error {
	b := p.pool.Get(prefixBytes)
	defer p.pool.Put(b)
	(*b)[0] = 0 // not compressed
	*b = fill(*b)
	binary.BigEndian.PutUint32((*b)[1:], uint32(len(*b)-prefixBytes))
	if _, err := p.w.Write(*b); err != nil {
		return fmt.Errorf("rpc: send: %w", err)
	}
	return p.flush()
}

func (p *pipe) flush() error {
	return http.NewResponseController(p.w).Flush()
}

// percentEncode writes a message as the trailer grpc-message has it.
func percentEncode(m string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(m))
	for i := range len(m) {
		if c := m[i]; c < ' ' || c > '~' || c == '%' {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}
