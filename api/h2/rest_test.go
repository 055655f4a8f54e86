package h2_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/headgate/headgate/api/h2"
)

// echoHandler answers with what comes, as it comes.
func echoHandler(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	_ = out.Flush()
	b := make([]byte, 4096)
	for {
		n, err := r.Body.Read(b)
		if n > 0 {
			if _, err := w.Write(b[:n]); err != nil {
				return
			}
			_ = out.Flush()
		}
		if err != nil {
			break
		}
	}
	w.Header().Set("Grpc-Status", "0")
}

// client is another's HTTP/2 client.
func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func request(t *testing.T, addr, path string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(brief(t), http.MethodPost, "http://"+addr+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	return r
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestAHandlerEchoesAStream(t *testing.T) {
	_, addr := start(t, rest(echoHandler))
	data := noise(5 << 20) // more than all windows
	pr, pw := io.Pipe()
	go func() {
		for b := data; len(b) > 0; {
			n := min(len(b), 1+len(b)%50_000)
			_, _ = pw.Write(b[:n])
			b = b[n:]
		}
		_ = pw.Close()
	}()
	resp, err := client(t).Do(request(t, addr, restPath, pr))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
		t.Fatalf("got %d bytes of %d: %v", len(got), len(data), err)
	}
	if resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("trailers: %v", resp.Trailer)
	}
}

func TestAHandlerEchoesThroughSmallWindows(t *testing.T) {
	_, addr := start(t, rest(echoHandler))
	w := dial(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	data := noise(2000)
	w.open(1, restPath, false)
	for b := data; len(b) > 0; b = b[100:] {
		w.must(w.f.WriteData(1, len(b) == 100, b[:100]))
	}
	var got []byte
	for {
		switch f := w.read().(type) {
		case *http2.DataFrame:
			got = append(got, f.Data()...)
			if len(f.Data()) > 10 {
				t.Fatalf("%d bytes at once", len(f.Data()))
			}
			if n := len(f.Data()); n > 0 {
				w.must(w.f.WriteWindowUpdate(1, uint32(n)))
			}
		case *http2.MetaHeadersFrame:
			if f.StreamEnded() {
				if !bytes.Equal(got, data) {
					t.Fatalf("got %d bytes", len(got))
				}
				return
			}
		}
	}
}

func TestManyStreamsOfHandlersShareAConnection(t *testing.T) {
	_, addr := start(t, rest(echoHandler))
	c := client(t)
	sums := make(chan bool, 20)
	data := noise(300_000)
	for range cap(sums) {
		go func() {
			resp, err := c.Do(request(t, addr, restPath, bytes.NewReader(data)))
			if err != nil {
				t.Error(err)
				sums <- false
				return
			}
			defer func() { _ = resp.Body.Close() }()
			got, _ := io.ReadAll(resp.Body)
			sums <- bytes.Equal(got, data)
		}()
	}
	for range cap(sums) {
		if !<-sums {
			t.Error("another answer")
		}
	}
}

func TestAHandlerSeesTheRequest(t *testing.T) {
	_, addr := start(t, rest(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if r.Method != "POST" || r.ProtoMajor != 2 || r.URL.Path != restPath || r.RequestURI != restPath || r.Host != "test" ||
			len(r.Header["X-Many"]) != 2 || r.Header.Get("X-Many") != "a" || r.Header.Get("Grpc-Trace-Bin") != "AAE" ||
			r.ContentLength != 5 || string(body) != "hello" || err != nil || r.RemoteAddr == "" || r.Header.Get("Te") != "trailers" {
			t.Errorf("got %+v, body %q, %v", r, body, err)
		}
		if n, err := r.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %d, %v", n, err)
		}
		w.Header().Set("X-Answer", "1")
		w.Header().Set("Trailer", "X-Declared")
		_, _ = w.Write([]byte("answer"))
		w.Header().Set("X-Declared", "2")
		w.Header().Set(http.TrailerPrefix+"X-Late", "3")
		w.Header().Set("X-Too-Late", "4")
	}))
	w := dial(t, addr)
	block := w.blockOf(restPath, "x-many", "a", "x-many", "b", "grpc-trace-bin", "AAE", "content-length", "5")
	w.must(w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true}))
	w.must(w.f.WriteData(1, true, []byte("hello")))
	a := w.await(1)
	if a.http != "200" || a.data != "r" /* 5 are taken for a prefix */ || a.trailers["x-answer"] != "1" || a.trailers["x-declared"] != "2" ||
		a.trailers["x-late"] != "3" || a.trailers["x-too-late"] != "" {
		t.Errorf("got %+v", a)
	}
}

func TestTheEndOfAStreamCancelsItsHandler(t *testing.T) {
	cancelled := make(chan error, 1)
	_, addr := start(t, rest(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		_, err := r.Body.Read(make([]byte, 1))
		if _, err2 := w.Write([]byte("x")); err2 == nil {
			t.Error("it could write")
		}
		cancelled <- err
	}))
	for name, end := range map[string]func(w *wire){
		"reset":           func(w *wire) { w.must(w.f.WriteRSTStream(1, http2.ErrCodeCancel)) },
		"lost connection": func(w *wire) { _ = w.c.Close() },
		"broken rules":    func(w *wire) { w.must(w.f.WriteRSTStream(1001, http2.ErrCodeCancel)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := dial(t, addr)
			w.open(1, restPath, false)
			w.sync()
			end(w)
			select {
			case err := <-cancelled:
				if err == nil || errors.Is(err, io.EOF) {
					t.Errorf("its body ends with %v", err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("it still runs")
			}
		})
	}
}

func TestAHandlersPanicEndsItsStreamAlone(t *testing.T) {
	reported := make(chan string, 1)
	s, addr := start(t, func(c *h2.Config) {
		c.Panic = func(method string, value any, _ []byte) { reported <- method + ": " + value.(string) }
		c.Rest = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("as asked") })
	})
	w := dial(t, addr)
	w.open(1, restPath, false)
	if a := w.await(1); a.reset != http2.ErrCodeInternal {
		t.Fatalf("got %+v", a)
	}
	if got := <-reported; got != restPath+": as asked" || s.Stats().Panics != 1 {
		t.Errorf("reported %q, counted %d", got, s.Stats().Panics)
	}
	w.alive(3)
}

func TestAHandlerMayLeaveTheBodyUnread(t *testing.T) {
	_, addr := start(t, rest(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("12345enough")) }))
	w := dial(t, addr)
	w.open(1, restPath, false)
	for range 10 {
		w.must(w.f.WriteData(1, false, make([]byte, 10_000)))
	}
	var text string
	for done := false; !done; {
		switch f := w.read().(type) {
		case *http2.DataFrame:
			text += string(f.Data())
		case *http2.RSTStreamFrame:
			if f.ErrCode != http2.ErrCodeNo {
				t.Fatalf("reset: %v", f.ErrCode)
			}
			done = true
		}
	}
	if text != "12345enough" {
		t.Errorf("got %q", text)
	}
	w.alive(3)
}

func TestALongHeaderOfAHandlerIsInPieces(t *testing.T) {
	long := strings.Repeat("x", 40_000)
	_, addr := start(t, rest(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", long)
		w.Header().Set(http.TrailerPrefix+"X-Longer", long)
	}))
	w := dial(t, addr)
	w.f.MaxHeaderListSize = 1 << 20
	w.open(1, restPath, true)
	if a := w.await(1); a.http != "200" || a.trailers["x-long"] != long || a.trailers["x-longer"] != long {
		t.Errorf("got %.100v", a)
	}
}

func TestWhatIsReadAheadIsBounded(t *testing.T) {
	read, consume := make(chan int, 1000), make(chan int)
	_, addr := start(t, func(c *h2.Config) {
		c.MessageBytes, c.ReadAhead = 1000, 5000
		c.Rest = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			go func() {
				for n := range consume {
					h2.Consumed(r.Context(), n)
				}
			}()
			b := make([]byte, 700)
			for {
				n, err := r.Body.Read(b)
				read <- n
				if err != nil {
					close(read)
					return
				}
			}
		})
	})
	w := dial(t, addr)
	w.open(1, restPath, false)
	for range 20 {
		w.must(w.f.WriteData(1, false, make([]byte, 1000)))
	}
	w.must(w.f.WriteData(1, true, nil))
	total := 0
	for total < 5000 {
		total += <-read
	}
	time.Sleep(20 * time.Millisecond)
	if total != 5000 || len(read) != 0 {
		t.Fatalf("%d bytes were read, and %d times more", total, len(read))
	}
	for n := range 15 {
		consume <- 1000
		for total < min(6000+1000*n, 20_000) {
			total += <-read
		}
	}
	consume <- 1 // the end comes only then
	for range read {
	}
	close(consume)
	if a := w.await(1); a.http != "200" || total != 20_000 {
		t.Errorf("read %d, got %+v", total, a)
	}
}
