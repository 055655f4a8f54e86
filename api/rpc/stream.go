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
	p := &pipe{ctx: r.Context(), body: r.Body, out: w, pool: &s.pool, most: s.checks.Bounds.MessageBytes}
	_ = p.Flush() // the client sees that the stream is open
	st := s.checks.NewStream(p)
	read, over := make(chan error, 1), make(chan struct{})
	go func(ctx context.Context) {
		defer close(over)
		read <- s.readChecks(ctx, st)
	}(r.Context())
	defer func() {
		_ = r.Body.Close() // ends the wait for a message
		<-over
	}()
	err := st.Run(r.Context(), s.draining.Done(), read)
	end := status.Convert(s.streamStatus(err))
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(int(end.Code())))
	if m := end.Message(); m != "" {
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", h2.EncodeMessage(m))
	}
}

// readChecks is Stream.Read with panics recovered, since it has its own goroutine.
func (s *Server) readChecks(ctx context.Context, st *decision.Stream) (err error) {
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

// inboxBytes is how much room there is for messages, once smallBytes of one have
// come: the beginning of a message alone shall cost little. Small messages that
// wait in it are answered together.
const inboxBytes = 64 << 10

// A pipe is a decision.Pipe in the form of gRPC, over HTTP/2.
type pipe struct {
	ctx  context.Context //nolint:containedctx // the request's, which is as long as the pipe
	body io.Reader
	out  http.ResponseWriter
	pool *buffers
	most int // bytes of a message

	prefix [prefixBytes]byte
	in     *[]byte // what was received, from r to w; nil if that is nothing
	r, w   int
}

// Receive waits for a message. While nothing of one is there, it holds no buffer.
func (p *pipe) Receive(use func([]byte) error) error {
	n, err := p.whole()
	for ; n < 0 && err == nil; n, err = p.whole() {
		if err = p.Flush(); err == nil {
			err = p.more()
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	from := p.r + prefixBytes
	err = use((*p.in)[from : from+n])
	h2.Consumed(p.ctx, prefixBytes+n)
	if p.r = from + n; p.r == p.w {
		p.pool.Put(p.in)
		p.in, p.r, p.w = nil, 0, 0
	}
	return err
}

// length returns that of the message that has begun to come, or −1 if not even
// that has.
func (p *pipe) length() (n int, err error) {
	if p.w-p.r < prefixBytes {
		return -1, nil
	}
	prefix := (*p.in)[p.r:]
	n = int(binary.BigEndian.Uint32(prefix[1:]))
	switch {
	case prefix[0] != 0:
		return 0, status.Error(codes.Unimplemented, "a compressed message: only identity is supported")
	case n > p.most:
		return 0, status.Error(codes.ResourceExhausted, fmt.Sprintf("message: %d bytes: at most %d bytes", n, p.most))
	}
	return n, nil
}

// whole returns the length of the next message if all of it is there, else −1.
func (p *pipe) whole() (n int, err error) {
	n, err = p.length()
	if err != nil || p.w-p.r < prefixBytes+n {
		return -1, err
	}
	return n, nil
}

// more waits for more bytes.
func (p *pipe) more() error {
	if p.in == nil {
		got, err := p.body.Read(p.prefix[:])
		if got > 0 {
			p.in = p.pool.Get(smallBytes)
			p.r, p.w = 0, copy(*p.in, p.prefix[:got])
			return nil
		}
		return err
	}
	if p.r > 0 {
		p.r, p.w = 0, copy(*p.in, (*p.in)[p.r:p.w])
	}
	if p.w == len(*p.in) && p.w < inboxBytes {
		small := p.in
		p.in = p.pool.Get(inboxBytes)
		p.w = copy(*p.in, (*small)[:p.w])
		p.pool.Put(small)
	}
	if p.w == len(*p.in) { // all of it has come: more may be believed
		n, err := p.length()
		if err != nil {
			return err
		}
		*p.in = slices.Grow(*p.in, min(p.w, prefixBytes+n-p.w))
		*p.in = (*p.in)[:cap(*p.in)]
	}
	got, err := p.body.Read((*p.in)[p.w:])
	p.w += got
	if got > 0 {
		return nil
	}
	return cut(err)
}

// cut returns what the end of the body within a message means.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return &api.Fault{Reason: api.Malformed, Field: "message", Bound: "must be whole"}
	}
	return err
}

// Send adds a message to what Flush sends.
func (p *pipe) Send(fill func([]byte) []byte) error {
	b := p.pool.Get(prefixBytes)
	defer p.pool.Put(b)
	(*b)[0] = 0 // not compressed
	*b = fill(*b)
	binary.BigEndian.PutUint32((*b)[1:], uint32(len(*b)-prefixBytes))
	if _, err := p.out.Write(*b); err != nil {
		return fmt.Errorf("rpc: send: %w", err)
	}
	return nil
}

// Flush sends what Send has left.
func (p *pipe) Flush() error {
	if err := http.NewResponseController(p.out).Flush(); err != nil {
		return fmt.Errorf("rpc: flush: %w", err)
	}
	return nil
}
