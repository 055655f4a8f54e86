package h2_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/headgate/headgate/api/h2"
)

// atOnce writes frames in one piece. The peer may hang up meanwhile.
func (w *wire) atOnce(write func()) error {
	w.t.Helper()
	var b bytes.Buffer
	f := w.f
	w.f = http2.NewFramer(&b, nil)
	w.f.AllowIllegalWrites = true
	write()
	w.f = f
	_, err := w.c.Write(b.Bytes())
	return err //nolint:wrapcheck // a test's
}

// times calls write with 0 to n−1.
func times(n int, write func(i int)) {
	for i := range n {
		write(i)
	}
}

// frozen is a clock that stands still, so that all that a test sends comes
// within one second.
func frozen(c *h2.Config) { c.Now = func() int64 { return 1e18 } }

// A flood is frames of a kind of which so many are too many.
type flood struct {
	name  string
	kind  h2.Abuse
	most  int // of them are allowed
	frame func(w *wire, i int)
	code  http2.ErrCode
	setup func(w *wire)
}

func floods() []flood {
	never := func(w *wire) { w.open(1, echoPath, false) }
	return []flood{
		{
			name: "PING", kind: h2.AbusePing, most: 50, code: http2.ErrCodeEnhanceYourCalm,
			frame: func(w *wire, i int) { w.must(w.f.WritePing(false, [8]byte{byte(i)})) },
		},
		{
			name: "PING that nobody waits for", kind: h2.AbusePing, most: 50, code: http2.ErrCodeEnhanceYourCalm,
			frame: func(w *wire, i int) { w.must(w.f.WritePing(true, [8]byte{byte(i)})) },
		},
		{
			name: "SETTINGS", kind: h2.AbuseSettings, most: 19, code: http2.ErrCodeEnhanceYourCalm, // and the first
			frame: func(w *wire, _ int) { w.must(w.f.WriteSettings()) },
		},
		{
			name: "SETTINGS acknowledged that were not sent", kind: h2.AbuseSettings, most: 19, code: http2.ErrCodeEnhanceYourCalm,
			frame: func(w *wire, _ int) { w.must(w.f.WriteSettingsAck()) },
		},
		{
			name: "empty DATA", kind: h2.AbuseEmpty, most: 200, code: http2.ErrCodeEnhanceYourCalm, setup: never,
			frame: func(w *wire, _ int) { w.must(w.f.WriteData(1, false, nil)) },
		},
		{
			name: "DATA of padding", kind: h2.AbuseEmpty, most: 200, code: http2.ErrCodeEnhanceYourCalm, setup: never,
			frame: func(w *wire, _ int) { w.must(w.f.WriteDataPadded(1, false, nil, make([]byte, 99))) },
		},
		{
			name: "WINDOW_UPDATE of the connection", kind: h2.AbuseWindowUpdate, most: 1000, code: http2.ErrCodeEnhanceYourCalm,
			frame: func(w *wire, _ int) { w.must(w.f.WriteWindowUpdate(0, 1)) },
		},
		{
			name: "WINDOW_UPDATE of a stream", kind: h2.AbuseWindowUpdate, most: 1000, code: http2.ErrCodeEnhanceYourCalm, setup: never,
			frame: func(w *wire, _ int) { w.must(w.f.WriteWindowUpdate(1, 1)) },
		},
		{
			name: "PRIORITY", kind: h2.AbusePriority, most: 1000, code: http2.ErrCodeEnhanceYourCalm,
			frame: func(w *wire, i int) { w.must(w.f.WritePriority(uint32(2*i+1), http2.PriorityParam{})) },
		},
		{
			name: "frames of unknown types", kind: h2.AbuseUnknown, most: 200, code: http2.ErrCodeEnhanceYourCalm,
			frame: func(w *wire, _ int) { w.must(w.f.WriteRawFrame(99, 0, 0, nil)) },
		},
		{
			name: "DATA on a stream that is closed", kind: h2.AbuseClosed, most: 5001, code: http2.ErrCodeEnhanceYourCalm,
			setup: func(w *wire) { w.alive(1) },
			frame: func(w *wire, _ int) { w.must(w.f.WriteData(1, false, []byte("x"))) },
		},
		{
			name: "trailers on a stream that is closed", kind: h2.AbuseClosed, most: 5001, code: http2.ErrCodeEnhanceYourCalm,
			setup: func(w *wire) { w.alive(1) },
			frame: func(w *wire, _ int) {
				w.must(w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0, 1, 'a', 0}, EndHeaders: true, EndStream: true}))
			},
		},
		{
			name: "requests and their resets", kind: h2.AbuseReset, most: 2000, code: http2.ErrCodeEnhanceYourCalm,
			frame: func(w *wire, i int) {
				w.open(uint32(2*i+1), echoPath, false)
				w.must(w.f.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel))
			},
		},
		{
			name: "requests to handlers and their resets", kind: h2.AbuseReset, most: 2000, code: http2.ErrCodeEnhanceYourCalm,
			frame: func(w *wire, i int) {
				w.open(uint32(2*i+1), restPath, true)
				w.must(w.f.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel))
			},
		},
		{
			name: "malformed requests", kind: h2.AbuseProtocol, most: 100, code: http2.ErrCodeEnhanceYourCalm,
			frame: func(w *wire, i int) { w.open(uint32(2*i+1), echoPath, true, "UPPER", "x") },
		},
	}
}

// soonAlive is alive, but handlers that were cancelled may still count.
func (w *wire) soonAlive(id uint32) {
	w.t.Helper()
	for range 1000 {
		w.ask(id, echoPath, "alive")
		a := w.await(id)
		if a.data == "alive" {
			return
		}
		if a.reset != http2.ErrCodeRefusedStream {
			w.t.Fatalf("got %+v", a)
		}
		id += 2
		time.Sleep(time.Millisecond)
	}
	w.t.Fatal("still refused")
}

func TestFloodsAreEndedAtTheirBound(t *testing.T) {
	for _, f := range floods() {
		t.Run(f.name, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			s, addr := start(t, func(c *h2.Config) {
				frozen(c)
				c.KeepaliveClientMin = 0
				c.Streams = 1000 // 2000 resets
				c.Rest = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					<-r.Context().Done()
				})
			})
			calm := dial(t, addr)
			if f.setup != nil {
				f.setup(calm)
			}
			_ = calm.atOnce(func() { times(f.most, func(i int) { f.frame(calm, i) }) })
			calm.soonAlive(20_001)
			if n := s.Stats().Abuse[f.kind]; n != 0 && f.kind != h2.AbuseProtocol {
				t.Errorf("%d were allowed, but %d counted", f.most, n)
			}
			before := s.Stats().Abuse[f.kind]
			wild := dial(t, addr)
			if f.setup != nil {
				f.setup(wild)
			}
			_ = wild.atOnce(func() { times(f.most+1, func(i int) { f.frame(wild, i) }) })
			if code, text := wild.awaitGoAway(); code != f.code {
				t.Errorf("GOAWAY %v: %s", code, text)
			}
			if n := s.Stats().Abuse[f.kind]; n <= before {
				t.Errorf("counted %d", n-before)
			}
			calm.soonAlive(30_001)
		})
	}
}

// A crime is what ends the connection when it happens once.
type crime struct {
	name   string
	kind   h2.Abuse
	code   http2.ErrCode
	do     func(w *wire)
	change func(*h2.Config)
}

func crimes() []crime {
	pieces := func(n, size int) func(*wire) {
		return func(w *wire) {
			w.must(w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(echoPath)}))
			times(n, func(int) { w.must(w.f.WriteContinuation(1, false, make([]byte, size))) })
		}
	}
	return []crime{
		{name: "DATA on stream 0", kind: h2.AbuseProtocol, code: http2.ErrCodeProtocol, do: func(w *wire) { w.must(w.f.WriteData(0, false, []byte("x"))) }},
		{name: "a frame that is too large", kind: h2.AbuseProtocol, code: http2.ErrCodeFrameSize, do: func(w *wire) { w.must(w.f.WriteRawFrame(99, 0, 0, make([]byte, 16385))) }},
		{name: "a push", kind: h2.AbuseProtocol, code: http2.ErrCodeProtocol, do: func(w *wire) { w.must(w.f.WriteRawFrame(http2.FramePushPromise, 0, 1, make([]byte, 8))) }},
		{name: "more padding than payload", kind: h2.AbuseProtocol, code: http2.ErrCodeProtocol, do: func(w *wire) {
			w.open(1, echoPath, false)
			w.must(w.f.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{5, 0}))
		}},
		{name: "a header block that is none", kind: h2.AbuseCompression, code: http2.ErrCodeCompression, do: func(w *wire) {
			w.must(w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true}))
		}},
		{name: "a table that may not be so large", kind: h2.AbuseCompression, code: http2.ErrCodeCompression, do: func(w *wire) {
			w.must(w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x3f, 0xe2, 0x1f}, EndHeaders: true}))
		}},
		{name: "a header block in too many pieces", kind: h2.AbuseContinuation, code: http2.ErrCodeEnhanceYourCalm, do: pieces(33, 1)},
		{name: "a header block in empty pieces", kind: h2.AbuseContinuation, code: http2.ErrCodeEnhanceYourCalm, do: pieces(33, 0)},
		{name: "a header block that is too large", kind: h2.AbuseContinuation, code: http2.ErrCodeEnhanceYourCalm, do: pieces(3, 16_000)},
		{name: "a header block that is interrupted", kind: h2.AbuseProtocol, code: http2.ErrCodeProtocol, do: func(w *wire) {
			pieces(1, 0)(w)
			w.must(w.f.WritePing(false, [8]byte{}))
		}},
		{name: "a stream number that goes back", kind: h2.AbuseStreamID, code: http2.ErrCodeStreamClosed, do: func(w *wire) {
			w.ask(3, echoPath, "x")
			w.ask(1, echoPath, "x")
		}},
		{name: "an even stream number", kind: h2.AbuseProtocol, code: http2.ErrCodeProtocol, do: func(w *wire) { w.open(2, echoPath, true) }},
		{name: "a stream that is asked twice", kind: h2.AbuseStreamID, code: http2.ErrCodeStreamClosed, do: func(w *wire) {
			w.ask(1, echoPath, "x")
			w.ask(1, echoPath, "x")
		}},
		{name: "a reset of an idle stream", kind: h2.AbuseProtocol, code: http2.ErrCodeProtocol, do: func(w *wire) { w.must(w.f.WriteRSTStream(1, 0)) }},
		{name: "a connection's window that grows too large", kind: h2.AbuseFlowControl, code: http2.ErrCodeFlowControl, do: func(w *wire) {
			w.must(w.f.WriteWindowUpdate(0, 1<<31-1))
		}},
		{name: "an initial window that is too large", kind: h2.AbuseFlowControl, code: http2.ErrCodeFlowControl, do: func(w *wire) {
			w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}))
		}},
		{name: "pings while nothing else goes on", kind: h2.AbusePing, code: http2.ErrCodeEnhanceYourCalm, do: func(w *wire) {
			times(4, func(int) { w.must(w.f.WritePing(false, [8]byte{})) })
		}},
		{name: "an answer that gets no room", kind: h2.AbuseZeroWindow, code: http2.ErrCodeEnhanceYourCalm, do: func(w *wire) {
			w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			w.ask(1, echoPath, "x")
		}, change: func(c *h2.Config) { c.StallTimeout = 50 * time.Millisecond }},
		{name: "an answer that gets room drop by drop", kind: h2.AbuseZeroWindow, code: http2.ErrCodeEnhanceYourCalm, do: func(w *wire) {
			w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			w.ask(1, echoPath, strings.Repeat("x", 1000))
			go func() {
				for i := 0; i < 100 && w.f.WriteWindowUpdate(1, 1) == nil; i++ {
					time.Sleep(10 * time.Millisecond)
				}
			}()
		}, change: func(c *h2.Config) { c.StallTimeout = 200 * time.Millisecond }},
		{name: "half a frame", kind: h2.AbuseSlowFrame, code: http2.ErrCodeEnhanceYourCalm, do: func(w *wire) {
			w.send([]byte{0, 0, 9, 0, 0})
		}, change: func(c *h2.Config) { c.RequestTimeout = 50 * time.Millisecond }},
		{name: "half a header block", kind: h2.AbuseSlowFrame, code: http2.ErrCodeEnhanceYourCalm, do: func(w *wire) {
			pieces(1, 0)(w)
			go func() { // and a byte now and then
				for i := 0; i < 20 && w.f.WriteContinuation(1, false, []byte{0}) == nil; i++ {
					time.Sleep(20 * time.Millisecond)
				}
			}()
		}, change: func(c *h2.Config) { c.RequestTimeout = 100 * time.Millisecond }},
	}
}

func TestCrimesEndTheConnection(t *testing.T) {
	for _, c := range crimes() {
		t.Run(c.name, func(t *testing.T) {
			s, addr := start(t, c.change)
			w := dial(t, addr)
			w.f.AllowIllegalWrites = true
			c.do(w)
			if code, text := w.awaitGoAway(); code != c.code {
				t.Errorf("GOAWAY %v: %s", code, text)
			}
			stats := s.Stats()
			for kind, n := range stats.Abuse {
				if want := uint64(0); kind == int(c.kind) {
					if n != 1 {
						t.Errorf("counted %d", n)
					}
				} else if n != want {
					t.Errorf("counted %d of %v", n, h2.Abuse(kind))
				}
			}
			eventually(t, "closed", func() bool { return s.Stats().Connections == 0 })
		})
	}
}

// A sin is what ends a stream, and the connection goes on.
type sin struct {
	name   string
	kind   h2.Abuse
	do     func(w *wire, id uint32)
	want   answer
	change func(*h2.Config)
}

func sins() []sin {
	reset := func(code http2.ErrCode) answer { return answer{reset: code, wasReset: true, ended: true} }
	status := func(http, status string) answer { return answer{http: http, status: status, ended: true} }
	return []sin{
		{name: "malformed headers", kind: h2.AbuseProtocol, want: reset(http2.ErrCodeProtocol), do: func(w *wire, id uint32) {
			w.open(id, echoPath, true, "connection", "close")
		}},
		{name: "a path with a line feed", kind: h2.AbuseProtocol, want: reset(http2.ErrCodeProtocol), do: func(w *wire, id uint32) {
			w.open(id, "/a\nb", true)
		}},
		{name: "another length than announced", kind: h2.AbuseProtocol, want: reset(http2.ErrCodeProtocol), do: func(w *wire, id uint32) {
			w.ask(id, echoPath, "x", "content-length", "7")
		}},
		{name: "a header list that is too long", kind: h2.AbuseHeaders, want: status("431", "8"), do: func(w *wire, id uint32) {
			w.open(id, echoPath, false, "a", strings.Repeat("x", 6000), "b", strings.Repeat("x", 6000), "c", strings.Repeat("x", 6000))
		}},
		{name: "a header bomb", kind: h2.AbuseHeaders, want: status("431", "8"), do: func(w *wire, id uint32) {
			fields := make([]string, 0, 10_000)
			times(5000, func(int) { fields = append(fields, "bomb", strings.Repeat("x", 3000)) })
			block := w.blockOf(echoPath, fields...) // 3,000 bytes, and 1 for each other time
			w.must(w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true}))
		}},
		{name: "a window that is passed", kind: h2.AbuseFlowControl, want: reset(http2.ErrCodeFlowControl), do: func(w *wire, id uint32) {
			w.open(id, restPath, false) // which reads nothing
			_ = w.atOnce(func() { times(17, func(int) { w.must(w.f.WriteData(id, false, make([]byte, 16384))) }) })
		}},
		{name: "a window that grows too large", kind: h2.AbuseFlowControl, want: reset(http2.ErrCodeFlowControl), do: func(w *wire, id uint32) {
			w.open(id, echoPath, false)
			w.must(w.f.WriteWindowUpdate(id, 1<<31-1))
		}},
		{name: "requests that are too much together", kind: h2.AbuseBuffer, want: status("200", "8"), do: func(w *wire, id uint32) {
			times(10, func(i int) { w.open(id+2+2*uint32(i), echoPath, false) })
			times(10, func(i int) { w.must(w.f.WriteData(id+2+2*uint32(i), false, make([]byte, 1000))) })
			w.must(w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id + 22, BlockFragment: w.block(echoPath), EndHeaders: true}))
			w.must(w.f.WriteData(id+22, false, make([]byte, 1000)))
		}, change: func(c *h2.Config) { c.MessageBytes, c.BufferBytes = 2000, 10_000 }},
		{name: "a body that takes too long", kind: h2.AbuseSlowBody, want: status("200", "4"), do: func(w *wire, id uint32) {
			w.open(id, echoPath, false)
			w.must(w.f.WriteData(id, false, message("xxx")[:6]))
		}, change: func(c *h2.Config) { c.RequestTimeout = 50 * time.Millisecond }},
		{name: "answers without room that are too much", kind: h2.AbuseZeroWindow, want: reset(http2.ErrCodeEnhanceYourCalm), do: func(w *wire, id uint32) {
			w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			w.sync()
			_ = w.atOnce(func() { times(6, func(i int) { w.ask(id+2+2*uint32(i), echoPath, strings.Repeat("x", 90)) }) })
			w.must(w.f.WriteRSTStream(id+2, http2.ErrCodeCancel))
			w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535}))
		}, change: func(c *h2.Config) { c.MessageBytes, c.BufferBytes = 100, 500 }},
	}
}

func TestSinsEndTheStreamAlone(t *testing.T) {
	for _, c := range sins() {
		t.Run(c.name, func(t *testing.T) {
			ends := make(chan struct{})
			s, addr := start(t, func(cfg *h2.Config) {
				cfg.Rest = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
				if c.change != nil {
					c.change(cfg)
				}
			})
			defer close(ends)
			w := dial(t, addr)
			c.do(w, 1)
			id := uint32(1)
			switch c.kind { //nolint:exhaustive // what is one too many
			case h2.AbuseBuffer:
				id = 23
			case h2.AbuseZeroWindow:
				id = 13
			}
			a := w.await(id)
			a.trailers, a.text = nil, ""
			if a.wasReset {
				a.http = ""
			}
			if a.http != c.want.http || a.status != c.want.status || a.reset != c.want.reset || a.wasReset != c.want.wasReset {
				t.Errorf("got %+v, want %+v", a, c.want)
			}
			if n := s.Stats().Abuse[c.kind]; n != 1 {
				t.Errorf("counted %d", n)
			}
			w.alive(1001)
		})
	}
}

func TestMoreStreamsThanItWasToldAreRefused(t *testing.T) {
	l := newLate(time.Minute)
	s, addr := start(t, func(c *h2.Config) { c.Fast[latePath], c.Streams = l, 10 })
	w := dial(t, addr)
	times(10, func(i int) { w.ask(uint32(2*i+1), latePath, "x") })
	w.ask(21, echoPath, "one more")
	if a := w.await(21); a.reset != http2.ErrCodeRefusedStream {
		t.Fatalf("got %+v", a)
	}
	// A cancelled one counts until nobody works for it.
	w.must(w.f.WriteRSTStream(1, http2.ErrCodeCancel))
	w.ask(23, echoPath, "one more")
	if a := w.await(23); a.reset != http2.ErrCodeRefusedStream {
		t.Fatalf("got %+v", a)
	}
	times(10, func(int) { (<-l.calls).Finish() })
	w.alive(25)
	if n := s.Stats().Abuse[h2.AbuseStreams]; n != 2 {
		t.Errorf("counted %d", n)
	}
}

func TestCancelledHandlersAreBounded(t *testing.T) {
	const streams = 20
	var now, most atomic.Int64
	release := make(chan struct{})
	s, addr := start(t, func(c *h2.Config) {
		c.Streams = streams
		c.Rest = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { // deaf to cancellation
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				runtime.Gosched()
			}
			<-release
			now.Add(-1)
		})
	})
	defer close(release)
	for range 3 { // also one connection after another: one is not over before its handlers are
		w := dial(t, addr)
		_ = w.atOnce(func() {
			times(190, func(i int) {
				w.open(uint32(2*i+1), restPath, true)
				w.must(w.f.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel))
			})
		})
		w.sync()
		_ = w.c.Close()
	}
	if n := most.Load(); n > 3*streams {
		t.Errorf("%d handlers at once", n)
	}
	if n := s.Stats().Connections; n != 3 {
		t.Errorf("%d connections count", n)
	}
}

func TestCancelledInVainIsNotRapid(t *testing.T) {
	l := newLate(time.Minute)
	s, addr := start(t, func(c *h2.Config) { c.Fast[latePath] = l })
	w := dial(t, addr)
	for round := range 5 { // 5 × 900 in about a second: nobody answers, and all give up
		times(900, func(i int) { w.ask(uint32(2*(1000*round+i)+1), latePath, "x") })
		calls := make([]*h2.Call, 900)
		times(900, func(i int) { calls[i] = <-l.calls })
		time.Sleep(20 * time.Millisecond)
		times(900, func(i int) { w.must(w.f.WriteRSTStream(uint32(2*(1000*round+i)+1), http2.ErrCodeCancel)) })
		w.alive(uint32(2*(1000*round+950) + 1))
		for _, c := range calls {
			c.Finish()
		}
	}
	if n := s.Stats().Abuse[h2.AbuseReset]; n != 0 {
		t.Errorf("counted %d", n)
	}
}

func TestPingsThatMeasureAnswersAreWelcome(t *testing.T) {
	s, addr := start(t, frozen)
	w := dial(t, addr)
	times(1000, func(i int) { // as grpc-go does: one for each answer
		w.alive(uint32(2*i + 1))
		w.must(w.f.WritePing(false, [8]byte{byte(i)}))
	})
	if n := s.Stats().Abuse[h2.AbusePing]; n != 0 {
		t.Errorf("counted %d", n)
	}
}

func TestThoseWhoNeverBecomeConnections(t *testing.T) {
	t.Run("another protocol", func(t *testing.T) {
		s, addr := start(t, nil)
		w := dialRaw(t, addr)
		w.send([]byte("GET / HTTP/1.1\r\n\r\n"))
		if code, _ := w.awaitGoAway(); code != http2.ErrCodeProtocol || s.Stats().Abuse[h2.AbusePreface] != 1 {
			t.Errorf("%v, counted %d", code, s.Stats().Abuse[h2.AbusePreface])
		}
	})
	t.Run("no word", func(t *testing.T) {
		s, addr := start(t, func(c *h2.Config) { c.HandshakeTimeout = 50 * time.Millisecond })
		w := dialRaw(t, addr)
		w.send([]byte("PRI"))
		_, _ = io.Copy(io.Discard, w.c)
		eventually(t, "counted", func() bool { return s.Stats().Abuse[h2.AbuseSlowPreface] == 1 })
	})
	t.Run("half a TLS handshake", func(t *testing.T) {
		s, addr := start(t, func(c *h2.Config) {
			c.HandshakeTimeout, c.TLS = 50*time.Millisecond, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{}}}
		})
		w := dialRaw(t, addr)
		w.send([]byte{22, 3, 1})
		_, _ = io.Copy(io.Discard, w.c)
		eventually(t, "counted", func() bool { return s.Stats().Abuse[h2.AbuseSlowPreface] == 1 })
	})
	t.Run("no TLS", func(t *testing.T) {
		s, addr := start(t, func(c *h2.Config) {
			c.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{}}}
		})
		w := dialRaw(t, addr)
		w.send([]byte(http2.ClientPreface))
		_, _ = io.Copy(io.Discard, w.c)
		eventually(t, "counted", func() bool { return s.Stats().Abuse[h2.AbuseTLS] == 1 })
	})
	t.Run("one too many", func(t *testing.T) {
		s, addr := start(t, func(c *h2.Config) { c.Connections = 1 })
		w := dial(t, addr)
		other := dialRaw(t, addr)
		other.send([]byte(http2.ClientPreface))
		other.must(other.f.WriteSettings())
		code, text := other.awaitGoAway()
		if code != http2.ErrCodeEnhanceYourCalm || text != "connections_max: 1 connections are open" {
			t.Errorf("%v: %s", code, text)
		}
		if n := s.Stats().Abuse[h2.AbuseConnections]; n != 1 {
			t.Errorf("counted %d", n)
		}
		w.alive(1)
	})
}

func TestAPeerThatDoesNotReadStallsAlone(t *testing.T) {
	const stall = 2 * time.Second // whoever waited for the one that stalls would wait for most of it
	s, addr := start(t, func(c *h2.Config) { c.StallTimeout = stall })
	w := dial(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	w.must(w.f.WriteWindowUpdate(0, 1<<30))
	go func() {
		f := http2.NewFramer(w.c, nil)
		body := message(strings.Repeat("x", 10_000))
		for id := uint32(1); ; id += 2 {
			block := []byte{0x83, 0x86, 0x44, 18} // POST, http, :path
			block = append(append(block, echoPath...), 0x5f, 16)
			block = append(block, "application/grpc"...)
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true})
			if f.WriteData(id, true, body) != nil {
				return
			}
		}
	}()
	other := dial(t, addr)
	id := uint32(1)
	eventually(t, "closed", func() bool {
		began := time.Now()
		other.alive(id)
		if d := time.Since(began); d > stall/2 {
			t.Errorf("another client waited %v", d)
		}
		id += 2
		return s.Stats().Abuse[h2.AbuseStalled] == 1
	})
	eventually(t, "gone", func() bool { return s.Stats().Connections == 1 })
}

func TestASilentPeerIsPingedAndClosed(t *testing.T) {
	s, addr := start(t, func(c *h2.Config) { c.KeepaliveInterval, c.KeepaliveTimeout = 50*time.Millisecond, 50*time.Millisecond })
	good, bad := dial(t, addr), dial(t, addr)
	pings := 0
	for end := time.Now().Add(400 * time.Millisecond); time.Now().Before(end); {
		if f, ok := good.read().(*http2.PingFrame); ok {
			good.must(good.f.WritePing(true, f.Data))
			pings++
		}
	}
	if pings < 2 {
		t.Errorf("%d pings", pings)
	}
	good.alive(1)
	_, _ = io.Copy(io.Discard, bad.c)
	if n := s.Stats().Abuse[h2.AbuseSilent]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestEachAbuseIsTested fails when there is a kind that no test above is about.
func TestEachAbuseIsTested(t *testing.T) {
	tested := map[h2.Abuse]bool{
		h2.AbusePreface: true, h2.AbuseSlowPreface: true, h2.AbuseTLS: true, h2.AbuseConnections: true, // TestThoseWhoNeverBecomeConnections
		h2.AbuseStreams: true, // TestMoreStreamsThanItWasToldAreRefused
		h2.AbuseStalled: true, // TestAPeerThatDoesNotReadStallsAlone
		h2.AbuseSilent:  true, // TestASilentPeerIsPingedAndClosed
		h2.AbuseNoAck:   true, // TestSettingsMustBeAcknowledged
		h2.AbuseGzip:    true, // TestWhatIsUnpackedInASecondIsBounded
	}
	for _, f := range floods() {
		tested[f.kind] = true
	}
	for _, c := range crimes() {
		tested[c.kind] = true
	}
	for _, c := range sins() {
		tested[c.kind] = true
	}
	names := map[string]bool{}
	for _, a := range h2.Abuses() {
		if !tested[a] {
			t.Errorf("%v is not", a)
		}
		if names[a.String()] {
			t.Errorf("two are called %v", a)
		}
		names[a.String()] = true
	}
}
