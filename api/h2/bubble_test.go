package h2_test

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/headgate/headgate/api/h2"
)

// pipes is a listener of connections in memory, for a bubble of synctest.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	most  atomic.Int64 // the longest write of the server, bytes
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

// sized measures writes.
type sized struct {
	net.Conn
	l *pipes
}

func (s sized) Write(b []byte) (int, error) {
	s.l.most.Store(max(s.l.most.Load(), int64(len(b)))) // one writes at a time
	return s.Conn.Write(b)                              //nolint:wrapcheck // it is the connection
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, errors.New("closed")
	}
}

func (l *pipes) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}
func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects, and closes the connection at the end.
func (l *pipes) dial(tb testing.TB) (w *wire, end func()) {
	tb.Helper()
	theirs, ours := net.Pipe()
	l.conns <- sized{theirs, l}
	w = &wire{t: tb, c: ours, f: http2.NewFramer(ours, ours), buf: &blockBuffer{}, pipes: l}
	w.enc = hpack.NewEncoder(w.buf)
	w.f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	hello := make(chan struct{})
	go func() {
		defer close(hello)
		w.send([]byte(http2.ClientPreface))
		w.must(w.f.WriteSettings())
		w.must(w.f.WriteSettingsAck())
	}()
	for acked := false; !acked; {
		if s, ok := w.read().(*http2.SettingsFrame); ok {
			acked = s.IsAck()
		}
	}
	<-hello
	return w, func() { _ = ours.Close() }
}

// bubble serves connections in memory, within a bubble of synctest, and dials
// one.
func bubble(tb testing.TB, change func(*h2.Config)) (w *wire, end func()) {
	tb.Helper()
	c := h2.Default()
	c.Now = func() int64 { return time.Now().UnixNano() }
	c.Fast = map[string]h2.Unary{echoPath: echo{}}
	if change != nil {
		change(&c)
	}
	s, err := h2.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	l := newPipes()
	go func() { _ = s.Serve(l) }()
	w, _ = l.dial(tb)
	w.server = s
	return w, func() {
		_ = w.c.Close()
		s.Close()
	}
}

// another dials once more.
func (w *wire) another() (other *wire, end func()) {
	w.t.Helper()
	return w.pipes.dial(w.t)
}
