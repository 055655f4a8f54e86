package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func setting(id http2.SettingID, v uint32) http2.Setting { return http2.Setting{ID: id, Val: v} }

func TestBodiesFollowTheWindows(t *testing.T) {
	for _, tc := range []struct {
		name  string
		serve func(*rawConn)
	}{
		{"a stream's window of 10 bytes", func(c *rawConn) {
			c.handshake(setting(http2.SettingInitialWindowSize, 10))
			c.answerAll()
		}},
		{"no window on a stream until it is granted", func(c *rawConn) {
			c.handshake(setting(http2.SettingInitialWindowSize, 0))
			for c.windows[1] == 0 { // streams can't be seen before their HEADERS
				f, err := c.fr.ReadFrame()
				if err != nil {
					return
				}
				if h, ok := f.(*http2.HeadersFrame); ok {
					if _, err := c.hdec.Write(h.HeaderBlockFragment()); err != nil || c.hdec.Close() != nil {
						c.t.Error(err)
					}
					c.windows[h.StreamID] = 0
					c.grow(h.StreamID, 1000)
				}
			}
			c.settings(setting(http2.SettingInitialWindowSize, 50))
			c.answerAll()
		}},
		{"a connection's window that is renewed at the last moment", func(c *rawConn) {
			c.handshake()
			c.grant = func(uint32, int) {
				if c.window == 0 {
					c.grow(0, 65_535)
				}
			}
			c.answerAll()
		}},
		{"windows that grow by a setting", func(c *rawConn) {
			c.handshake(setting(http2.SettingInitialWindowSize, 5))
			c.grant = func(id uint32, n int) {
				c.grow(0, n)
				if id != 0 {
					c.settings(setting(http2.SettingInitialWindowSize, uint32(c.initialWindow)+5))
				}
			}
			c.answerAll()
		}},
		{"no header table", func(c *rawConn) {
			c.handshake(setting(http2.SettingHeaderTableSize, 0))
			c.answerAll()
		}},
		{"a header table that shrinks and grows", func(c *rawConn) {
			c.handshake()
			for i := 0; ; i++ {
				id := c.next()
				if id == 0 {
					return
				}
				if i%50 == 49 {
					size := [...]uint32{0, 4096, 100}[i/50%3]
					c.settings(setting(http2.SettingHeaderTableSize, size))
				}
				c.answer(id)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := mustRun(t, small(serveRaw(t, tc.serve)))
			checkClean(t, r)
			if r.Requests < 50 {
				t.Errorf("only %d requests", r.Requests)
			}
		})
	}
}

func TestAnswersAreUnderstood(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer func(c *rawConn, id uint32)
	}{
		{"in one piece", (*rawConn).answer},
		{"in frames of a byte, padded", func(c *rawConn, id uint32) {
			c.headers(id, false, ":status", "200")
			for _, b := range allowed() {
				c.try(c.fr.WriteDataPadded(id, false, []byte{b}, make([]byte, 7)))
			}
			c.headers(id, true, "grpc-status", "0")
		}},
		{"with headers in several frames, padded and with priority", func(c *rawConn, id uint32) {
			b := c.block(":status", "200", "x-long", strings.Repeat("x", 100))
			c.try(c.fr.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: b[:1], PadLength: 9,
				Priority: http2.PriorityParam{Weight: 3, StreamDep: id + 2},
			}))
			c.try(c.fr.WriteContinuation(id, false, b[1:len(b)-1]))
			c.try(c.fr.WriteContinuation(id, true, b[len(b)-1:]))
			c.data(id, false, allowed()...)
			c.headers(id, true, "grpc-status", "0", "grpc-message", "")
		}},
		{"after an interim response and an empty frame", func(c *rawConn, id uint32) {
			c.headers(id, false, ":status", "100")
			c.headers(id, false, ":status", "200")
			c.data(id, false)
			c.data(id, false, allowed()...)
			c.headers(id, true, "grpc-status", "0")
		}},
		{"between frames that mean nothing", func(c *rawConn, id uint32) {
			c.try(c.fr.WriteRawFrame(0xee, 0, id, []byte("?")))
			c.answer(id)
			c.try(c.fr.WriteWindowUpdate(id, 10))
			c.try(c.fr.WriteRSTStream(id, http2.ErrCodeNo))
			c.data(id, false, 1, 2, 3)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var answered atomic.Int64
			r := mustRun(t, small(serveRaw(t, func(c *rawConn) {
				c.handshake()
				for id := c.next(); id != 0; id = c.next() {
					answered.Add(1)
					tc.answer(c, id)
				}
			})))
			checkClean(t, r)
			if n := uint64(answered.Load()); r.Verdicts.OK != n {
				t.Errorf("%d verdicts of %d", r.Verdicts.OK, n)
			}
		})
	}
}

func TestWhatIsNoAnswerIsAFault(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		answer     func(c *rawConn, id uint32)
	}{
		{"no status", "bad_response", func(c *rawConn, id uint32) {
			c.headers(id, false, ":status", "200")
			c.data(id, false, allowed()...)
			c.headers(id, true, "x", "y")
		}},
		{"no trailers", "bad_response", func(c *rawConn, id uint32) {
			c.headers(id, false, ":status", "200")
			c.data(id, true, allowed()...)
		}},
		{"no message", "bad_response", func(c *rawConn, id uint32) {
			c.headers(id, true, ":status", "200", "grpc-status", "0")
		}},
		{"half a message", "bad_response", func(c *rawConn, id uint32) {
			c.headers(id, false, ":status", "200")
			c.data(id, false, allowed()[:6]...)
			c.headers(id, true, "grpc-status", "0")
		}},
		{"two messages", "bad_response", func(c *rawConn, id uint32) {
			c.headers(id, false, ":status", "200")
			c.data(id, false, append(allowed(), allowed()...)...)
			c.headers(id, true, "grpc-status", "0")
		}},
		{"two messages in two frames", "bad_response", func(c *rawConn, id uint32) {
			c.headers(id, false, ":status", "200")
			c.data(id, false, allowed()...)
			c.data(id, false, allowed()...)
			c.headers(id, true, "grpc-status", "0")
		}},
		{"a compressed message", "bad_response", func(c *rawConn, id uint32) {
			c.headers(id, false, ":status", "200")
			c.data(id, false, 1, 0, 0, 0, 2, 8, 1)
			c.headers(id, true, "grpc-status", "0")
		}},
		{"a message that is none", "bad_response", func(c *rawConn, id uint32) {
			c.headers(id, false, ":status", "200")
			c.data(id, false, 0, 0, 0, 0, 1, 0xff)
			c.headers(id, true, "grpc-status", "0")
		}},
		{"an HTTP error", "bad_response", func(c *rawConn, id uint32) { c.headers(id, true, ":status", "503") }},
		{"a reset", "stream_reset", func(c *rawConn, id uint32) { c.try(c.fr.WriteRSTStream(id, http2.ErrCodeInternal)) }},
		{"always refused", "stream_reset", func(c *rawConn, id uint32) { c.try(c.fr.WriteRSTStream(id, http2.ErrCodeRefusedStream)) }},
		{"a window too large", "stream_reset", func(c *rawConn, id uint32) { c.try(c.fr.WriteWindowUpdate(id, 1<<31-1)) }},
		{"a connection's window too large", "connection_lost", func(c *rawConn, _ uint32) { c.try(c.fr.WriteWindowUpdate(0, 1<<31-1)) }},
		{"a push", "connection_lost", func(c *rawConn, id uint32) {
			c.try(c.fr.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, EndHeaders: true}))
		}},
		{"a frame too large", "connection_lost", func(c *rawConn, id uint32) { c.data(id, false, make([]byte, frameMax+1)...) }},
		{"headers that can't be read", "connection_lost", func(c *rawConn, id uint32) {
			c.try(c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0xff, 0xff, 0xff}, EndHeaders: true}))
		}},
		{"endless headers", "connection_lost", func(c *rawConn, id uint32) {
			c.try(c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block("a", "b")}))
			for range 10 {
				c.try(c.fr.WriteContinuation(id, false, bytes.Repeat([]byte{0x82}, 10_000)))
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := small(serveRaw(t, func(c *rawConn) {
				c.handshake()
				for id := c.next(); id != 0; id = c.next() {
					tc.answer(c, id)
				}
			}))
			c.Duration = 50 * time.Millisecond
			r := mustRun(t, c)
			if n := r.TransportErrors[tc.want]; n == 0 || n != r.Requests || len(r.TransportErrors) != 1 {
				t.Errorf("%d requests, transport errors %v, errors %v; want all to be %s", r.Requests, r.TransportErrors, r.Errors, tc.want)
			}
		})
	}
}

func TestPingIsAnswered(t *testing.T) {
	var acked atomic.Int64
	mustRun(t, small(serveRaw(t, func(c *rawConn) {
		c.handshake()
		want := [8]byte{1, 2, 3}
		c.try(c.fr.WritePing(false, want))
		c.answerAll()
		if c.acks[want] {
			acked.Add(1)
		}
	})))
	deadline := time.Now().Add(5 * time.Second)
	for acked.Load() != 2 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if n := acked.Load(); n != 2 {
		t.Errorf("%d of 2 connections acknowledged the PING", n)
	}
}

func TestRefusedStreamsAreSentAgain(t *testing.T) {
	var answered, refused atomic.Int64
	r := mustRun(t, small(serveRaw(t, func(c *rawConn) {
		c.handshake()
		for i := 0; ; i++ {
			id := c.next()
			if id == 0 {
				return
			}
			if i%3 == 0 {
				refused.Add(1)
				c.try(c.fr.WriteRSTStream(id, http2.ErrCodeRefusedStream))
				continue
			}
			answered.Add(1)
			c.answer(id)
		}
	})))
	checkClean(t, r)
	if r.Requests != uint64(answered.Load()) || refused.Load() == 0 {
		t.Errorf("%d requests; %d were answered, %d refused", r.Requests, answered.Load(), refused.Load())
	}
}

func TestGoAwayMovesWhatTheServerWillNotAnswer(t *testing.T) {
	var answered, moved atomic.Int64
	r := mustRun(t, small(serveRaw(t, func(c *rawConn) {
		c.handshake()
		if c.number >= 20 {
			for id := c.next(); id != 0; id = c.next() {
				answered.Add(1)
				c.answer(id)
			}
			return
		}
		var ids [4]uint32
		for i := range ids {
			if ids[i] = c.next(); ids[i] == 0 {
				return
			}
		}
		// The first half is answered, after the farewell.
		c.try(c.fr.WriteGoAway(ids[1], http2.ErrCodeNo, nil))
		moved.Add(2)
		for _, id := range ids[:2] {
			answered.Add(1)
			c.answer(id)
		}
		c.next() // until the client hangs up
	})))
	checkClean(t, r)
	if r.Requests != uint64(answered.Load()) || moved.Load() == 0 || r.GoAways == 0 {
		t.Errorf("%d requests, %d answered, %d moved, %d GOAWAYs", r.Requests, answered.Load(), moved.Load(), r.GoAways)
	}
}

func TestAServerThatHangsUpAtOnceIsNotDialledInABusyLoop(t *testing.T) {
	var dials atomic.Int64
	c := small(serveRaw(t, func(c *rawConn) {
		dials.Add(1)
		c.handshake()
		// The client's SETTINGS are read, so that closing is no reset.
		if _, err := c.fr.ReadFrame(); err != nil {
			return
		}
	}))
	mustRun(t, c)
	if n := dials.Load(); n > 2+2*int64(c.Duration/backoffMin) {
		t.Errorf("%d connections in %v", n, c.Duration)
	}
}

func TestAServerThatStopsReadingDoesNotHangTheRun(t *testing.T) {
	over := make(chan struct{})
	addr := serveRaw(t, func(c *rawConn) {
		c.handshake(setting(http2.SettingInitialWindowSize, 1<<30))
		c.try(c.fr.WriteWindowUpdate(0, 1<<30))
		<-over
	})
	t.Cleanup(func() { close(over) })
	c := small(addr)
	c.Protocol, c.Batch, c.InFlight = Batch, 1000, 800 // more than sockets buffer
	c.DrainTimeout = 20 * time.Millisecond
	c.Duration = 100 * time.Millisecond
	if r := mustRun(t, c); r.TransportErrors["timeout"] == 0 {
		t.Errorf("transport errors %v", r.TransportErrors)
	}
}

// A discard is a connection that takes all and says nothing.
type discard struct{ net.Conn }

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// offline returns a connection that reads from r.
func offline(tb testing.TB, r *bytes.Reader) *conn {
	tb.Helper()
	cfg := small("127.0.0.1:1")
	cfg.Duration = time.Hour
	return offlineWith(tb, r, &cfg)
}

func offlineWith(tb testing.TB, r io.Reader, cfg *Config) *conn {
	tb.Helper()
	p, err := newPlan(cfg, cfg.Target)
	if err != nil {
		tb.Fatal(err)
	}
	p.epoch = time.Now()
	l := newLane(p, 0)
	c := newConn(l, discard{})
	c.br = bufio.NewReaderSize(r, 4*frameMax)
	c.window = 1 << 40
	l.current = &c.link
	return c
}

// answerFrames is the answer to a stream as servers send it that use HPACK's
// table: after the first, blocks are a byte or two.
func answerFrames(dst []byte, id uint32) []byte {
	dst = append(appendFrameHeader(dst, 1, http2.FrameHeaders, http2.FlagHeadersEndHeaders, id), 0x88)
	dst = append(appendFrameHeader(dst, len(allowed()), http2.FrameData, 0, id), allowed()...)
	return append(appendFrameHeader(dst, 1, http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, id), 0x80|62)
}

// primed returns a connection whose server's table has "grpc-status: 0" as its
// first entry.
func primed(tb testing.TB, r *bytes.Reader) *conn {
	tb.Helper()
	c := offline(tb, r)
	var b bytes.Buffer
	if err := hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: "grpc-status", Value: "0"}); err != nil {
		tb.Fatal(err)
	}
	if _, err := c.headers.dec.Write(b.Bytes()); err != nil || c.headers.dec.Close() != nil {
		tb.Fatal(err)
	}
	return c
}

// arrive has c handle what can be read without waiting.
func arrive(c *conn) error {
	if _, err := c.br.Peek(c.need()); err != nil {
		return err
	}
	return c.onArrived()
}

// exchange makes a request and reads its answer.
func exchange(tb testing.TB, c *conn, r *bytes.Reader, buf []byte) []byte {
	tb.Helper()
	id := c.nextID
	c.open(0, 0)
	c.flush()
	buf = answerFrames(buf[:0], id)
	r.Reset(buf)
	c.br.Reset(r)
	if err := arrive(c); err != nil {
		tb.Fatal(err)
	}
	return buf
}

func TestARequestAllocatesNothing(t *testing.T) {
	var r bytes.Reader
	c := primed(t, &r)
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	buf := make([]byte, 0, 1024)
	for range 100 {
		buf = exchange(t, c, &r, buf)
	}
	if n := testing.AllocsPerRun(1000, func() { buf = exchange(t, c, &r, buf) }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
	if got := c.l.tallies[1]; got.ok != got.requests || got.ok != 1101 || c.active != 0 {
		t.Errorf("tally %+v, %d active", got, c.active)
	}
}

func BenchmarkRequest(b *testing.B) {
	var r bytes.Reader
	c := primed(b, &r)
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = exchange(b, c, &r, buf)
	}
}

func TestTheConnectionsWindowIsRenewed(t *testing.T) {
	r := bytes.NewReader(append(appendFrameHeader(nil, 10, http2.FrameData, 0, 1), make([]byte, 10)...))
	c := offline(t, r)
	c.received = connectionWindow / 2
	if err := arrive(c); err != nil {
		t.Fatal(err)
	}
	f, err := http2.NewFramer(nil, bytes.NewReader(c.out)).ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	if w, ok := f.(*http2.WindowUpdateFrame); !ok || w.StreamID != 0 || w.Increment != connectionWindow/2+10 || c.received != 0 {
		t.Errorf("sent %v", f)
	}
}

// A connection is replaced before its stream numbers run out.
func TestStreamNumbersDoNotRunOut(t *testing.T) {
	c := offline(t, bytes.NewReader(nil))
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.nextID = streamIDMax - 4*uint32(len(c.streams)) + 2
	c.l.fill(c.l.now())
	if !c.retired || c.active != 0 || c.l.current != nil {
		t.Errorf("retired %v, %d active", c.retired, c.active)
	}
}

// FuzzFrames sends arbitrary bytes to a connection with requests in flight.
func FuzzFrames(f *testing.F) {
	f.Add(answerFrames(answerFrames(nil, 1), 3))
	frames := func(write func(*http2.Framer) error) []byte {
		var b bytes.Buffer
		if err := write(http2.NewFramer(&b, nil)); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	f.Add(frames(func(fr *http2.Framer) error {
		return fr.WriteSettings(setting(http2.SettingInitialWindowSize, 3), setting(http2.SettingMaxConcurrentStreams, 1))
	}))
	f.Add(frames(func(fr *http2.Framer) error { return fr.WriteGoAway(1, http2.ErrCodeNo, []byte("bye")) }))
	f.Add(frames(func(fr *http2.Framer) error { return fr.WriteRSTStream(5, http2.ErrCodeRefusedStream) }))
	f.Add(frames(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(0, 1<<31-1) }))
	f.Add(frames(func(fr *http2.Framer) error { return fr.WritePing(false, [8]byte{1}) }))
	f.Add(frames(func(fr *http2.Framer) error { return fr.WriteDataPadded(7, true, allowed(), make([]byte, 3)) }))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		c := offline(t, r)
		c.l.mu.Lock()
		defer c.l.mu.Unlock()
		for range 4 {
			c.open(0, 0)
		}
		for arrive(c) == nil {
			c.flush()
		}
		inFlight := 0
		for i := range c.streams {
			if c.streams[i].id != 0 {
				inFlight++
			}
		}
		over := int(c.l.tallies[1].requests) + len(c.l.repeats)
		if c.active != inFlight || c.l.active != inFlight || inFlight+over != 4 {
			t.Errorf("%d in flight, counted %d and %d; %d over", inFlight, c.active, c.l.active, over)
		}
		c.end(nil)
		if c.active != 0 || c.l.active != 0 {
			t.Errorf("%d and %d in flight after the end", c.active, c.l.active)
		}
	})
}

func TestHeadersAreIndexedAfterTheFirstRequest(t *testing.T) {
	h := newHeaderBlock(newHeaders(MinimalHeaders, "http", "host:1", rlsPath), nil)
	var got []string
	dec := hpack.NewDecoder(4096, func(f hpack.HeaderField) { got = append(got, f.Name+": "+f.Value) })
	for i := range 4 {
		got = nil
		b := h.next()
		if _, err := dec.Write(b); err != nil || dec.Close() != nil {
			t.Fatal(err)
		}
		want := "[:method: POST :scheme: http :path: " + rlsPath + " :authority: host:1 content-type: application/grpc te: trailers user-agent: headgate-bench]"
		if fmt.Sprint(got) != want {
			t.Fatalf("block %d: %v", i, got)
		}
		if i > 0 && len(b) != len(h.fields) {
			t.Errorf("block %d has %d bytes, want one for each of 7 fields", i, len(b))
		}
	}
}
