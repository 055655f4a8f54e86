package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	frameHeaderLen = 9
	// frameMax is the largest frame that we take: HTTP/2's default.
	frameMax = 16 << 10
	// receiveWindow is how much a server may send on one stream, and so how long
	// an answer may be: more than 1,000 items of a batch with 1 KiB each.
	receiveWindow = 1 << 20
	// connectionWindow is how much a server may send on a connection before we
	// renew it, which is done at half.
	connectionWindow = 1 << 28
	headersMax       = 64 << 10 // one header block
	controlMax       = 10_000   // answers to PING and SETTINGS that wait to be written
	streamIDMax      = 1<<31 - 1
)

// A conn is an HTTP/2 connection.
type conn struct {
	link
	frame bytes.Reader  // the one that fr reads
	fr    *http2.Framer // reads control frames from frame, writes them to out

	header  *headerBlock
	call    *call    // the stream of protocol stream; nil: each request has its own
	streams []stream // by (id/2) mod its length, a power of two ≥ 2 × InFlight
	nextID  uint32
	waiting []uint32 // streams whose body is not all sent

	// What the server grants.
	window       int64 // bytes of DATA on the connection
	streamWindow int64 // on a new stream
	frameMax     int

	received int // bytes of DATA since the connection's window was renewed

	headers responseHeaders
}

// A stream is one request that is not answered. Its buffers are reused.
type stream struct {
	id       uint32 // 0: free
	attempts uint8
	answered bool
	status   int // gRPC's, −1: not seen
	start    int64
	window   int64  // bytes of DATA that the server takes
	rest     []byte // of the body, not yet sent
	partial  []byte // of the answer
	asked    asked  // as a message of a call
	outcome  outcome
}

func newConn(l *lane, nc net.Conn) *conn {
	c := &conn{
		link:         newLink(l, nc, l.config.InFlight),
		header:       newHeaderBlock(l.headers, newFresh(l.config.Seed, l.number, l.code)),
		streams:      make([]stream, placesFor(l.config.InFlight)),
		nextID:       1,
		window:       65_535,
		streamWindow: 65_535,
		frameMax:     frameMax,
	}
	c.dialect = c
	c.fr = http2.NewFramer((*outbox)(c), &c.frame)
	c.fr.SetMaxReadFrameSize(frameMax)
	c.headers.dec = hpack.NewDecoder(4096, c.headers.field)
	c.headers.dec.SetMaxStringLength(headersMax)
	if l.workload.ids != nil {
		c.call = &call{}
	}
	return c
}

// An outbox is a conn seen as the place where frames wait to be written.
type outbox conn

func (o *outbox) Write(p []byte) (int, error) {
	o.out = append(o.out, p...)
	return len(p), nil
}

// handshake sends the preface and waits for the server's SETTINGS: until then
// its bounds are not known.
func (c *conn) handshake() error {
	c.out = append(c.out, http2.ClientPreface...)
	err := errors.Join(
		c.fr.WriteSettings(
			http2.Setting{ID: http2.SettingEnablePush, Val: 0},
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: receiveWindow},
		),
		c.fr.WriteWindowUpdate(0, connectionWindow-65_535),
	)
	if err != nil {
		return err
	}
	if _, err := c.nc.Write(c.out); err != nil {
		return err
	}
	c.out = c.out[:0]
	f, err := c.first()
	if err != nil {
		return err
	}
	s, ok := f.(*http2.SettingsFrame)
	if !ok || s.IsAck() {
		return fmt.Errorf("the server's first frame is %s, not SETTINGS", f.Header())
	}
	return c.onSettings(s)
}

// first waits for the server's first frame.
func (c *conn) first() (http2.Frame, error) {
	if _, err := c.br.Peek(frameHeaderLen); err != nil {
		return nil, err
	}
	b, err := c.br.Peek(c.need())
	if err != nil {
		return nil, err
	}
	c.frame.Reset(b)
	f, err := c.fr.ReadFrame()
	if err != nil {
		return nil, err
	}
	_, err = c.br.Discard(len(b))
	return f, err
}

// open starts a request that was due at start.
func (c *conn) open(start int64, attempts uint8) {
	s := c.slot()
	s.start, s.attempts = start, attempts
	s.answered, s.status, s.outcome = false, -1, outcome{}
	s.window = c.streamWindow
	s.partial = s.partial[:0]
	c.began()

	if c.call != nil {
		c.send(s)
		return
	}
	block := c.header.next()
	c.out = appendFrameHeader(c.out, len(block), http2.FrameHeaders, http2.FlagHeadersEndHeaders, s.id)
	c.out = append(c.out, block...)
	w := c.l.workload
	if n := int64(len(w.body)); n <= c.window && n <= s.window && n <= int64(c.frameMax) {
		c.out = appendFrameHeader(c.out, len(w.body), http2.FrameData, http2.FlagDataEndStream, s.id)
		c.out = w.appendBody(c.out, c.l.keys)
		c.window -= n
		s.window -= n
		s.rest = s.rest[:0]
		return
	}
	s.rest = w.appendBody(s.rest[:0], c.l.keys)
	if !c.pump(s) {
		c.waiting = append(c.waiting, s.id)
	}
}

// slot returns a free stream with the next number whose place is free: numbers
// may be skipped. There is one, since at most half of the places are taken.
func (c *conn) slot() *stream {
	for {
		id := c.nextID
		c.nextID += 2
		if s := c.at(id); s.id == 0 {
			s.id = id
			return s
		}
	}
}

// placesFor returns how many places there are for so many requests in flight: a
// power of two, at least twice as many.
func placesFor(inFlight int) int { return 1 << bits.Len(uint(2*inFlight-1)) }

func (c *conn) place(id uint32) int { return int(id/2) & (len(c.streams) - 1) }

func (c *conn) at(id uint32) *stream { return &c.streams[c.place(id)] }

// find returns the stream with the given number, or nil if it is over.
func (c *conn) find(id uint32) *stream {
	if s := c.at(id); id != 0 && s.id == id {
		return s
	}
	return nil
}

// canOpen reports whether the server lets us make one more request. A stream
// waits for a window of its own, but none is opened only to wait for the
// connection's.
func (c *conn) canOpen() bool {
	if c.usedUp() {
		c.retire()
	}
	if c.call != nil && !c.canSend() {
		return false
	}
	return !c.retired && c.active < c.limit && c.window > 0
}

// usedUp reports whether the numbers of streams run out: c must be replaced.
func (c *conn) usedUp() bool { return c.nextID > streamIDMax-4*uint32(len(c.streams)) }

// pump sends what may be sent of s's body and reports whether that was all.
func (c *conn) pump(s *stream) bool {
	for len(s.rest) > 0 {
		n := int(min(int64(len(s.rest)), int64(c.frameMax), c.window, s.window))
		if n <= 0 {
			return false
		}
		var flags http2.Flags
		if n == len(s.rest) {
			flags = http2.FlagDataEndStream
		}
		c.out = appendFrameHeader(c.out, n, http2.FrameData, flags, s.id)
		c.out = append(c.out, s.rest[:n]...)
		c.window -= int64(n)
		s.window -= int64(n)
		s.rest = s.rest[:copy(s.rest, s.rest[n:])]
	}
	return true
}

// pumpWaiting sends on after the server has granted more.
func (c *conn) pumpWaiting() {
	kept := c.waiting[:0]
	for _, id := range c.waiting {
		if s := c.find(id); s != nil && !c.pump(s) {
			kept = append(kept, id)
		}
	}
	c.waiting = kept
}

// grow adds to a window and reports whether it stays within HTTP/2's bound.
func grow(window *int64, by int64) bool {
	*window += by
	return *window <= math.MaxInt32
}

// leave ends our side of a call.
func (c *conn) leave() {
	if c.call != nil {
		c.halfClose()
	}
}

// free ends s.
func (c *conn) free(s *stream) {
	s.id = 0
	c.ended()
}

// fail ends s without an answer.
func (c *conn) fail(s *stream, f fault) {
	c.l.recordFault(s.start, f)
	c.free(s)
}

// repeat ends s, which the server has not looked at, and has it sent again.
func (c *conn) repeat(s *stream) {
	if s.attempts >= attemptsMax {
		c.fail(s, faultReset)
		return
	}
	c.l.repeats = append(c.l.repeats, repeat{s.start, s.attempts + 1})
	c.free(s)
}

// abandon accounts for what will not be answered any more.
func (c *conn) abandon(f fault) {
	for i := range c.streams {
		if s := &c.streams[i]; s.id != 0 {
			c.fail(s, f)
		}
	}
}

func appendFrameHeader(dst []byte, n int, t http2.FrameType, f http2.Flags, id uint32) []byte {
	dst = append(dst, byte(n>>16), byte(n>>8), byte(n), byte(t), byte(f))
	return binary.BigEndian.AppendUint32(dst, id)
}
