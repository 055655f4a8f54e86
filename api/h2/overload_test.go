package h2_test

import (
	"bytes"
	"compress/gzip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/headgate/headgate/api/h2"
)

// zipped returns a compressed message of n bytes when it is unpacked.
func zipped(n int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(make([]byte, n))
	_ = z.Close()
	m := message(b.String())
	m[0] = 1
	return m
}

func TestWhatIsUnpackedInASecondIsBounded(t *testing.T) {
	s, addr := start(t, func(c *h2.Config) { c.Now = func() int64 { return 1e9 } })
	w := dial(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	m := zipped(1 << 20)
	w.must(w.f.WriteWindowUpdate(0, 1<<30))
	for i := range 40 {
		id := uint32(2*i + 1)
		w.open(id, echoPath, false, "grpc-encoding", "gzip")
		w.must(w.f.WriteData(id, true, m))
		w.must(w.f.WriteRSTStream(id, http2.ErrCodeCancel)) // its megabyte needs no room
	}
	w.ask(99, "/none", "x")
	if a := w.await(99); a.status != "12" {
		t.Fatalf("got %+v", a)
	}
	if n := s.Stats().Abuse[h2.AbuseGzip]; n < 20 || n > 26 {
		t.Errorf("%d of 40 were too much", n)
	}
}

// A client that takes long to see the GOAWAY may try elsewhere what it sent
// meanwhile: nothing of it may be answered, or it would count twice.
func TestNothingIsDecidedAfterTheFinalGoAway(t *testing.T) {
	l := newLate(time.Minute)
	s, addr := start(t, func(c *h2.Config) { c.Fast[latePath] = l })
	w := dial(t, addr)
	w.alive(1)
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(brief(t)) }()
	var last uint32
	for n := 0; n < 2; {
		if g, ok := w.read().(*http2.GoAwayFrame); ok {
			last = g.LastStreamID
			n++
		}
	}
	if last != 1 {
		t.Fatalf("the final GOAWAY names stream %d", last)
	}
	_ = w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: w.block(latePath), EndHeaders: true})
	_ = w.f.WriteData(3, true, message("x"))
	time.Sleep(50 * time.Millisecond)
	_ = w.c.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if len(l.calls) != 0 {
		t.Error("it was decided")
	}
}

// The last request ends without the client's doing: the drain must see it.
func TestADrainSeesThatTheLastRequestHasExpired(t *testing.T) {
	s, addr := start(t, func(c *h2.Config) { c.RequestTimeout = 50 * time.Millisecond })
	w := dial(t, addr)
	w.open(1, echoPath, false) // and no body
	w.alive(3)
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(brief(t)) }()
	began := time.Now()
	for {
		f, err := w.f.ReadFrame()
		if err != nil {
			break // our side stays open: the server closes its own
		}
		if p, ok := f.(*http2.PingFrame); ok && !p.IsAck() {
			w.must(w.f.WritePing(true, p.Data))
		}
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestAuthorizeRefuses(t *testing.T) {
	s, addr := start(t, func(c *h2.Config) {
		c.Authorize = func(h *h2.Headers) h2.Refusal {
			if v, ok := h.Get("authorization"); ok && string(v) == "Bearer secret" {
				return h2.Refusal{}
			}
			return h2.Refusal{Code: 16, Message: "who are you?"}
		}
	})
	w := dial(t, addr)
	w.ask(1, echoPath, "x")
	if a := w.await(1); a.status != "16" || a.text != "who are you?" || a.data != "" {
		t.Fatalf("got %+v", a)
	}
	w.ask(3, echoPath, "x", "authorization", "Bearer secret")
	if a := w.await(3); a.status != "0" || a.data != "x" {
		t.Fatalf("got %+v", a)
	}
	if n := s.Stats().Refused; n != 1 {
		t.Errorf("%d counted", n)
	}
}

// A queue before the processors sheds new calls if the process's own work made
// it, and not if other processes did.
func TestOnlyItsOwnLoadMakesItShed(t *testing.T) {
	var stop atomic.Bool
	var spinning sync.WaitGroup
	for range 8 * runtime.GOMAXPROCS(0) {
		spinning.Go(func() {
			for !stop.Load() {
			}
		})
	}
	defer spinning.Wait()
	defer stop.Store(true)
	for _, c := range []struct {
		name string
		cpu  func() int64
		own  bool
	}{
		{"its own", clock, true}, // a processor's time for each second that passes
		{"others'", func() int64 { return 0 }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, addr := start(t, func(cfg *h2.Config) { cfg.CPU, cfg.BehindMax = c.cpu, 2*time.Millisecond })
			w := dial(t, addr)
			end := time.Now().Add(5 * time.Second)
			if !c.own {
				end = time.Now().Add(time.Second)
			}
			for id := uint32(1); s.Stats().Shed == 0 && time.Now().Before(end); id += 2 {
				w.ask(id, echoPath, "x")
				w.await(id)
			}
			if shed := s.Stats().Shed > 0; shed != c.own {
				t.Errorf("shed: %v", shed)
			}
			// Doors beside this one are told the same.
			behind := s.Behind()
			for end := time.Now().Add(time.Second); behind != c.own && time.Now().Before(end); behind = s.Behind() {
				runtime.Gosched()
			}
			if behind != c.own {
				t.Errorf("behind: %v", behind)
			}
		})
	}
}
