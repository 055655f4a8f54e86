package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate/headgate/internal/certs/certstest"
)

// ServeHTTP answers POST /v1/check with what f decides.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var check struct {
		Domain     string
		Attributes map[string]string
	}
	err := json.NewDecoder(r.Body).Decode(&check)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/check" || check.Domain != "bench" || r.Header.Get("Content-Type") != "application/json" {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	switch over, err := f.decide(r.Context(), check.Attributes["key"]); {
	case err != nil:
		http.Error(w, err.Error(), http.StatusNotFound)
	case over:
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		_, _ = io.WriteString(w, `{"verdict":"allowed"}`)
	}
}

// overHTTP returns a Config for a run against h.
func overHTTP(t *testing.T, h http.Handler) Config {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c := small(s.Listener.Addr().String())
	c.Protocol = HTTP
	return c
}

func TestOverHTTPWhatIsReportedIsWhatTheServerAnswered(t *testing.T) {
	f := &fake{answer: func(_ context.Context, value string) (bool, error) {
		if value[1] == '1' {
			return false, errors.New("no")
		}
		return value[1] == '7', nil
	}}
	c := overHTTP(t, f)
	c.Rate = 2000 // so that the number of requests does not depend on the machine
	r := mustRun(t, c)
	if r.Verdicts.OK != uint64(f.ok.Load()) || r.Verdicts.OverLimit != uint64(f.over.Load()) || r.Errors["404"] != uint64(f.failed.Load()) {
		t.Errorf("reported %+v and %v, the server answered %d, %d, %d", r.Verdicts, r.Errors, f.ok.Load(), f.over.Load(), f.failed.Load())
	}
	if r.Verdicts.OverLimit == 0 || len(r.Errors) != 1 || len(r.TransportErrors) > 0 || r.Reconnects > 0 || r.InFlight != 1 {
		t.Errorf("report %+v", r)
	}
	if sum := r.Verdicts.OK + r.Verdicts.OverLimit + r.Errors["404"]; sum != r.Requests || f.top.Load() > int64(r.Connections) {
		t.Errorf("%d answers of %d requests, %d at once", sum, r.Requests, f.top.Load())
	}
	if len(f.values) < 80 {
		t.Errorf("the server saw only %d of 100 keys", len(f.values))
	}
}

func TestAnOpenLoopOverHTTPKeepsItsRate(t *testing.T) {
	f := &fake{}
	c := overHTTP(t, f)
	c.Rate, c.Warmup = 1000, 100*time.Millisecond
	r := mustRun(t, c)
	checkClean(t, r)
	if all := f.ok.Load(); r.Requests != 300 || all != 400 || r.Open == nil || r.Open.Dropped != 0 {
		t.Errorf("reported %d requests of %d, want 300 of 400; %+v", r.Requests, all, r.Open)
	}
}

func TestAnEncryptedHTTPServerIsMeasured(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	f := &fake{}
	s := httptest.NewUnstartedServer(f)
	s.EnableHTTP2 = true // the client must not take it
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, certstest.Leaf{}).Load(t)}, MinVersion: tls.VersionTLS13}
	s.StartTLS()
	t.Cleanup(s.Close)
	c := small(s.Listener.Addr().String())
	c.Protocol, c.TLS = HTTP, &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}
	r := mustRun(t, c)
	checkClean(t, r)
	if r.Verdicts.OK != uint64(f.ok.Load()) {
		t.Errorf("reported %+v, the server answered %d", r.Verdicts, f.ok.Load())
	}
}

func TestAnHTTPConnectionThatIsClosedIsReplaced(t *testing.T) {
	var n atomic.Int64
	c := overHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if n.Add(1)%5 == 0 {
			w.Header().Set("Connection", "close")
		}
	}))
	c.Rate = 200
	r := mustRun(t, c)
	checkClean(t, r)
	if r.Verdicts.OK != 60 || n.Load() != 60 || r.Reconnects < 5 {
		t.Errorf("%+v of %d, %d reconnects", r.Verdicts, n.Load(), r.Reconnects)
	}
}

func TestAnHTTPServerThatHangsUpIsCounted(t *testing.T) {
	c := overHTTP(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	r := mustRun(t, c)
	if r.Requests == 0 || r.TransportErrors["connection_lost"] != r.Requests || r.Reconnects == 0 {
		t.Errorf("%d requests, %v, %d reconnects", r.Requests, r.TransportErrors, r.Reconnects)
	}
}

// http1Offline returns a connection that reads from r, with a request in flight.
func http1Offline(tb testing.TB, r io.Reader) *http1 {
	tb.Helper()
	cfg := small("127.0.0.1:1")
	cfg.Protocol, cfg.Duration = HTTP, time.Hour
	p, err := newPlan(&cfg, cfg.Target)
	if err != nil {
		tb.Fatal(err)
	}
	p.epoch = time.Now()
	h := newHTTP1(newLane(p, 0), discard{})
	h.br = bufio.NewReaderSize(r, receiveBuffer)
	h.l.current = &h.link
	h.open(0, 0)
	return h
}

// hear has h read all that comes, as its reader does.
func hear(h *http1) error {
	need, err := h.arrived()
	for err == nil && (h.active > 0 || h.br.Buffered() > 0) {
		if _, err = h.br.Peek(need); err == nil {
			need, err = h.arrived()
		}
	}
	return err
}

func TestAnswersOfHTTPAreUnderstood(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for name, test := range map[string]struct {
		answer  string
		status  int // 0: not one
		retired bool
	}{
		"a length":                   {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, false},
		"no body":                    {"HTTP/1.1 204 No Content\r\n\r\n", 204, false},
		"a body of nothing":          {"HTTP/1.1 429 Too Many Requests\r\ncontent-length:0\r\n\r\n", 429, false},
		"no reason":                  {"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", 503, false},
		"chunks":                     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n", 200, false},
		"an announcement before":     {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, false},
		"the last on its connection": {"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", 200, true},
		"an older version":           {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, true},
		"longer than the buffer":     {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + long, 200, false},

		"another protocol":           {"SSH-2.0-x and so on and on\r\n\r\n", 0, true},
		"HTTP/2":                     {"\x00\x00\x00\x04\x00\x00\x00\x00\x00\r\n\r\n", 0, true},
		"a status that is none":      {"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n", 0, true},
		"a length that is none":      {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 0, true},
		"a length beyond all bounds": {"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", 0, true},
		"no length":                  {"HTTP/1.1 200 OK\r\n\r\n{}", 0, true},
		"another coding":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 0, true},
		"a chunk that is none":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 0, true},
		"chunks without an end":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("FFFF\r\n"+long[:0xffff]+"\r\n", 17), 0, true},
		"a chunk's size without one": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + long, 0, true},
		"a head without an end":      {"HTTP/1.1 200 OK\r\nX: " + long, 0, true},
		"more than was asked for":    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, true},
	} {
		for _, size := range []int{1, 7, 1 << 20} {
			t.Run(fmt.Sprintf("%s, %d bytes at a time", name, size), func(t *testing.T) {
				h := http1Offline(t, &trickle{[]byte(test.answer), size})
				h.l.mu.Lock()
				defer h.l.mu.Unlock()
				if err := hear(h); err != nil {
					h.end(err)
				}
				got := &h.l.tallies[1]
				var status int
				switch {
				case got.ok == 1:
					status = 200
				case got.over == 1:
					status = 429
				default:
					status = slices.Index(got.statuses[:], 1)
				}
				if test.status == 0 {
					if got.faults[faultResponse] != 1 || got.requests != 1 {
						t.Errorf("%d requests, faults %v", got.requests, got.faults)
					}
				} else if status != test.status || got.requests != 1 || got.errors() > 0 && status < 500 && status != 204 {
					t.Errorf("status %d, want %d; %d requests, faults %v", status, test.status, got.requests, got.faults)
				}
				// What is too much is seen at once, or when the next answer is due.
				if name != "more than was asked for" && h.retired != test.retired || h.active != 0 {
					t.Errorf("retired: %v, %d active", h.retired, h.active)
				}
			})
		}
	}
}

// A trickle gives at most so many bytes a read.
type trickle struct {
	rest []byte
	size int
}

func (r *trickle) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.size)], r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// FuzzHTTP1 sends arbitrary bytes to a connection with a request in flight, in two
// pieces: it must end up as one verdict, one status or one fault, wherever they part.
func FuzzHTTP1(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), uint16(30))
	f.Add([]byte("HTTP/1.1 429 Too Many Requests\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"), uint16(70))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 500 no\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		var tallies [2]tally
		for i, cut := range []int{len(b), min(int(at), len(b))} {
			h := http1Offline(t, io.MultiReader(bytes.NewReader(b[:cut]), bytes.NewReader(b[cut:])))
			h.l.mu.Lock()
			h.end(hear(h))
			h.l.mu.Unlock()
			tallies[i] = h.l.tallies[1]
		}
		if one := &tallies[0]; one.verdicts()+one.errors() != 1 || one.requests != 1 {
			t.Errorf("%q: %d verdicts, %d errors of one request", b, one.verdicts(), one.errors())
		}
		tallies[1].inWindow, tallies[1].requestsInWindow = tallies[0].inWindow, tallies[0].requestsInWindow
		if tallies[0] != tallies[1] {
			t.Errorf("%q means something else if it is cut at %d", b, at)
		}
	})
}

func TestTheJSONIsTheCheckOfItsKey(t *testing.T) {
	for _, test := range []struct {
		descriptor, want string
		hits             uint32
	}{
		{"key=%d", `{"domain":"d","attributes":{"key":"0000"}}`, 1},
		{`path=/a"b,key=x%dy%d`, `{"domain":"d","attributes":{"path":"/a\"b","key":"x0000y0000"},"cost":7}`, 7},
		{"a=1,a=%d", `{"domain":"d","attributes":[{"key":"a","value":"1"},{"key":"a","value":"0000"}]}`, 1},
	} {
		c := Default()
		c.Protocol, c.Domain, c.Descriptors, c.Hits, c.Keys = HTTP, "d", []string{test.descriptor}, test.hits, 10_000
		w, err := newWorkload(&c)
		if err != nil {
			t.Fatal(err)
		}
		number := fmt.Sprintf("%04d", newKeyGenerator(&c, w.keys, 0).next())
		got := w.appendBody([]byte("before"), newKeyGenerator(&c, w.keys, 0))[len("before"):]
		if want := strings.ReplaceAll(test.want, "0000", number); string(got) != want || !json.Valid(got) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestARequestOverHTTPAllocatesNothing(t *testing.T) {
	var r bytes.Reader
	h := http1Offline(t, &r)
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	answer := []byte("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}")
	round := func() {
		r.Reset(answer)
		h.br.Reset(&r)
		if err := hear(h); err != nil {
			t.Fatal(err)
		}
		h.open(0, 0)
		h.flush()
	}
	for range 10 {
		round()
	}
	if n := testing.AllocsPerRun(1000, round); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

// A server that is no HTTP server at all ends the run with figures, not an error.
func TestATargetThatDoesNotSpeakHTTPIsCounted(t *testing.T) {
	l := listen(t)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func(nc net.Conn) {
				_, _ = io.WriteString(nc, "220 mail.example ESMTP\r\n\r\n")
				_, _ = io.Copy(io.Discard, nc)
				_ = nc.Close()
			}(nc)
		}
	}()
	c := small(l.Addr().String())
	c.Protocol = HTTP
	r := mustRun(t, c)
	if n := r.TransportErrors["bad_response"]; n == 0 || n != r.Requests || r.Verdicts.OK > 0 {
		t.Errorf("%d of %d requests have a bad response: %v", n, r.Requests, r.TransportErrors)
	}
}
