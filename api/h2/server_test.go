package h2_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/headgate/headgate/api/h2"
)

func TestAUnaryCallIsAnswered(t *testing.T) {
	s, addr := start(t, nil)
	w := dial(t, addr)
	for id := uint32(1); id < 20; id += 2 {
		text := fmt.Sprint("hello ", id)
		w.ask(id, echoPath, text)
		if a := w.await(id); a.http != "200" || a.status != "0" || a.data != text || a.trailers["content-type"] != "application/grpc" {
			t.Fatalf("got %+v", a)
		}
	}
	if n := s.Stats().Fast; n != 10 {
		t.Errorf("counted %d", n)
	}
}

func TestAnswers(t *testing.T) {
	unzip := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(text))
		_ = z.Close()
		m := message(b.String())
		m[0] = 1
		return string(m)
	}
	_, addr := start(t, func(c *h2.Config) { c.MessageBytes, c.BufferBytes = 1000, 10_000 })
	w := dial(t, addr)
	id := uint32(1)
	for _, c := range []struct {
		name, body, path string
		fields           []string
		want             answer
	}{
		{name: "an empty message is a message", body: string(message("")), want: answer{http: "200", status: "0"}},
		{name: "no message", body: "", want: answer{http: "200", status: "13"}},
		{name: "a message that is cut off", body: "\x00\x00\x00\x00\x05abc", want: answer{http: "200", status: "13"}},
		{name: "two messages", body: string(message("a")) + string(message("b")), want: answer{http: "200", status: "13"}},
		{name: "a strange flag", body: "\x02\x00\x00\x00\x00", want: answer{http: "200", status: "13"}},
		{name: "an error has its message, encoded", body: string(message("!")), want: answer{http: "200", status: "3", text: "as asked: 100 %25 %C3%BC"}},
		{name: "a panic in preparing is an error", body: string(message("+")), want: answer{http: "200", status: "13", text: "internal error"}},
		{name: "a panic is an error", body: string(message("*")), want: answer{http: "200", status: "13", text: "internal error"}},
		{name: "gzip", body: unzip("zipped"), fields: []string{"grpc-encoding", "gzip"}, want: answer{http: "200", status: "0", data: "zipped"}},
		{name: "gzip that is none", body: "\x01\x00\x00\x00\x01x", fields: []string{"grpc-encoding", "gzip"}, want: answer{http: "200", status: "13"}},
		{name: "a gzip bomb", body: unzip(strings.Repeat("x", 1001)), fields: []string{"grpc-encoding", "gzip"}, want: answer{http: "200", status: "8"}},
		{name: "compressed, and nobody says how", body: unzip("x"), want: answer{http: "200", status: "13"}},
		{name: "another encoding", body: unzip("x"), fields: []string{"grpc-encoding", "br"}, want: answer{http: "200", status: "12"}},
		{name: "identity", body: string(message("x")), fields: []string{"grpc-encoding", "identity"}, want: answer{http: "200", status: "0", data: "x"}},
		{name: "a message that is too long", body: string(message(strings.Repeat("x", 1001))), want: answer{http: "200", status: "8"}},
		{name: "the longest message", body: string(message(strings.Repeat("x", 1000))), want: answer{http: "200", status: "0", data: strings.Repeat("x", 1000)}},
		{name: "an unknown method", path: "/test.Service/None", want: answer{http: "200", status: "12", text: "unknown method"}},
		// The first five bytes of text are taken for a prefix.
		{name: "no gRPC", fields: []string{"content-type", "text/plain"}, want: answer{http: "415", data: "port speaks gRPC: content-type must be application/grpc.\n"}},
		{name: "a content-type that only begins alike", fields: []string{"content-type", "application/grpcx"}, want: answer{http: "415", data: "port speaks gRPC: content-type must be application/grpc.\n"}},
		{name: "GET", fields: []string{":method", "GET"}, want: answer{http: "405", data: "port speaks gRPC: the method must be POST.\n"}},
		{name: "a timeout that is none", fields: []string{"grpc-timeout", "12"}, want: answer{http: "400", status: "13"}},
		{name: "a binary field that is not base64", fields: []string{"x-bin", "?"}, want: answer{http: "400", status: "13"}},
		{name: "a binary field", body: string(message("x")), fields: []string{"x-bin", "AAE"}, want: answer{http: "200", status: "0", data: "x"}},
		{name: "a header list that is too long", fields: []string{"x-long", strings.Repeat("x", 20_000)}, want: answer{http: "431", status: "8"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.path == "" {
				c.path = echoPath
			}
			w.t = t
			block := w.block(c.path, c.fields...)
			first := block[:min(len(block), 16_000)]
			w.must(w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndHeaders: len(first) == len(block)}))
			if rest := block[len(first):]; len(rest) > 0 {
				w.must(w.f.WriteContinuation(id, true, rest))
			}
			w.must(w.f.WriteData(id, true, []byte(c.body)))
			a := w.await(id)
			id += 2
			a.trailers = nil
			c.want.ended = true
			if c.want.text == "" {
				a.text = ""
			}
			if got, want := fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", c.want); got != want {
				t.Errorf("got  %.200s\nwant %.200s", got, want)
			}
		})
	}
}

func TestAMessageInPieces(t *testing.T) {
	_, addr := start(t, nil)
	w := dial(t, addr)
	text := strings.Repeat("x", 700_000)
	w.open(1, echoPath, false, "content-length", fmt.Sprint(len(text)+5))
	sent := 0
	body := message(text)
	window := 65535
	for len(body) > 0 {
		n := min(len(body), 16_000, window)
		if n == 0 {
			if u, ok := w.read().(*http2.WindowUpdateFrame); ok && u.StreamID == 1 {
				window += int(u.Increment)
			}
			continue
		}
		w.must(w.f.WriteDataPadded(1, n == len(body), body[:n], make([]byte, 0)))
		body, window = body[n:], window-n
		sent++
	}
	w.must(w.f.WriteWindowUpdate(0, 1<<20))
	w.must(w.f.WriteWindowUpdate(1, 1<<20))
	if a := w.await(1); a.data != text || a.status != "0" {
		t.Fatalf("got %d bytes, status %s %s", len(a.data), a.status, a.text)
	}
}

func TestAnAnswerWaitsForTheWindow(t *testing.T) {
	_, addr := start(t, nil)
	w := dial(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 7})
	w.ask(1, echoPath, "0123456789")
	w.ask(3, echoPath, "ab") // fits
	if a := w.await(3); a.data != "ab" {
		t.Fatalf("got %+v", a)
	}
	w.must(w.f.WriteWindowUpdate(1, 3))
	w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100}))
	if a := w.await(1); a.data != "789" || a.status != "0" { // await took the first bytes, and then five as a prefix
		t.Fatalf("got %+v", a)
	}
}

func TestALateCallIsAnsweredLater(t *testing.T) {
	l := newLate(time.Minute)
	_, addr := start(t, func(c *h2.Config) { c.Fast[latePath] = l })
	w := dial(t, addr)
	w.ask(1, latePath, "one")
	w.ask(3, latePath, "two")
	w.ask(5, echoPath, "at once")
	if a := w.await(5); a.data != "at once" {
		t.Fatalf("got %+v", a)
	}
	one, two := <-l.calls, <-l.calls
	go two.Finish()
	if a := w.await(3); a.data != "two" {
		t.Fatalf("got %+v", a)
	}
	go one.Finish()
	if a := w.await(1); a.data != "one" {
		t.Fatalf("got %+v", a)
	}
}

func TestALateCallExpires(t *testing.T) {
	l := newLate(20 * time.Millisecond)
	_, addr := start(t, func(c *h2.Config) { c.Fast[latePath] = l })
	w := dial(t, addr)
	w.ask(1, latePath, "one")
	if a := w.await(1); a.data != "expired" || a.status != "0" {
		t.Fatalf("got %+v", a)
	}
	(<-l.calls).Finish() // too late: nobody minds
	w.ask(3, latePath, "two", "grpc-timeout", "1m")
	began := time.Now()
	if a := w.await(3); a.data != "expired" || time.Since(began) > 15*time.Millisecond && testing.Short() {
		t.Fatalf("got %+v", a)
	}
	(<-l.calls).Finish()
	w.ask(5, echoPath, "still here")
	if a := w.await(5); a.data != "still here" {
		t.Fatalf("got %+v", a)
	}
}

func TestACancelledLateCallIsForgotten(t *testing.T) {
	l := newLate(time.Minute)
	_, addr := start(t, func(c *h2.Config) { c.Fast[latePath] = l })
	w := dial(t, addr)
	w.ask(1, latePath, "one")
	call := <-l.calls
	w.must(w.f.WriteRSTStream(1, http2.ErrCodeCancel))
	w.ask(3, echoPath, "x")
	w.await(3)
	call.Finish()
	w.ask(5, echoPath, "y")
	if all := w.awaitAll(5); len(all) != 1 {
		t.Fatalf("got %+v", all)
	}
}
