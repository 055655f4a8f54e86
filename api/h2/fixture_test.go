package h2_test

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/headgate/headgate/api/h2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	echoPath = "/test.Service/Echo"
	latePath = "/test.Service/Late"
)

// echo answers with the request's message. What begins with '!' fails, what
// begins with '*' panics, with '+' when it is prepared once more.
type echo struct{}

func (echo) Begin(c *h2.Call) {
	if len(c.In) > 0 && c.In[0] == '*' {
		panic("as asked")
	}
}

func (echo) Prepare(c *h2.Call) bool {
	if len(c.In) == 0 || c.In[0] != '+' {
		return false
	}
	if c.State == nil {
		c.State = 1
		return true
	}
	panic("as asked")
}
func (echo) Decide(*h2.Call) bool { return true }
func (echo) Answer(dst []byte, c *h2.Call) []byte {
	if len(c.In) > 0 && c.In[0] == '!' {
		c.Fail(3, "as asked: 100 % ü")
		return dst
	}
	if c.Shed {
		return append(dst, "shed"...)
	}
	return append(dst, c.In...)
}
func (echo) Expire(dst []byte, _ *h2.Call) []byte { return append(dst, "expired"...) }

// late leaves each call to the test.
type late struct {
	timeout time.Duration
	calls   chan *h2.Call
}

type lateState struct{ in []byte }

func (l *late) Begin(c *h2.Call)    { c.Deadline = c.Now + int64(l.timeout) }
func (*late) Prepare(*h2.Call) bool { return false }
func (l *late) Decide(c *h2.Call) bool {
	c.State = &lateState{append([]byte(nil), c.In...)}
	l.calls <- c
	return false
}

func (l *late) Answer(dst []byte, c *h2.Call) []byte {
	s, _ := c.State.(*lateState)
	return append(dst, s.in...)
}
func (l *late) Expire(dst []byte, _ *h2.Call) []byte { return append(dst, "expired"...) }

func newLate(timeout time.Duration) *late { return &late{timeout, make(chan *h2.Call, 1000)} }

func clock() int64 { return time.Now().UnixNano() }

// start serves on loopback until the test ends.
func start(tb testing.TB, change func(*h2.Config)) (s *h2.Server, addr string) {
	tb.Helper()
	c := h2.Default()
	c.Now = clock
	c.Fast = map[string]h2.Unary{echoPath: echo{}}
	if change != nil {
		change(&c)
	}
	s, err := h2.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	tb.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	return s, l.Addr().String()
}

// brief is a context that ends in time for a test to say why.
func brief(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

// A wire is a raw HTTP/2 client.
type wire struct {
	t   testing.TB
	c   net.Conn
	f   *http2.Framer
	enc *hpack.Encoder
	buf *blockBuffer

	pipes  *pipes     // in a bubble: where more connections come from
	server *h2.Server // and who serves them
}

type blockBuffer struct{ b []byte }

func (b *blockBuffer) Write(p []byte) (int, error) { b.b = append(b.b, p...); return len(p), nil }

// dialRaw connects and says nothing.
func dialRaw(tb testing.TB, addr string) *wire {
	tb.Helper()
	c, err := new(net.Dialer).DialContext(tb.Context(), "tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	w := &wire{t: tb, c: c, f: http2.NewFramer(c, c), buf: &blockBuffer{}}
	w.enc = hpack.NewEncoder(w.buf)
	w.f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return w
}

// dial connects and exchanges SETTINGS.
func dial(tb testing.TB, addr string, settings ...http2.Setting) *wire {
	tb.Helper()
	w := dialRaw(tb, addr)
	w.send([]byte(http2.ClientPreface))
	w.must(w.f.WriteSettings(settings...))
	for acked := false; !acked; {
		if s, ok := w.read().(*http2.SettingsFrame); ok {
			if acked = s.IsAck(); !acked {
				w.must(w.f.WriteSettingsAck())
			}
		}
	}
	return w
}

func (w *wire) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) send(b []byte) {
	w.t.Helper()
	_, err := w.c.Write(b)
	w.must(err)
}

// read returns the next frame.
func (w *wire) read() http2.Frame {
	w.t.Helper()
	f, err := w.f.ReadFrame()
	w.must(err)
	return f
}

// block encodes a request's fields; more are name, value pairs that come last,
// or replace those of the same name; an empty value leaves a field out.
func (w *wire) block(path string, more ...string) []byte {
	fields := []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: path},
		{Name: ":authority", Value: "test"},
		{Name: "te", Value: "trailers"},
		{Name: "content-type", Value: "application/grpc"},
	}
	for i := 0; i < len(more); i += 2 {
		found := false
		for j := range fields {
			if fields[j].Name == more[i] {
				fields[j].Value, found = more[i+1], true
			}
		}
		if !found {
			fields = append(fields, hpack.HeaderField{Name: more[i], Value: more[i+1]})
		}
	}
	return w.encode(fields)
}

// blockOf is block with fields that may repeat.
func (w *wire) blockOf(path string, more ...string) []byte {
	block := bytes.Clone(w.block(path))
	var fields []hpack.HeaderField
	for i := 0; i < len(more); i += 2 {
		fields = append(fields, hpack.HeaderField{Name: more[i], Value: more[i+1]})
	}
	return append(block, w.encode(fields)...)
}

func (w *wire) encode(fields []hpack.HeaderField) []byte {
	w.t.Helper()
	w.buf.b = nil
	for _, f := range fields {
		if f.Value != "" {
			w.must(w.enc.WriteField(f))
		}
	}
	return w.buf.b
}

// open begins a request.
func (w *wire) open(id uint32, path string, end bool, more ...string) {
	w.t.Helper()
	w.must(w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.block(path, more...), EndHeaders: true, EndStream: end}))
}

// sync waits until all that was sent is handled.
func (w *wire) sync() {
	w.t.Helper()
	w.must(w.f.WritePing(false, [8]byte{'s', 'y', 'n', 'c'}))
	for {
		if f, ok := w.read().(*http2.PingFrame); ok && f.IsAck() {
			return
		}
	}
}

// message returns a gRPC message.
func message(text string) []byte {
	b := []byte{0, byte(len(text) >> 24), byte(len(text) >> 16), byte(len(text) >> 8), byte(len(text))}
	return append(b, text...)
}

// ask sends a request in one piece.
func (w *wire) ask(id uint32, path, text string, more ...string) {
	w.t.Helper()
	w.open(id, path, false, more...)
	w.must(w.f.WriteData(id, true, message(text)))
}

// An answer is what came for one stream.
type answer struct {
	http, status, text string
	data               string // message without prefix
	reset              http2.ErrCode
	wasReset, ended    bool
	trailers           map[string]string
}

// await reads until a stream has ended.
func (w *wire) await(id uint32) answer {
	w.t.Helper()
	return w.awaitAll(id)[id]
}

// awaitAll reads until all of these streams have ended.
func (w *wire) awaitAll(ids ...uint32) map[uint32]answer {
	w.t.Helper()
	answers := map[uint32]answer{}
	open := map[uint32]bool{}
	for _, id := range ids {
		open[id] = true
	}
	for len(open) > 0 {
		f := w.read()
		id := f.Header().StreamID
		a := answers[id]
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			a.take(f)
		case *http2.DataFrame:
			a.data += string(f.Data())
			a.ended = f.StreamEnded()
		case *http2.RSTStreamFrame:
			a.reset, a.wasReset, a.ended = f.ErrCode, true, true
		case *http2.GoAwayFrame:
			w.t.Fatalf("GOAWAY %v: %s", f.ErrCode, f.DebugData())
		case *http2.PingFrame:
			if !f.IsAck() {
				w.must(w.f.WritePing(true, f.Data))
			}
		}
		answers[id] = a
		if a.ended {
			delete(open, id)
		}
	}
	for id, a := range answers {
		if len(a.data) >= 5 {
			a.data = a.data[5:]
			answers[id] = a
		}
	}
	return answers
}

func (a *answer) take(f *http2.MetaHeadersFrame) {
	for _, h := range f.Fields {
		switch h.Name {
		case ":status":
			a.http = h.Value
		case "grpc-status":
			a.status = h.Value
		case "grpc-message":
			a.text = h.Value
		default:
			if a.trailers == nil {
				a.trailers = map[string]string{}
			}
			a.trailers[h.Name] = h.Value
		}
	}
	a.ended = f.StreamEnded()
}

// awaitGoAway reads until the server sends the connection away, and closes it.
func (w *wire) awaitGoAway() (http2.ErrCode, string) {
	w.t.Helper()
	for {
		f, err := w.f.ReadFrame()
		if err != nil {
			w.t.Fatalf("closed without GOAWAY: %v", err)
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			code, text := g.ErrCode, string(g.DebugData())
			for {
				if _, err := w.f.ReadFrame(); err != nil {
					return code, text
				}
			}
		}
	}
}
