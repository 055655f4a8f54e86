package h2_test

import (
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/headgate/headgate/api/h2"
)

// inUse is what lives on heap and stacks, in bytes.
func inUse() int {
	for range 3 {
		runtime.GC() // pools forget in two
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

const failPath = "/test.Service/Fail"

// failing answers by errors with much text, for which no window is needed.
type failing struct{ echo }

func (failing) Prepare(*h2.Call) bool { return false }
func (failing) Begin(c *h2.Call)      { c.Fail(3, strings.Repeat("no", 1000)) }

// greedy is a client that makes its connection hold what it can. It leaves it
// in that state.
func greedy(w *wire, c *h2.Config, release <-chan struct{}) {
	_ = w.c.SetDeadline(time.Time{})
	var stop sync.WaitGroup
	quit := make(chan struct{})
	stop.Add(1)
	go func() { // reads for as long as it must
		defer stop.Done()
		b := make([]byte, 1024)
		for {
			select {
			case <-quit:
				return
			default:
			}
			_ = w.c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, _ = w.c.Read(b)
		}
	}()
	id := uint32(1)
	next := func() uint32 { id += 2; return id }
	must := w.must
	must(w.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	must(w.f.WriteWindowUpdate(0, 1<<30))
	// Entries for the table, and strings that none keeps.
	w.ask(next(), echoPath, "", "a", strings.Repeat("y", 3000))
	w.ask(next(), echoPath, "", "b", strings.Repeat("z", 10_000))
	// A handler that is about to write.
	writer := next()
	w.open(writer, restPath, true, "x-write", "1")
	// Requests without end, of which each has a little, with and without handler;
	// answers without room.
	budget := c.BufferBytes * 3 / 4
	for i := 0; budget > 0; i++ {
		if n := 16_000; i%4 == 0 {
			w.ask(next(), echoPath, strings.Repeat("x", n))
			budget -= n
		} else {
			n = 1025 // the capacity is 2048, or less
			w.open(next(), echoPath, false)
			w.must(w.f.WriteData(id, false, message(strings.Repeat("x", n))))
			w.open(next(), restPath, false, "x-h", strings.Repeat("h", 1000))
			w.must(w.f.WriteData(id, false, make([]byte, n)))
			budget -= 5 * n
		}
	}
	// From here on it does not read. What came before has its answers.
	w.must(w.f.WriteWindowUpdate(0, 1))
	time.Sleep(300 * time.Millisecond)
	close(quit)
	stop.Wait()
	must(w.f.WriteWindowUpdate(writer, 1<<20)) // the handler writes, and waits for us
	time.Sleep(20 * time.Millisecond)
	_ = w.c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	for gone := false; !gone; {
		gone = w.atOnce(func() { w.ask(next(), failPath, "") }) != nil
	}
	_ = w.c.SetWriteDeadline(time.Time{})
	go func() { // a header block, and more than is read
		_ = w.f.WriteHeaders(http2.HeadersFrameParam{StreamID: next(), BlockFragment: make([]byte, 16_000)})
		<-release
	}()
}

// outBytesMax is how much output a connection collects.
const outBytesMax = 256 << 10

func TestGreedyClientsStayWithinTheStatedMemory(t *testing.T) {
	const clients = 50
	release := make(chan struct{})
	var cfg h2.Config
	s, l := serve(t, func(c *h2.Config) {
		c.MessageBytes, c.BufferBytes, c.Streams = 64<<10, 1<<20, 400
		c.StallTimeout, c.RequestTimeout = time.Hour, time.Hour
		c.Fast[failPath] = failing{}
		c.Rest = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Write") != "" {
				_, _ = rw.Write(make([]byte, 250_000))
				_ = http.NewResponseController(rw).Flush()
			}
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
		cfg = *c
	})
	before := inUse()
	ends := make([]func(), 0, clients)
	var all sync.WaitGroup
	for range clients {
		w, end := l.dial(t)
		ends = append(ends, end)
		all.Go(func() { greedy(w, &cfg, release) })
	}
	all.Wait()
	time.Sleep(50 * time.Millisecond)
	each := (inUse() - before) / clients
	most := cfg.ConnectionBytes()
	t.Logf("%d KiB each of at most %d KiB; %+v", each>>10, most>>10, s.Stats())
	if each > most {
		t.Errorf("%d bytes each: more than %d", each, most)
	}
	if n := s.Stats().Connections; n != clients || each < cfg.BufferBytes+outBytesMax {
		t.Errorf("they were not greedy: %d are left, with %d bytes each", n, each)
	}
	close(release)
	for _, end := range ends {
		end()
	}
	clear(ends)
	eventually(t, "all are gone", func() bool { return s.Stats().Connections == 0 })
	if left := inUse() - before; left > clients*64<<10 {
		t.Errorf("%d bytes are left", left)
	}
}

func TestAnIdleConnectionIsSmall(t *testing.T) {
	const clients, most = 1000, 20 << 10
	s, l := serve(t, nil)
	warm, end := l.dial(t)
	warm.alive(1)
	end()
	eventually(t, "gone", func() bool { return s.Stats().Connections == 0 })
	before := inUse()
	for range clients {
		w, end := l.dial(t)
		go func() { w.ask(1, echoPath, "x", "x-request-id", "0123456789") }()
		w.await(1)
		defer end()
		w.f, w.enc, w.buf = nil, nil, nil
	}
	each := (inUse() - before) / clients
	t.Logf("%d bytes each", each)
	if each > most {
		t.Errorf("%d bytes each: more than %d", each, most)
	}
}

// serve serves connections in memory.
func serve(tb testing.TB, change func(*h2.Config)) (*h2.Server, *pipes) {
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
	l := newPipes()
	go func() { _ = s.Serve(l) }()
	tb.Cleanup(s.Close)
	return s, l
}
