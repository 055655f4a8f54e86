package conformance

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// answerTimeout is how long a player waits for an answer: what exceeds it is an
// outcome, "silent".
const answerTimeout = 5 * time.Second

// A result is what came of a script.
type result struct {
	connection string    // "alive", "GOAWAY code" or "closed"
	outcomes   []outcome // by exchange
}

// A stream is what a player has received on one stream.
type stream struct {
	headers [][]hpack.HeaderField // of each HEADERS frame
	data    []byte
	reset   string // the code of a RST_STREAM that ended it
	ended   bool   // by END_STREAM or RST_STREAM
}

// A player is one connection. Its mutex guards what the reader collects.
type player struct {
	conn   net.Conn
	framer *http2.Framer
	out    bytes.Buffer // what the framer writes, until flush
	block  bytes.Buffer // what the encoder writes
	enc    *hpack.Encoder
	small  bool // SETTINGS_INITIAL_WINDOW_SIZE 1 was sent

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever something has changed
	streams map[uint32]*stream
	goaway  string
	closed  bool // or given up by the server, with a GOAWAY
	pong    bool
}

var endPing = [8]byte{'l', 'a', 's', 't'}

// play sends s to the server at addr.
func play(tb testing.TB, addr string, s script) result {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", addr, answerTimeout)
	if err != nil {
		tb.Fatal(err)
	}
	p := &player{conn: conn, changed: make(chan struct{}), streams: map[uint32]*stream{}}
	p.framer = http2.NewFramer(&p.out, conn)
	p.framer.AllowIllegalWrites = true
	p.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.block)
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read()
	}()
	p.out.WriteString(http2.ClientPreface)
	must(tb, p.framer.WriteSettings())
	for i := range s.exchanges {
		p.send(tb, uint32(2*i+1), &s.exchanges[i])
		if s.wait && !s.exchanges[i].cancelled() {
			p.await(func() bool { return p.stream(uint32(2*i + 1)).ended })
		}
	}
	p.await(func() bool {
		for i := range s.exchanges {
			if !s.exchanges[i].cancelled() && !p.stream(uint32(2*i+1)).ended {
				return false
			}
		}
		return true
	})
	must(tb, p.framer.WritePing(false, endPing))
	p.flush()
	p.await(func() bool { return p.pong })
	conn.Close()
	<-read
	return p.result(len(s.exchanges))
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// flush writes what was framed. A server that has gone away is seen by reading.
func (p *player) flush() {
	_ = p.conn.SetWriteDeadline(time.Now().Add(answerTimeout))
	_, _ = p.conn.Write(p.out.Bytes())
	p.out.Reset()
}

// send sends one exchange.
func (p *player) send(tb testing.TB, id uint32, x *exchange) {
	tb.Helper()
	p.around(tb, id, pick(befores(), x.before))
	end := pick(ends(), x.end)
	body := x.content()
	p.headers(tb, id, x, end == endHeaders)
	if end != endHeaders {
		p.body(tb, id, x, body, end)
	}
	p.around(tb, id, pick(afters(), x.after))
	if p.small {
		must(tb, p.framer.WriteWindowUpdate(id, 1<<20))
	}
	p.flush()
}

func (p *player) body(tb testing.TB, id uint32, x *exchange, body []byte, end string) {
	tb.Helper()
	pieces := x.pieces(body)
	for i, piece := range pieces {
		p.data(tb, id, x, end == endData && i == len(pieces)-1, piece)
	}
	switch end {
	case endData:
	case endEmptyData:
		must(tb, p.framer.WriteData(id, true, nil))
	case endPaddedEmpty:
		must(tb, p.framer.WriteDataPadded(id, true, nil, make([]byte, 3)))
	case endReset:
		must(tb, p.framer.WriteRSTStream(id, http2.ErrCodeCancel))
	default:
		p.trailers(tb, id, end)
	}
}

func (p *player) trailers(tb testing.TB, id uint32, end string) {
	tb.Helper()
	f := one("x-trailer", "t")
	switch end {
	case endPseudoTrailers:
		f = one(":path", "/")
	case endTrailersBadBin:
		f = one("x-bin", "!!!")
	case endTrailersUpper:
		f = one("X-Trailer", "t")
	case endTrailersTooLong:
		f = append(f, field{"x-too-long", string(bytes.Repeat([]byte{'a'}, 17<<10))})
	}
	p.fields(f, false)
	p.frames(tb, http2.HeadersFrameParam{StreamID: id, EndStream: true, EndHeaders: true}, p.block.Bytes())
}

func (p *player) data(tb testing.TB, id uint32, x *exchange, end bool, piece []byte) {
	tb.Helper()
	if n := pick(paddings(), x.padding); n >= 0 {
		must(tb, p.framer.WriteDataPadded(id, end, piece, make([]byte, n)))
		return
	}
	must(tb, p.framer.WriteData(id, end, piece))
}

// fields encodes a header block.
func (p *player) fields(f []field, notIndexed bool) {
	p.block.Reset()
	for _, h := range f {
		_ = p.enc.WriteField(hpack.HeaderField{Name: h.name, Value: h.value, Sensitive: notIndexed}) // to memory
	}
}

func (p *player) headers(tb testing.TB, id uint32, x *exchange, end bool) {
	tb.Helper()
	kind := pick(blocks(), x.block)
	if kind == "table size 0 first" {
		p.enc.SetMaxDynamicTableSize(0)
	}
	p.fields(x.headers(), kind == "not indexed")
	block := p.block.Bytes()
	param := http2.HeadersFrameParam{StreamID: id, EndStream: end, EndHeaders: true}
	switch kind {
	case "padded":
		param.PadLength = 7
	case "priority":
		param.Priority = http2.PriorityParam{StreamDep: 0, Weight: 3}
	case "padded priority and CONTINUATION":
		param.PadLength, param.Priority = 200, http2.PriorityParam{StreamDep: id + 2, Exclusive: true, Weight: 200}
		p.continued(tb, param, block, len(block)/3)
		return
	case "CONTINUATION":
		p.continued(tb, param, block, 16)
		return
	case "empty first frame":
		p.continued(tb, param, block, 0)
		return
	}
	p.frames(tb, param, block)
}

// frameMax bounds what a frame has of a header block: it leaves room for padding.
const frameMax = 16<<10 - 300

// frames sends a header block in one frame, or more if one can't hold it.
func (p *player) frames(tb testing.TB, param http2.HeadersFrameParam, block []byte) {
	tb.Helper()
	if len(block) > frameMax {
		p.continued(tb, param, block, frameMax)
		return
	}
	param.BlockFragment = block
	must(tb, p.framer.WriteHeaders(param))
}

// continued sends a header block in HEADERS with n bytes, and CONTINUATION
// frames with n each, at least a few hundred.
func (p *player) continued(tb testing.TB, param http2.HeadersFrameParam, block []byte, n int) {
	tb.Helper()
	param.EndHeaders, param.BlockFragment = false, block[:min(n, len(block))]
	must(tb, p.framer.WriteHeaders(param))
	block = block[len(param.BlockFragment):]
	n = cmp.Or(n, len(block))
	n = min(max(n, len(block)/8), frameMax) // servers may take many small ones for an attack
	for {
		piece := block[:min(n, len(block))]
		block = block[len(piece):]
		must(tb, p.framer.WriteContinuation(param.StreamID, len(block) == 0, piece))
		if len(block) == 0 {
			return
		}
	}
}

// around sends what surrounds a request.
func (p *player) around(tb testing.TB, id uint32, what string) {
	tb.Helper()
	switch what {
	case aroundPing:
		must(tb, p.framer.WritePing(false, [8]byte{'x'}))
	case aroundPriority:
		must(tb, p.framer.WritePriority(id+100, http2.PriorityParam{StreamDep: 0, Weight: 9}))
	case aroundStreamPrio:
		must(tb, p.framer.WritePriority(id, http2.PriorityParam{StreamDep: 0, Weight: 9}))
	case aroundUnknown:
		must(tb, p.framer.WriteRawFrame(0xfa, 0xff, 0, []byte("unknown")))
	case aroundWindow:
		must(tb, p.framer.WriteWindowUpdate(0, 100))
	case aroundStreamWindow:
		must(tb, p.framer.WriteWindowUpdate(id, 100))
	case aroundUnknownSet:
		must(tb, p.framer.WriteSettings(http2.Setting{ID: 0xfafa, Val: 1}))
	case aroundSmallWindow:
		p.small = true
		for earlier := uint32(1); earlier < id; earlier += 2 { // their answers may be under way
			must(tb, p.framer.WriteWindowUpdate(earlier, 1<<20))
		}
		must(tb, p.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}))
	case aroundNoTable:
		must(tb, p.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}))
	}
}

// stream returns what was received on a stream. The mutex must be held.
func (p *player) stream(id uint32) *stream {
	s := p.streams[id]
	if s == nil {
		s = &stream{}
		p.streams[id] = s
	}
	return s
}

// await waits until done, which is called with the mutex held, or the
// connection ends, or answerTimeout.
func (p *player) await(done func() bool) {
	timeout := time.NewTimer(answerTimeout)
	defer timeout.Stop()
	for {
		p.mu.Lock()
		ready, changed := done() || p.closed, p.changed
		p.mu.Unlock()
		if ready {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			return
		}
	}
}

// read collects frames until the connection ends.
func (p *player) read() {
	for {
		f, err := p.framer.ReadFrame()
		p.mu.Lock()
		if err != nil {
			p.closed = true
		} else {
			p.take(f)
		}
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take keeps what a frame says. The mutex is held.
func (p *player) take(f http2.Frame) {
	s := &stream{} // what comes after the end counts for nothing
	if id := f.Header().StreamID; id != 0 && !p.stream(id).ended {
		s = p.stream(id)
	}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		s.headers = append(s.headers, bytesApart(f.Fields))
		s.ended = f.StreamEnded()
	case *http2.DataFrame:
		s.data = append(s.data, f.Data()...)
		s.ended = f.StreamEnded()
	case *http2.RSTStreamFrame:
		s.reset, s.ended = f.ErrCode.String(), true
	case *http2.GoAwayFrame:
		p.goaway = f.ErrCode.String()
		p.closed = p.closed || f.ErrCode != http2.ErrCodeNo // grpc-go hangs up a second later
	case *http2.PingFrame:
		p.pong = p.pong || f.IsAck() && f.Data == endPing
	}
}

func bytesApart(f []hpack.HeaderField) []hpack.HeaderField {
	return append([]hpack.HeaderField{}, f...)
}

// result says what was received, of n exchanges.
func (p *player) result(n int) result {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := result{connection: "alive"}
	switch {
	case p.goaway != "":
		r.connection = "GOAWAY " + p.goaway
	case !p.pong:
		r.connection = "closed"
	}
	for i := range n {
		r.outcomes = append(r.outcomes, p.stream(uint32(2*i+1)).outcome(p.pong))
	}
	return r
}

// messages cuts a gRPC body into messages.
func messages(body []byte) (m [][]byte, zipped []bool, rest []byte) {
	for len(body) >= 5 {
		n := binary.BigEndian.Uint32(body[1:])
		if uint64(len(body)-5) < uint64(n) {
			break
		}
		m, zipped = append(m, body[5:5+n]), append(zipped, body[0] == 1)
		body = body[5+n:]
	}
	return m, zipped, body
}
