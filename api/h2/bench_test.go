package h2_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/headgate/headgate/api/h2"
)

// A tape is a connection whose client has recorded what it says: some frames
// first, then the same kind of batch again and again, and hears nothing.
type tape struct {
	net.Conn
	hello   []byte
	batch   func() []byte
	rounds  int // −1: without end
	closed  chan struct{}
	stopped atomic.Bool
	drained chan struct{} // closed when all was read
	rest    []byte
}

func (p *tape) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		switch {
		case len(p.hello) > 0:
			p.rest, p.hello = p.hello, nil
		case p.rounds == 0 || p.stopped.Load():
			close(p.drained)
			<-p.closed
			return 0, io.EOF
		default:
			p.rounds--
			p.rest = p.batch()
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *tape) Write(b []byte) (int, error) { return len(b), nil }
func (p *tape) Close() error {
	if p.stopped.CompareAndSwap(false, true) {
		close(p.closed)
	}
	return nil
}
func (*tape) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*tape) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*tape) SetDeadline(time.Time) error      { return nil }
func (*tape) SetReadDeadline(time.Time) error  { return nil }
func (*tape) SetWriteDeadline(time.Time) error { return nil }

// one is a listener of one connection.
type one struct {
	c    chan net.Conn
	done chan struct{}
}

func (l *one) Accept() (net.Conn, error) {
	select {
	case c := <-l.c:
		return c, nil
	case <-l.done:
		return nil, errors.New("closed")
	}
}

func (l *one) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}
func (*one) Addr() net.Addr { return &net.TCPAddr{} }

// newTape records a client whose batches have n requests of size bytes, with
// fresh values in their headers if envoy.
func newTape(n, size int, envoy bool) *tape {
	p := &tape{closed: make(chan struct{}), drained: make(chan struct{}), rounds: -1}
	var buf bytes.Buffer
	buf.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&buf, nil)
	_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	_ = f.WriteSettingsAck()
	_ = f.WriteWindowUpdate(0, 1<<30)
	p.hello = append([]byte(nil), buf.Bytes()...)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	field := func(name, value string) { _ = enc.WriteField(hpack.HeaderField{Name: name, Value: value}) }
	body := message(string(bytes.Repeat([]byte{'x'}, size)))
	id, fresh := uint32(1), uint64(0)
	hex := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			fresh = fresh*6364136223846793005 + 1442695040888963407
			b[i] = "0123456789abcdef"[fresh>>60]
		}
		return string(b)
	}
	// A few recordings, so that encoding is no part of what is measured. The
	// table goes on from the last to the first, since all fresh values are
	// inserted and what is referred to was never evicted.
	p.batch = func() []byte {
		buf.Reset()
		for range n {
			block.Reset()
			field(":method", "POST")
			field(":scheme", "http")
			field(":path", echoPath)
			field(":authority", "ratelimit")
			field("te", "trailers")
			field("content-type", "application/grpc")
			if envoy {
				field("grpc-timeout", "20m")
				field("x-request-id", hex(8)+"-"+hex(4)+"-"+hex(4)+"-"+hex(4)+"-"+hex(12))
				field("traceparent", "00-"+hex(32)+"-"+hex(16)+"-01")
				field("x-envoy-internal", "true")
				field("x-forwarded-for", "10.0.0.1")
			}
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
			_ = f.WriteData(id, true, body)
			id += 2
		}
		return buf.Bytes()
	}
	return p
}

// play serves one tape until it is read.
func play(tb testing.TB, p *tape, change ...func(*h2.Config)) *h2.Server {
	tb.Helper()
	c := h2.Default()
	for _, f := range change {
		f(&c)
	}
	c.Now, c.BehindMax = clock, 0
	c.Fast = map[string]h2.Unary{echoPath: echo{}}
	s, err := h2.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	l := &one{make(chan net.Conn, 1), make(chan struct{})}
	go func() { _ = s.Serve(l) }()
	l.c <- p
	<-p.drained
	stats := s.Stats()
	s.Close()
	if stats.Abuse != [len(stats.Abuse)]uint64{} {
		tb.Fatalf("abuse: %v", stats.Abuse)
	}
	return s
}

// BenchmarkFront measures a request's way through the front, from the bytes of
// a read to those of a write, in batches of 32 with a message of 60 bytes. An
// authorized one has a hook that looks for a field that is not there.
func BenchmarkFront(b *testing.B) {
	authorize := func(c *h2.Config) {
		c.Authorize = func(h *h2.Headers) (r h2.Refusal) {
			if v, ok := h.Get("authorization"); ok && len(v) > 0 {
				r.Code = 16
			}
			return r
		}
	}
	for _, name := range []string{"minimal", "envoy", "minimal/authorized", "envoy/authorized"} {
		b.Run(name, func(b *testing.B) {
			envoy := strings.HasPrefix(name, "envoy")
			var change []func(*h2.Config)
			if strings.HasSuffix(name, "authorized") {
				change = append(change, authorize)
			}
			const batch = 32
			p := newTape(batch, 60, envoy)
			record := p.batch
			batches := make([][]byte, 0, b.N/batch+1)
			for range b.N/batch + 1 {
				batches = append(batches, bytes.Clone(record()))
			}
			p.rounds = len(batches)
			i := 0
			p.batch = func() []byte { i++; return batches[i-1] }
			b.ReportAllocs()
			b.ResetTimer()
			play(b, p, change...)
		})
	}
}
