package rpc

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

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
}

func newListener(l net.Listener, most int, open *atomic.Int64, refused *atomic.Uint64) (*listener, error) {
	var b bytes.Buffer
	f := http2.NewFramer(&b, nil)
	reason := fmt.Sprintf("connections_max: %d connections are open", most)
	if err := f.WriteSettings(); err != nil {
		return nil, fmt.Errorf("rpc: encode settings frame: %w", err)
	}
	if err := f.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, []byte(reason)); err != nil {
		return nil, fmt.Errorf("rpc: encode goaway frame: %w", err)
	}
	return &listener{Listener: l, most: int64(most), goaway: b.Bytes(), open: open, refused: refused}, nil
}

// Accept returns the next connection that there is room for.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &conn{Conn: c, open: l.open}, nil
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
	open *atomic.Int64
	once sync.Once
}

// Close closes the connection.
func (c *conn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
