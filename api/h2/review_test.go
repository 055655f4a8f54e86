package h2_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/headgate/headgate/api/h2"
)

const restPath = "/test.Service/Rest"

// rest serves with a handler for all methods but echo.
func rest(handler http.HandlerFunc) func(*h2.Config) {
	return func(c *h2.Config) { c.Rest = handler }
}

// eventually waits until ok.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("never: %s", what)
		}
	}
}

// alive checks that a connection answers.
func (w *wire) alive(id uint32) {
	w.t.Helper()
	w.must(w.atOnce(func() { w.ask(id, echoPath, "alive") })) // a body that comes later might be too much
	if a := w.await(id); a.data != "alive" {
		w.t.Fatalf("got %+v", a)
	}
}

func TestTrailersWithAnEmptyNameAreMalformed(t *testing.T) {
	s, addr := start(t, nil)
	w := dial(t, addr)
	w.open(1, echoPath, false)
	empty := []byte{0, 0, 1, 'x'} // a literal field: name "", value "x"
	w.must(w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: empty, EndHeaders: true, EndStream: true}))
	if a := w.await(1); a.reset != http2.ErrCodeProtocol {
		t.Fatalf("got %+v", a)
	}
	w.alive(3)
	if n := s.Stats().Abuse[h2.AbuseProtocol]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

func TestALaterDeadlineDoesNotDelayAnEarlierOne(t *testing.T) {
	l := newLate(time.Minute)
	_, addr := start(t, func(c *h2.Config) { c.Fast[latePath] = l })
	w := dial(t, addr)
	began := time.Now()
	w.ask(1, latePath, "soon", "grpc-timeout", "50m")
	w.ask(3, latePath, "later", "grpc-timeout", "5S")
	if a := w.await(1); a.data != "expired" || time.Since(began) > 4*time.Second {
		t.Fatalf("got %+v after %v", a, time.Since(began))
	}
	for range 2 {
		(<-l.calls).Finish()
	}
}

func TestWhatALateCallHeldIsGivenBack(t *testing.T) {
	l := newLate(time.Millisecond)
	_, addr := start(t, func(c *h2.Config) { c.Fast[latePath], c.MessageBytes, c.BufferBytes = l, 1000, 3000 })
	w := dial(t, addr)
	for id := uint32(1); id < 20; id += 2 {
		w.open(id, latePath, false)
		body := message(strings.Repeat("x", 900))
		w.must(w.f.WriteData(id, false, body[:500]))
		w.must(w.f.WriteData(id, true, body[500:]))
		if a := w.await(id); a.data != "expired" {
			t.Fatalf("stream %d: got %+v", id, a)
		}
		(<-l.calls).Finish()
	}
}

func TestFinishDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	l := newLate(time.Minute)
	_, addr := start(t, func(c *h2.Config) { c.Fast[latePath] = l })
	w := dial(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	w.must(w.f.WriteWindowUpdate(0, 1<<30))
	var calls []*h2.Call
	w.must(w.f.WriteSettingsAck()) // one that is not due does not matter
	for id := uint32(1); id < 60; id += 2 {
		w.open(id, latePath, false)
		body := message(strings.Repeat("x", 1<<20))
		for len(body) > 0 {
			n := min(len(body), 16_000)
			w.must(w.f.WriteData(id, n == len(body), body[:n]))
			body = body[n:]
		}
		calls = append(calls, <-l.calls)
	}
	began := time.Now()
	for _, c := range calls {
		c.Finish()
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
	_ = w.c.Close()
}

func TestAClientThatIsAlwaysInAFrameIsNotSlow(t *testing.T) {
	s, addr := start(t, func(c *h2.Config) {
		c.RequestTimeout = 250 * time.Millisecond
		c.Rest = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	})
	w := dial(t, addr)
	w.open(1, restPath, false)
	go func() { _, _ = io.Copy(io.Discard, w.c) }()
	var b bytes.Buffer
	f := http2.NewFramer(&b, nil)
	w.must(f.WriteData(1, false, []byte("0123456789")))
	frame := b.Bytes()
	w.send(frame[:12])
	for range 100 { // always the end of one frame and the beginning of the next
		w.send(append(bytes.Clone(frame[12:]), frame[:12]...))
		time.Sleep(5 * time.Millisecond)
	}
	if n := s.Stats().Abuse[h2.AbuseSlowFrame]; n != 0 || s.Stats().Connections != 1 {
		t.Errorf("it was ended: %+v", s.Stats())
	}
}

func TestABurstAfterSilenceIsNotShed(t *testing.T) {
	s, addr := start(t, func(c *h2.Config) { c.BehindMax = 100 * time.Millisecond })
	w := dial(t, addr)
	time.Sleep(300 * time.Millisecond)
	var b bytes.Buffer
	framer := w.f
	w.f = http2.NewFramer(&b, nil)
	var ids []uint32
	for id := uint32(1); id < 300; id += 2 {
		w.ask(id, echoPath, strings.Repeat("x", 50))
		ids = append(ids, id)
	}
	w.f = framer
	w.send(b.Bytes())
	w.awaitAll(ids...)
	if n := s.Stats().Shed; n != 0 {
		t.Errorf("shed %d", n)
	}
}

func TestPaddingCountsAndIsGivenBack(t *testing.T) {
	_, addr := start(t, rest(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	w := dial(t, addr)
	w.open(1, restPath, false)
	window := 256 << 10 // as SETTINGS said
	data := 1
	for sent := 0; sent < 1<<20; sent += data + 256 {
		for window < data+256 {
			if u, ok := w.read().(*http2.WindowUpdateFrame); ok && u.StreamID == 1 {
				window += int(u.Increment)
			}
		}
		w.must(w.f.WriteDataPadded(1, false, []byte("x")[:data], make([]byte, 255)))
		window -= data + 256
		if sent > 1000 && sent < 40_000 {
			data = 0 // none but padding, in less than would be a flood
		} else {
			data = 1
		}
	}
	w.must(w.f.WriteData(1, true, nil))
	if a := w.await(1); a.http != "200" {
		t.Fatalf("got %+v", a)
	}
}

func TestPaddingAloneDoesNotUseAWindowUp(t *testing.T) {
	_, addr := start(t, rest(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	w := dial(t, addr)
	w.open(1, restPath, false)
	got := 0
	for range 190 { // fewer than 200 a second: it is no flood
		w.must(w.f.WriteDataPadded(1, false, nil, make([]byte, 255)))
	}
	time.Sleep(1100 * time.Millisecond)
	for range 190 {
		w.must(w.f.WriteDataPadded(1, false, nil, make([]byte, 255)))
	}
	w.must(w.f.WritePing(false, [8]byte{1}))
	for {
		switch f := w.read().(type) {
		case *http2.WindowUpdateFrame:
			if f.StreamID == 1 {
				got += int(f.Increment)
			}
		case *http2.PingFrame:
			if got == 0 {
				t.Fatal("no window came back")
			}
			return
		}
	}
}

func TestTrailersOfAClosedStreamAreNoCrime(t *testing.T) {
	_, addr := start(t, rest(func(http.ResponseWriter, *http.Request) {}))
	w := dial(t, addr)
	w.open(1, restPath, false)
	if a := w.await(1); a.http != "200" {
		t.Fatalf("got %+v", a)
	}
	block := []byte{0, 1, 'a', 1, 'x'}
	w.must(w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true, EndStream: true}))
	w.alive(3)
}

// picky fails in Answer if Begin did not run.
type picky struct{ begun, answered *int }

func (p picky) Begin(*h2.Call)       { *p.begun++ }
func (picky) Prepare(*h2.Call) bool  { return false }
func (p picky) Decide(*h2.Call) bool { return true }
func (p picky) Answer(dst []byte, _ *h2.Call) []byte {
	*p.answered++
	return dst
}
func (p picky) Expire(dst []byte, _ *h2.Call) []byte { return dst }

func TestWhatDidNotBeginIsNotAnswered(t *testing.T) {
	begun, answered := 0, 0
	s, addr := start(t, func(c *h2.Config) { c.Fast["/p"] = picky{&begun, &answered} })
	w := dial(t, addr)
	w.ask(1, "/p", "good")
	w.await(1)
	w.open(3, "/p", true) // no message
	if a := w.await(3); a.status != "13" {
		t.Fatalf("got %+v", a)
	}
	w.ask(5, echoPath, "*")
	w.await(5)
	_ = w.c.Close()
	eventually(t, "gone", func() bool { return s.Stats().Connections == 0 })
	if begun != 1 || answered != 1 || s.Stats().Panics != 1 {
		t.Errorf("begun %d, answered %d, panics %d", begun, answered, s.Stats().Panics)
	}
}

func TestManyInitialWindowsAreOneChange(t *testing.T) {
	l := newLate(time.Minute)
	_, addr := start(t, func(c *h2.Config) { c.Fast[latePath] = l })
	w := dial(t, addr)
	for i := range uint32(900) {
		w.ask(2*i+1, latePath, "x")
	}
	settings := make([]http2.Setting, 2700)
	for i := range settings {
		settings[i] = http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)}
	}
	began := time.Now()
	for range 18 {
		w.must(w.f.WriteSettings(settings...))
	}
	w.ask(2001, latePath, "last")
	for range 901 {
		call := <-l.calls
		defer call.Finish()
	}
	if d := time.Since(began); d > 300*time.Millisecond { // it was 40 ms for each frame
		t.Errorf("took %v", d)
	}
}

func TestAWriterIsWokenWhenItsStreamIsCancelled(t *testing.T) {
	ended := make(chan error, 1)
	_, addr := start(t, rest(func(rw http.ResponseWriter, _ *http.Request) {
		_, err := rw.Write(make([]byte, 100_000))
		ended <- err
	}))
	w := dial(t, addr)
	w.open(1, restPath, true)
	time.Sleep(20 * time.Millisecond) // 65,535 bytes are gone
	w.must(w.f.WriteRSTStream(1, http2.ErrCodeCancel))
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(2 * time.Second):
		t.Error("still waits")
		_ = w.c.Close()
		if err := <-ended; err == nil {
			t.Error("no error")
		}
	}
}

func TestWhoReadsABodyAfterItsHandlerIsWoken(t *testing.T) {
	ended := make(chan struct{})
	_, addr := start(t, rest(func(_ http.ResponseWriter, r *http.Request) {
		go func() {
			_, _ = io.Copy(io.Discard, r.Body)
			close(ended)
		}()
		time.Sleep(10 * time.Millisecond)
	}))
	w := dial(t, addr)
	w.open(1, restPath, false)
	w.await(1)
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		t.Error("still waits")
	}
}

func TestAClosedBodyIsThrownAway(t *testing.T) {
	release, closed := make(chan struct{}), make(chan struct{})
	_, addr := start(t, func(c *h2.Config) {
		c.MessageBytes, c.BufferBytes = 1000, 10_000
		c.Rest = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_ = r.Body.Close()
			close(closed)
			<-release
		})
	})
	w := dial(t, addr)
	w.open(1, restPath, false)
	<-closed
	for range 30 {
		w.must(w.f.WriteData(1, false, make([]byte, 1000)))
	}
	w.alive(3) // all of that has come, and is not too much
	close(release)
	if a := w.await(1); a.http != "200" || a.reset != http2.ErrCodeNo {
		t.Fatalf("got %+v", a)
	}
}

func TestHeadersOfHandlersCountAsKept(t *testing.T) {
	release := make(chan struct{})
	s, addr := start(t, func(c *h2.Config) {
		c.MessageBytes, c.BufferBytes = 1000, 50_000
		c.Rest = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })
	})
	w := dial(t, addr)
	for id := uint32(1); id < 20; id += 2 {
		w.open(id, restPath, true, "x-long", strings.Repeat(fmt.Sprint(id%10), 8000))
	}
	if a := w.await(19); a.status != "8" {
		t.Fatalf("got %+v", a)
	}
	close(release)
	eventually(t, "5 handlers run", func() bool { return s.Stats().Rest == 6 || s.Stats().Rest == 5 })
	if n := s.Stats().Abuse[h2.AbuseBuffer]; n < 4 {
		t.Errorf("counted %d", n)
	}
	w.open(21, restPath, true, "x-long", strings.Repeat("x", 8000))
	if a := w.await(21); a.status != "" || a.http != "200" {
		t.Errorf("it is not given back: %+v", a)
	}
}

func TestATableThatWasTooSmallStaysUnused(t *testing.T) {
	_, addr := start(t, nil)
	for _, sizes := range [][]uint32{{0}, {50, 200}, {200, 50}, {200}, {8192, 4096}, {0, 4096, 0}, {104}, {103}} {
		w := dial(t, addr)
		w.alive(1)
		for _, size := range sizes {
			w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}))
		}
		w.must(w.f.WritePing(false, [8]byte{1}))
		for {
			if _, ok := w.read().(*http2.PingFrame); ok {
				break
			}
		}
		// RFC 7541 §4.2: the next block begins with the smallest size that there was.
		w.f.ReadMetaHeaders = nil
		w.ask(3, echoPath, "x")
		h, ok := w.read().(*http2.HeadersFrame)
		for !ok {
			h, ok = w.read().(*http2.HeadersFrame)
		}
		least := sizes[0]
		for _, size := range sizes {
			least = min(least, size)
		}
		b := h.HeaderBlockFragment()
		n := uint32(b[0] & 0x1f)
		if n == 31 {
			n += uint32(b[1]) // < 128
		}
		if b[0]&0xe0 != 0x20 || n > least {
			t.Errorf("after %v, the block begins with %x", sizes, b[:2])
		}
	}
}

func TestKeepaliveAtTheLeastIntervalIsWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, end := bubble(t, nil)
		for i := range 20 { // each a little earlier than the one before
			w.must(w.f.WritePing(false, [8]byte{byte(i)}))
			for {
				if f, ok := w.read().(*http2.PingFrame); ok && f.IsAck() {
					break
				}
			}
			time.Sleep(10*time.Second - 100*time.Millisecond)
		}
		end()
	})
}

func TestNotAllAreToldOfEachConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, end := bubble(t, func(c *h2.Config) { c.Streams, c.StreamsTotal = 100, 100 })
		defer end()
		told := make(chan uint32, 100)
		go func() {
			for {
				f, err := w.f.ReadFrame()
				if err != nil {
					return
				}
				switch f := f.(type) {
				case *http2.SettingsFrame:
					if n, ok := f.Value(http2.SettingMaxConcurrentStreams); ok {
						told <- n
						_ = w.f.WriteSettingsAck()
					}
				case *http2.PingFrame:
					_ = w.f.WritePing(true, f.Data)
				}
			}
		}()
		for range 10 { // every second another connection comes and goes
			var others []func()
			for range 3 {
				_, end := w.another()
				others = append(others, end)
			}
			time.Sleep(time.Second)
			for _, end := range others {
				end()
			}
			time.Sleep(time.Second)
		}
		if n := len(told); n == 0 || n > 6 {
			t.Errorf("told %d times in 20 s", n)
		}
		time.Sleep(20 * time.Second)
		var last uint32
		for len(told) > 0 {
			last = <-told
		}
		if last != 64 {
			t.Errorf("last told of %d", last)
		}
	})
}

func TestSettingsMustBeAcknowledged(t *testing.T) {
	s, addr := start(t, func(c *h2.Config) { c.HandshakeTimeout = 100 * time.Millisecond })
	w := dialRaw(t, addr)
	w.send([]byte(http2.ClientPreface))
	w.must(w.f.WriteSettings())
	if code, text := w.awaitGoAway(); code != http2.ErrCodeSettingsTimeout {
		t.Errorf("got %v: %s", code, text)
	}
	if n := s.Stats().Abuse[h2.AbuseNoAck]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

func TestAWriterThatWaitsForRoomIsEnded(t *testing.T) {
	var ended sync.WaitGroup
	ended.Add(1)
	s, addr := start(t, func(c *h2.Config) {
		c.StallTimeout = 100 * time.Millisecond
		c.Rest = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			defer ended.Done()
			_, _ = rw.Write(make([]byte, 100_000))
		})
	})
	w := dial(t, addr)
	w.open(1, restPath, true)
	if a := w.await(1); a.reset != http2.ErrCodeEnhanceYourCalm {
		t.Fatalf("got %+v", a)
	}
	ended.Wait()
	if n := s.Stats().Abuse[h2.AbuseZeroWindow]; n != 1 {
		t.Errorf("counted %d", n)
	}
	w.must(w.f.WriteWindowUpdate(0, 1000))
	w.alive(3) // the others go on
}

func TestADrainWaitsForWhoeverWrites(t *testing.T) {
	l := newLate(time.Minute)
	s, p := serve(t, func(c *h2.Config) { c.Fast[latePath] = l })
	w, end := p.dial(t)
	defer end()
	w.ask(1, latePath, "the last answer")
	call := <-l.calls
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(brief(t)) }()
	var ping *http2.PingFrame
	for ping == nil {
		ping, _ = w.read().(*http2.PingFrame)
	}
	call.Finish()
	time.Sleep(20 * time.Millisecond) // it is being written, but nobody reads
	w.must(w.f.WritePing(true, ping.Data))
	time.Sleep(20 * time.Millisecond) // all is answered now
	if a := w.await(1); a.data != "the last answer" || a.status != "0" {
		t.Fatalf("got %+v", a)
	}
	if g, ok := w.read().(*http2.GoAwayFrame); !ok || g.LastStreamID != 1 {
		t.Errorf("got %v", g)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestWhatWaitsForWindowsDoesNotBecomeOutputAtOnce(t *testing.T) {
	_, p := serve(t, func(c *h2.Config) { c.BehindMax = 0 })
	w, end := p.dial(t)
	defer end()
	text := strings.Repeat("x", 500_000)
	ids := []uint32{1, 3, 5, 7, 9}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
		for _, id := range ids {
			w.open(id, echoPath, false)
			for body := message(text); len(body) > 0; {
				n := min(len(body), 16_000)
				w.must(w.f.WriteData(id, n == len(body), body[:n]))
				body = body[n:]
			}
		}
		w.must(w.f.WriteWindowUpdate(0, 1<<30))
		w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}))
	}()
	answers := w.awaitAll(ids...)
	<-done
	for _, id := range ids {
		if a := answers[id]; a.data != text || a.status != "0" {
			t.Errorf("stream %d: %d bytes, status %s", id, len(a.data), a.status)
		}
	}
	if n := p.most.Load(); n > outBytesMax+1000 {
		t.Errorf("%d bytes were written at once", n)
	}
}

func TestAPanicOfAuthorizeEndsItsConnectionAlone(t *testing.T) {
	s, addr := start(t, func(c *h2.Config) {
		c.Authorize = func(h *h2.Headers) (r h2.Refusal) {
			if _, ok := h.Get("x-panic"); ok {
				panic("as asked")
			}
			return r
		}
	})
	other, w := dial(t, addr), dial(t, addr)
	w.ask(1, echoPath, "x", "x-panic", "1")
	if code, _ := w.awaitGoAway(); code != http2.ErrCodeInternal || s.Stats().Panics != 1 {
		t.Errorf("GOAWAY %v, counted %d", code, s.Stats().Panics)
	}
	other.alive(1)
}
