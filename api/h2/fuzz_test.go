package h2_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/headgate/headgate/api/h2"
)

// FuzzFrames sends a server, after the preface, frames that the input chooses
// (first byte even), or is (odd). Whatever they are: the server does not panic,
// it goes on (which it shows by answering a PING) or closes, its books are right,
// and when the client is gone nothing is left of it.
func FuzzFrames(f *testing.F) {
	for _, seed := range frameSeeds() {
		f.Add(seed)
	}
	target := newTarget(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 || len(data) > 64<<10 {
			return
		}
		frames := data[1:]
		if data[0]&1 == 0 {
			frames = chooseFrames(frames)
		} else {
			frames = completeFrames(frames)
		}
		target.try(t, frames, data[0]&2 == 0)
	})
}

// A target is a server with methods of each sort, and how much of it is at work.
type target struct {
	s        *h2.Server
	l        *pipes
	handlers atomic.Int64
	pending  atomic.Int64
	later    chan *h2.Call
}

// laterUnary is finished by another goroutine.
type laterUnary struct {
	echo
	t *target
}

func (laterUnary) Begin(c *h2.Call)      { c.Deadline = c.Now + int64(time.Millisecond) }
func (laterUnary) Prepare(*h2.Call) bool { return false }
func (u laterUnary) Decide(c *h2.Call) bool {
	c.In = bytes.Clone(c.In)
	u.t.pending.Add(1)
	u.t.later <- c
	return false
}

// plainEcho does not panic when it is asked to.
type plainEcho struct{ echo }

func (plainEcho) Begin(*h2.Call)        {}
func (plainEcho) Prepare(*h2.Call) bool { return false }

func newTarget(tb testing.TB) *target {
	tb.Helper()
	t := &target{later: make(chan *h2.Call, 1000)}
	t.s, t.l = serve(tb, func(c *h2.Config) {
		c.Fast = map[string]h2.Unary{"/f": plainEcho{}, "/l": laterUnary{t: t}}
		c.Rest = http.HandlerFunc(t.rest)
		c.Streams, c.StreamsTotal = 16, 1000
		c.MessageBytes, c.BufferBytes, c.HeaderBytes = 2000, 64<<10, 1024
		c.BehindMax = 0
	})
	done := make(chan struct{})
	tb.Cleanup(func() { close(done) })
	go func() { // the first of each two at once, the other after the deadline
		for {
			select {
			case <-done:
				return
			case c := <-t.later:
				if t.pending.Load()%2 == 0 {
					time.Sleep(2 * time.Millisecond)
				}
				c.Finish()
				t.pending.Add(-1)
			}
		}
	}()
	return t
}

// rest echoes what comes, or does without, as the path says.
func (t *target) rest(w http.ResponseWriter, r *http.Request) {
	t.handlers.Add(1)
	defer t.handlers.Add(-1)
	switch r.URL.Path {
	case "/r":
		b := make([]byte, 100)
		for {
			n, err := r.Body.Read(b)
			if err != nil {
				break
			}
			if _, err = w.Write(b[:n]); err != nil {
				break
			}
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	case "/w":
		_, _ = w.Write(make([]byte, 100_000))
	case "/c":
		_ = r.Body.Close()
		<-r.Context().Done()
	}
}

var pingLast = [8]byte{'l', 'a', 's', 't'}

// try sends frames, and checks what becomes of the connection.
func (t *target) try(tb testing.TB, frames []byte, acks bool) {
	tb.Helper()
	theirs, c := net.Pipe()
	t.l.conns <- theirs
	end := time.Now().Add(20 * time.Second)
	_ = c.SetDeadline(end)
	answered := make(chan bool, 1)
	go func() { answered <- readUntilPing(c) }()
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&b, nil)
	_ = f.WriteSettings()
	if acks {
		_ = f.WriteSettingsAck()
	}
	b.Write(frames)
	_ = f.WritePing(false, pingLast)
	_, _ = c.Write(b.Bytes()) // if it is closed, the rest can't be
	alive := <-answered
	if !alive && time.Now().After(end) {
		stacks := make([]byte, 1<<20)
		tb.Fatalf("neither answered nor closed\n%s", stacks[:runtime.Stack(stacks, true)])
	}
	if err := t.s.Check(); err != nil {
		tb.Fatalf("answered %v: %v", alive, err)
	}
	_ = c.Close()
	for t.s.Stats().Connections > 0 || t.handlers.Load() > 0 || t.pending.Load() > 0 {
		if time.Now().After(end) {
			tb.Fatalf("left: %d connections, %d handlers, %d calls", t.s.Stats().Connections, t.handlers.Load(), t.pending.Load())
		}
		time.Sleep(50 * time.Microsecond)
	}
	if n := t.s.Stats().Panics; n > 0 {
		tb.Fatalf("%d panics", n)
	}
}

// readUntilPing reads until the last PING is answered, or the connection ends.
func readUntilPing(c net.Conn) (answered bool) {
	var head [9]byte
	b := make([]byte, 1<<16)
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return false
		}
		n := int(binary.BigEndian.Uint32(head[:]) >> 8)
		if n > len(b) {
			return false
		}
		if _, err := io.ReadFull(c, b[:n]); err != nil {
			return false
		}
		if head[3] == 7 && n >= 8 && binary.BigEndian.Uint32(b[4:]) != 0 {
			return false // sent away
		}
		if head[3] == 6 && head[4] == 1 && string(b[:n]) == string(pingLast[:]) {
			go func() { _, _ = io.Copy(io.Discard, c) }()
			return true
		}
	}
}

// completeFrames makes sure that b ends at the end of a frame.
func completeFrames(b []byte) []byte {
	b = bytes.Clone(b)
	for at := 0; at < len(b); {
		if len(b)-at < 9 {
			b = append(b, make([]byte, 9-(len(b)-at))...)
		}
		at += 9 + int(binary.BigEndian.Uint32(b[at:])>>8)
		if at > len(b) && at-len(b) <= 1<<15 {
			b = append(b, make([]byte, at-len(b))...)
		}
	}
	return b
}

// chooseFrames makes frames of choices: for each frame a kind, flags, a stream, a
// length, and what it needs. Nearly all are well-formed.
func chooseFrames(choices []byte) []byte {
	take := func() (b byte) {
		if len(choices) > 0 {
			b, choices = choices[0], choices[1:]
		}
		return b
	}
	var out, block bytes.Buffer
	f := http2.NewFramer(&out, nil)
	f.AllowIllegalWrites = true
	enc := hpack.NewEncoder(&block)
	for frames := 0; len(choices) > 0 && frames < 500; frames++ {
		kind, flags := take(), take()
		id := uint32(take()%32)*2 + 1
		size := int(take())
		switch kind % 16 {
		case 0, 1, 2, 3, 4:
			block.Reset()
			chooseFields(enc, take(), take)
			_ = f.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: block.Bytes(), EndHeaders: flags&6 != 6, EndStream: flags&1 != 0, PadLength: flags >> 6,
			})
			if flags&6 == 6 {
				_ = f.WriteContinuation(id, flags&8 == 0, nil)
			}
		case 5, 6, 7:
			body := message(string(make([]byte, size*4)))
			cut := min(len(body), int(take())*8+5)
			_ = f.WriteDataPadded(id, flags&1 != 0, body[:cut], make([]byte, flags>>5))
		case 8:
			_ = f.WriteRSTStream(id, http2.ErrCode(take()))
		case 9:
			_ = f.WriteSettings(http2.Setting{ID: http2.SettingID(flags % 7), Val: uint32(size) << (take() % 24)})
		case 10:
			_ = f.WriteWindowUpdate(id*uint32(flags&1), uint32(size)<<(take()%24))
		case 11:
			_ = f.WritePing(flags&1 != 0, [8]byte{flags})
		case 12:
			_ = f.WritePriority(id, http2.PriorityParam{StreamDep: uint32(size)})
		case 13:
			_ = f.WriteGoAway(id, 0, nil)
		case 14:
			_ = f.WriteContinuation(id, flags&1 != 0, make([]byte, size))
		default:
			_ = f.WriteRawFrame(http2.FrameType(take()), http2.Flags(flags), id-uint32(flags&1), make([]byte, size))
		}
	}
	return out.Bytes()
}

// chooseFields encodes a request's fields, or nearly.
func chooseFields(enc *hpack.Encoder, which byte, take func() byte) {
	field := func(name, value string) { _ = enc.WriteField(hpack.HeaderField{Name: name, Value: value}) }
	if which&0x80 != 0 { // trailers
		field("grpc-x", "y")
		return
	}
	field(":method", "POST")
	field(":scheme", "http")
	field(":path", []string{"/f", "/l", "/r", "/w", "/c", "/none", "/f", "/r"}[which&7])
	field("content-type", "application/grpc")
	switch which >> 3 & 15 {
	case 0:
		field("grpc-timeout", "1m")
	case 1:
		field("grpc-encoding", "gzip")
	case 2:
		field("content-length", "5")
	case 3:
		field("x-long", string(bytes.Repeat([]byte{'x'}, int(take())*8)))
	case 4:
		field("", "x")
	case 5:
		enc.SetMaxDynamicTableSize(uint32(take()) * 16)
		field("x-n", string([]byte{take()}))
	case 6:
		field("content-type", "text/plain")
	case 7:
		field("x-bin", string([]byte{take()}))
	}
}

// frameSeeds has each kind of frame, and each sort of method.
func frameSeeds() (seeds [][]byte) {
	for which := range byte(8) { // a request and its data
		seeds = append(seeds, []byte{0, 0, 0, 0, 0, which | 0x78, 5, 1, 0, 10, 255})
	}
	all := []byte{0}
	for kind := range byte(16) {
		all = append(all, kind, 1, kind, 4, 2, 3)
	}
	windows := []byte{
		0, 9, 4, 0, 0, 0, // initial window 0
		0, 0, 0, 0, 0x78, 5, 1, 0, 100, 255, // an answer without room
		0, 1, 1, 0, 0x7b, // a writer
		10, 0, 0, 200, 4, 10, 1, 0, 200, 4, 8, 0, 1, 0, 8, // room, and a reset
	}
	raw := append([]byte{1}, chooseFrames([]byte{0, 0, 0, 0, 0x78, 5, 1, 0, 10, 255, 11, 0, 0, 0})...)
	trailers := []byte{2, 0, 0, 0, 0, 0x7a, 5, 0, 0, 9, 255, 0, 1, 0, 0, 0x80}
	return append(seeds, all, windows, raw, trailers, []byte{1, 0, 0, 9, 4})
}
