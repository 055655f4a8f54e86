package rpc

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// A listener accepts connections up to a bound. A client beyond it is told at
// once, so that it can go elsewhere, instead of waiting in the kernel's backlog.
type listener struct {
	net.Listener
	most    int64
	goaway  []byte
	open    *atomic.Int64
	refused *atomic.Uint64
	shaking *handshakes
}

// listen returns l, bounded and counted.
func (s *Server) listen(l net.Listener) (*listener, error) {
	var b bytes.Buffer
	f := http2.NewFramer(&b, nil)
	reason := fmt.Sprintf("connections_max: %d connections are open", s.connections)
	if err := f.WriteSettings(); err != nil {
		return nil, fmt.Errorf("rpc: encode settings frame: %w", err)
	}
	if err := f.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, []byte(reason)); err != nil {
		return nil, fmt.Errorf("rpc: encode goaway frame: %w", err)
	}
	if s.encrypted {
		b.Reset() // it would take a handshake to say it
	}
	return &listener{
		Listener: l, most: int64(s.connections), goaway: b.Bytes(),
		open: &s.open, refused: &s.refused, shaking: &s.shaking,
	}, nil
}

// Accept returns the next connection that there is room for.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			counted := &conn{Conn: c, open: l.open, shaking: l.shaking}
			l.shaking.begin(counted)
			return counted, nil
		}
		l.open.Add(-1)
		l.refused.Add(1)
		// It fits into an empty socket buffer: this can't block. What the
		// client makes of it is its own affair.
		_, _ = c.Write(l.goaway)
		_ = c.Close()
	}
}

// A conn is counted until it is closed.
type conn struct {
	net.Conn
	open    *atomic.Int64
	shaking *handshakes
	once    sync.Once
}

// SetDeadline sets the connection's deadlines. grpc-go sets them for the
// handshake and takes them back when that is over: no other sign of it reaches
// a connection.
func (c *conn) SetDeadline(t time.Time) error {
	if t.IsZero() {
		c.shaking.done(c)
	}
	return c.Conn.SetDeadline(t)
}

// Close closes the connection.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.open.Add(-1)
		c.shaking.done(c)
	})
	return c.Conn.Close()
}

// handshakes are the connections that are not HTTP/2 yet. grpc-go stops, even
// at once, only when there are none, and lets each take handshakeTimeout. The
// zero value is empty.
type handshakes struct {
	mu    sync.Mutex
	conns map[*conn]struct{}
	ended bool
}

func (h *handshakes) begin(c *conn) {
	h.mu.Lock()
	ended := h.ended
	if !ended {
		if h.conns == nil {
			h.conns = map[*conn]struct{}{}
		}
		h.conns[c] = struct{}{}
	}
	h.mu.Unlock()
	if ended {
		_ = c.Close()
	}
}

func (h *handshakes) done(c *conn) {
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
}

// end closes the connections that are still shaking hands, and those to come.
// No request of theirs was read.
func (h *handshakes) end() {
	h.mu.Lock()
	h.ended = true
	late := h.conns
	h.conns = nil
	h.mu.Unlock()
	for c := range late {
		_ = c.Close()
	}
}
