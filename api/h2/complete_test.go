package h2_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/headgate/headgate/api/h2"
)

func TestAnswersWaitForTheConnectionsWindow(t *testing.T) {
	_, addr := start(t, nil)
	w := dial(t, addr)
	var ids []uint32
	for id := uint32(1); id < 200; id += 2 { // 100 × 1,005 bytes, and a window of 65,535
		w.ask(id, echoPath, strings.Repeat(fmt.Sprint(id%10), 1000))
		ids = append(ids, id)
	}
	go func() {
		f := http2.NewFramer(w.c, nil)
		for range 70 {
			time.Sleep(time.Millisecond)
			_ = f.WriteWindowUpdate(0, 501)
		}
	}()
	answers := w.awaitAll(ids...)
	for _, id := range ids {
		if a := answers[id]; a.status != "0" || a.data != strings.Repeat(fmt.Sprint(id%10), 1000) {
			t.Fatalf("stream %d: got %+v", id, a)
		}
	}
}

func TestAnInitialWindowMayShrinkBelowWhatIsUsed(t *testing.T) {
	_, addr := start(t, func(c *h2.Config) { c.KeepaliveClientMin = 0 })
	w := dial(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 50})
	text := strings.Repeat("0123456789", 10)
	w.ask(1, echoPath, text) // 105 bytes: 50 leave
	w.sync2(t, 50)
	w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})) // −40 are left
	w.must(w.f.WriteWindowUpdate(1, 39))                                                  // −1
	w.sync2(t, 0)
	w.must(w.f.WriteWindowUpdate(1, 2)) // 1
	w.sync2(t, 1)
	w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 20})) // 10
	w.sync2(t, 10)
	w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000}))
	a := w.await(1)
	if a.status != "0" || a.data != text[61:] { // 5 more were taken for a prefix
		t.Fatalf("got %+v", a)
	}
}

// sync2 is sync that expects so many bytes of data meanwhile.
func (w *wire) sync2(t *testing.T, want int) {
	t.Helper()
	w.must(w.f.WritePing(false, [8]byte{'s', 'y', 'n', 'c'}))
	got := 0
	for {
		switch f := w.read().(type) {
		case *http2.DataFrame:
			got += len(f.Data())
		case *http2.PingFrame:
			if got != want {
				t.Fatalf("%d bytes came, not %d", got, want)
			}
			return
		}
	}
}

func TestTheClientsTableMayChange(t *testing.T) {
	_, addr := start(t, nil)
	w := dial(t, addr)
	id := uint32(1)
	for _, size := range []uint32{4096, 100, 0, 4096, 60, 61, 4096, 1} {
		w.enc.SetMaxDynamicTableSize(size)
		for i := range 20 {
			w.ask(id, echoPath, "x", "a", fmt.Sprint(i%7), "b", strings.Repeat("y", i*10))
			if a := w.await(id); a.status != "0" || a.data != "x" {
				t.Fatalf("size %d: got %+v", size, a)
			}
			id += 2
		}
	}
}

func TestOurTableFollowsTheClientsSettings(t *testing.T) {
	_, addr := start(t, nil)
	w := dial(t, addr)
	id := uint32(1)
	for _, size := range []uint32{4096, 104, 1000, 4096, 103, 4096, 0, 10_000} {
		w.must(w.f.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}))
		w.sync()
		w.f.ReadMetaHeaders.SetAllowedMaxDynamicTableSize(size)
		for range 5 {
			w.ask(id, echoPath, "x")
			if a := w.await(id); a.status != "0" || a.http != "200" || a.trailers["content-type"] != "application/grpc" {
				t.Fatalf("size %d: got %+v", size, a)
			}
			w.ask(id+2, echoPath, "!") // answered by a block of other fields
			if a := w.await(id + 2); a.status != "3" || a.http != "200" {
				t.Fatalf("size %d: got %+v", size, a)
			}
			id += 4
		}
	}
}

func TestPaddingAndPiecesChangeNothing(t *testing.T) {
	_, addr := start(t, nil)
	w := dial(t, addr)
	id := uint32(1)
	for pieces := 1; pieces <= 32; pieces++ {
		for _, pad := range []int{0, 1, 255} {
			text := fmt.Sprint(pieces, "/", pad)
			block := w.block(echoPath, "x-bin", "AAEC", "grpc-timeout", "1H")
			size := (len(block) + pieces - 1) / pieces
			first := min(size, len(block))
			w.must(w.f.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: block[:first], EndHeaders: first == len(block), PadLength: uint8(pad),
				Priority: http2.PriorityParam{StreamDep: id + 2, Weight: 7},
			}))
			for block = block[first:]; len(block) > 0; {
				n := min(size, len(block))
				w.must(w.f.WriteContinuation(id, n == len(block), block[:n]))
				block = block[n:]
			}
			body := message(text)
			w.must(w.f.WriteDataPadded(id, false, body[:3], make([]byte, pad)))
			w.must(w.f.WriteDataPadded(id, true, body[3:], make([]byte, pad)))
			if a := w.await(id); a.data != text || a.status != "0" {
				t.Fatalf("%s: got %+v", text, a)
			}
			id += 2
		}
	}
}

func TestAnErrorIsOneHeaderBlock(t *testing.T) {
	_, addr := start(t, nil)
	w := dial(t, addr)
	w.ask(1, echoPath, "!")
	for {
		if f, ok := w.read().(*http2.MetaHeadersFrame); ok {
			if !f.StreamEnded() {
				t.Error("more follows")
			}
			return
		}
	}
}

func TestAnUnknownEncodingIsToldWhatIsKnown(t *testing.T) {
	_, addr := start(t, nil)
	w := dial(t, addr)
	w.open(1, echoPath, false, "grpc-encoding", "zstd")
	w.must(w.f.WriteData(1, true, []byte("\x01\x00\x00\x00\x00")))
	if a := w.await(1); a.status != "12" || a.trailers["grpc-accept-encoding"] != "gzip" {
		t.Fatalf("got %+v", a)
	}
}

// inFlight is how many requests a loader has in flight.
const inFlight = 200

// loader sends requests until it is told to go away, and keeps account.
type loader struct {
	w        *wire
	sent     atomic.Uint32 // the last one
	done     atomic.Uint32 // how many are answered
	last     uint32        // by GOAWAY
	answered map[uint32]bool
	told     chan struct{}
}

func (l *loader) read() {
	for {
		f, err := l.w.f.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			if l.last == 0 {
				close(l.told)
			}
			l.last = f.LastStreamID
		case *http2.PingFrame:
			l.w.f2(func(f2 *http2.Framer) { _ = f2.WritePing(true, f.Data) })
		case *http2.MetaHeadersFrame:
			if f.StreamEnded() {
				l.answered[f.StreamID] = true
				l.done.Add(1)
			}
		case *http2.DataFrame:
			l.w.f2(func(f2 *http2.Framer) { _ = f2.WriteWindowUpdate(0, f.Length+1) })
		}
	}
}

// f2 writes with a framer of the reader's own: each frame is one write.
func (w *wire) f2(write func(*http2.Framer)) { write(http2.NewFramer(w.c, nil)) }

func TestADrainUnderLoadLosesNothing(t *testing.T) {
	l := &late{time.Minute, make(chan *h2.Call, 8*inFlight)} // Decide never waits
	s, addr := start(t, func(c *h2.Config) {
		c.Fast[latePath], c.BehindMax = l, 0
		rest(echoHandler)(c)
	})
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case c := <-l.calls:
				c.Finish()
			case <-stop:
				return
			}
		}
	}()
	var all sync.WaitGroup
	loaders := make([]*loader, 8)
	for i := range loaders {
		p := &loader{w: dial(t, addr), answered: map[uint32]bool{}, told: make(chan struct{})}
		loaders[i] = p
		all.Go(p.read)
		all.Go(func() {
			paths := []string{echoPath, echoPath, latePath, restPath}
			for id := uint32(1); ; id += 2 {
				select {
				case <-p.told:
					return
				default:
				}
				if id/2-p.done.Load() >= inFlight {
					time.Sleep(100 * time.Microsecond)
					id -= 2
					continue
				}
				p.sent.Store(id)
				p.w.ask(id, paths[int(id/2)%4], "hello")
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	if err := s.Drain(brief(t)); err != nil {
		t.Fatal(err)
	}
	for _, p := range loaders {
		_ = p.w.c.Close()
	}
	all.Wait()
	total := 0
	for i, p := range loaders {
		for id := uint32(1); id <= p.sent.Load(); id += 2 {
			if p.answered[id] != (id <= p.last) {
				t.Errorf("connection %d: GOAWAY named %d, but request %d is answered: %v", i, p.last, id, p.answered[id])
				break
			}
			total++
		}
	}
	t.Logf("%d requests", total)
	if a := s.Stats().Abuse; a != [len(a)]uint64{} {
		t.Errorf("abuse: %v", a)
	}
}

func TestAnOldConnectionIsAskedToGo(t *testing.T) {
	l := newLate(time.Minute)
	s, addr := start(t, func(c *h2.Config) {
		c.Fast[latePath] = l
		c.ConnectionAge, c.ConnectionGrace = 60*time.Millisecond, 5*time.Second
	})
	w := dial(t, addr)
	w.ask(1, latePath, "in time")
	call := <-l.calls
	var last uint32
	for n := 0; n < 2; { // the GOAWAY, and then the final one
		switch f := w.read().(type) {
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				t.Fatalf("GOAWAY %v", f.ErrCode)
			}
			if n++; n == 1 {
				w.ask(3, latePath, "on its way")
			}
			last = f.LastStreamID
		case *http2.PingFrame:
			if !f.IsAck() {
				w.must(w.f.WritePing(true, f.Data))
			}
		}
	}
	if last != 3 {
		t.Errorf("stream %d is the last", last)
	}
	call.Finish()
	(<-l.calls).Finish()
	answers := w.awaitAll(1, 3)
	for _, id := range []uint32{1, 3} {
		if a := answers[id]; a.status != "0" {
			t.Errorf("stream %d: got %+v", id, a)
		}
	}
	if _, err := w.f.ReadFrame(); err == nil {
		t.Error("it is still open")
	}
	_ = w.c.Close()
	eventually(t, "gone", func() bool { return s.Stats().Connections == 0 })
}

func TestTheGraceOfAnOldConnectionEnds(t *testing.T) {
	l := newLate(time.Minute)
	s, addr := start(t, func(c *h2.Config) {
		c.Fast[latePath] = l
		c.ConnectionAge, c.ConnectionGrace = 50*time.Millisecond, 100*time.Millisecond
	})
	w := dial(t, addr)
	w.ask(1, latePath, "never")
	call := <-l.calls
	began := time.Now()
	for {
		if _, err := w.f.ReadFrame(); err != nil {
			break
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	call.Finish() // nobody listens
	eventually(t, "gone", func() bool { return s.Stats().Connections == 0 })
}

// slow takes a millisecond of its clock for each call that is not shed.
type slow struct {
	echo
	clock *atomic.Int64
}

func (s slow) Decide(c *h2.Call) bool {
	if !c.Shed {
		s.clock.Add(int64(time.Millisecond))
	}
	return true
}

func TestCallsThatComeTooLateAreShed(t *testing.T) {
	p := newTape(300, 1000, false) // 300 KB are there at once: six reads
	p.hello = append(p.hello, p.batch()...)
	p.rounds = 0
	c := h2.Default()
	var now atomic.Int64
	now.Store(clock())
	c.Now, c.BehindMax = now.Load, 20*time.Millisecond
	c.Fast = map[string]h2.Unary{echoPath: slow{clock: &now}}
	s, err := h2.New(c)
	if err != nil {
		t.Fatal(err)
	}
	l := &one{make(chan net.Conn, 1), make(chan struct{})}
	go func() { _ = s.Serve(l) }()
	l.c <- p
	<-p.drained
	stats := s.Stats()
	s.Close()
	// The first reads come in time, and with the last one the loop is up to date.
	if stats.Fast != 300 || stats.Shed < 150 || stats.Shed > 240 {
		t.Errorf("%d of %d are shed", stats.Shed, stats.Fast)
	}
}
