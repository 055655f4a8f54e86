package h2

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/headgate/headgate/api/h2/hpack"
)

const (
	smallInBytes = 2 << 10  // the read buffer of a connection with little to say
	largeInBytes = 64 << 10 // and of a busy one: the most that one batch is
)

// A conn is one connection. Its read loop owns the fields above mu; mu guards
// the others, and is held while a batch of frames is handled, never while
// reading or writing.
type conn struct {
	srv  *Server
	raw  net.Conn             // as accepted
	nc   net.Conn             // raw, read and written directly, or TLS over it when that is established
	tls  *tls.ConnectionState // nil: cleartext
	in   []byte               // in[r:w] is read and not handled
	r, w int
	full bool // the last read filled in: more may be waiting

	backlog bool  // the one before did, too
	empty   int64 // when it was last seen that this is not so

	dec      hpack.Decoder
	block    []byte      // a header block whose CONTINUATIONs are awaited
	blockOf  frameHeader // its HEADERS frame
	pieces   int         // how many CONTINUATIONs it has
	lastID   uint32      // highest stream of the peer
	partial  int64       // since when a frame or header block is incomplete; 0: none is
	work     *work       // lent for the time of a batch
	now      int64       // when the batch was read
	settings bool        // the peer's first SETTINGS have come

	mu      sync.Mutex
	streams map[uint32]*stream // open ones, except those that never need an entry
	held    int                // bytes that count against Config.BufferBytes
	blocked []*stream          // with an answer that the windows have no room for

	out, spare []byte
	tail       tail
	writing    bool  // somebody writes; he also writes what is added meanwhile
	writeSince int64 // since when
	room       sync.Cond
	soon       bool       // a goroutine is about to write
	dead       bool       // nothing is written any more
	failure    *connError // why the janitor ends it; nil: it does not
	enc        uint8
	encUpdate  uint32 // 1 + the table size that the peer must be told; 0: none

	sendWindow int64 // of the connection
	peerWindow int64 // initial, of a stream
	peerFrame  int64
	recvWindow int64      // what the peer may still send
	recvTaken  int64      // what it sent since it was last given more
	streamsNow int        // what the peer may have open, as far as it acknowledged it
	streamsTo  int        // what it was last told
	resets     [16]uint32 // streams that we reset last; the peer may not know it yet
	reset      int        // how many there were
	acksDue    int        // SETTINGS that it has not acknowledged
	acksSince  int64

	budgets   budgets
	pings     pingState
	lastRead  int64
	began     int64
	pinged    int64 // when we pinged a silent peer; 0: not, or it answered
	calls     []*Call
	expiry    *time.Timer // of the first deadline of calls, at expiryAt
	expiryAt  int64       // 0: it does not run
	goingAway awayState
	awaySince int64
	finalID   uint32 // streams above it are ignored, once goingAway is awayFinal
	handlers  int    // goroutines in Config.Rest
	waiting   int    // of them, for room in the windows
	answers   uint64 // of Fast methods, not yet in Server.fast
	large     bool   // in is large
}

// tail is the last DATA frame in out, if nothing came after it: it can take
// more of the same stream.
type tail struct {
	stream uint32
	at     int
	end    int
}

// work is what handling a batch needs and an idle connection does not.
type work struct {
	fields  []hpack.Field
	headers Headers         // what Config.Authorize looks at
	group   [groupMax]*Call // begun, not decided
	n       int
}

func newConn(s *Server, nc net.Conn) *conn {
	now := s.cfg.Now()
	c := &conn{
		srv: s, raw: nc, nc: directly(nc),
		sendWindow: defaultWindow, peerWindow: defaultWindow, peerFrame: frameBytesMax,
		recvWindow: connWindow, lastRead: now, began: now, empty: now,
	}
	c.room.L = &c.mu
	c.dec.Init(tableBytes, s.cfg.HeaderBytes, s.classify)
	return c
}

// serve is the read loop. The connection counts until its handlers have
// returned, so that those who come and go don't leave more than it may have.
func (c *conn) serve() {
	defer c.srv.remove(c)
	c.shut(c.run())
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.handlers > 0 {
		c.room.Wait()
	}
}

// run handles what the peer says until that ends. A panic ends only this
// connection.
func (c *conn) run() (err error) {
	defer func() {
		if v := recover(); v != nil {
			c.srv.panicked("", v, debug.Stack())
			err = &connError{codeInternal, "internal error", abuses}
		}
	}()
	err = c.handshake()
	for err == nil {
		if err = c.read(); err == nil {
			err = c.batch()
		}
	}
	return err
}

// handshake does TLS and reads the preface.
func (c *conn) handshake() error {
	if err := c.raw.SetDeadline(time.Now().Add(c.srv.cfg.HandshakeTimeout)); err != nil {
		return fmt.Errorf("h2: set deadline: %w", err)
	}
	if err := c.shakeTLS(); err != nil {
		return err
	}
	c.in = make([]byte, smallInBytes)
	for c.w < len(preface) {
		n, err := c.nc.Read(c.in[c.w:])
		c.w += n
		if got := c.in[:min(c.w, len(preface))]; string(got) != preface[:len(got)] {
			// Frames all the same: who tries TLS, say, learns that this is none.
			c.out = appendFrameHeader(c.out, frameHeader{0, frameSettings, 0, 0})
			return &connError{codeProtocol, "no HTTP/2 connection preface", AbusePreface}
		}
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.srv.count(AbuseSlowPreface)
			}
			return fmt.Errorf("h2: read preface: %w", err)
		}
	}
	c.r = len(preface)
	if err := c.raw.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("h2: set deadline: %w", err)
	}
	return c.hello()
}

// hello sends our SETTINGS, and handles what came with the preface.
func (c *conn) hello() error {
	c.mu.Lock()
	c.now = c.srv.cfg.Now()
	c.appendFirstSettings()
	c.flush()
	c.mu.Unlock()
	c.srv.established(c)
	return c.batch()
}

func (c *conn) shakeTLS() error {
	if c.srv.cfg.TLS == nil {
		return nil
	}
	t := tls.Server(directly(c.raw), c.srv.cfg.TLS)
	c.nc = t
	if err := t.HandshakeContext(c.srv.ctx); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.srv.count(AbuseSlowPreface)
		} else {
			c.srv.count(AbuseTLS)
		}
		return fmt.Errorf("h2: TLS handshake: %w", err)
	}
	state := t.ConnectionState()
	if state.NegotiatedProtocol != "h2" {
		c.srv.count(AbuseTLS)
		return errors.New(`h2: the client did not ask for "h2" by ALPN`)
	}
	c.tls = &state
	return nil
}

// read waits for more to handle.
func (c *conn) read() error {
	c.w = copy(c.in, c.in[c.r:c.w])
	c.r = 0
	if c.full && len(c.in) == smallInBytes {
		c.in = append(c.srv.getIn()[:0], c.in[:c.w]...)[:largeInBytes]
	}
	wasFull := c.full
	for {
		n, err := c.nc.Read(c.in[c.w:])
		c.w += n
		c.full = c.w == len(c.in)
		c.backlog = c.full && wasFull
		if n > 0 {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			if err == nil {
				err = io.ErrNoProgress
			}
			return err //nolint:wrapcheck // the end of the connection, or why it broke
		}
		if err := c.kicked(); err != nil {
			return err
		}
	}
}

// kick makes the read loop look at what kicked does. c.mu is held.
func (c *conn) kick() { _ = c.raw.SetReadDeadline(time.Unix(1, 0)) }

// kicked ends a connection that the janitor has failed, and gives the large
// buffer of an idle one back.
func (c *conn) kicked() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.over(); err != nil {
		return err
	}
	if c.w == 0 && len(c.in) == largeInBytes {
		c.srv.putIn(c.in)
		c.in = make([]byte, smallInBytes)
		c.large = false
		if len(c.streams) == 0 {
			c.streams = nil // a map never gets smaller
		}
	}
	if err := c.raw.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("h2: set deadline: %w", err)
	}
	return nil
}

// batch handles what was read and writes what that leads to.
func (c *conn) batch() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.srv.cfg.Now()
	c.large = len(c.in) == largeInBytes
	c.lastRead, c.pinged = c.now, 0
	if !c.backlog {
		c.empty = c.now
	}
	c.work = c.srv.getWork()
	c.grow()
	err := c.frames()
	c.endGroup()
	c.srv.putWork(c.work)
	c.work = nil
	c.partial = since(c.partial, c.now, c.r < c.w || c.block != nil)
	c.srv.batches.Add(1)
	if err != nil {
		return err
	}
	c.checkAway()
	c.flush()
	c.makeRoom()
	return c.over()
}

// over returns why nothing more is to be read, or nil.
func (c *conn) over() error {
	switch {
	case c.dead:
		return net.ErrClosed
	case c.failure != nil:
		return c.failure
	}
	return nil
}

// since returns when something began that goes on, else 0.
func since(began, now int64, goesOn bool) int64 {
	switch {
	case !goesOn:
		return 0
	case began == 0:
		return now
	default:
		return began
	}
}

// frames handles all frames that are there as a whole.
func (c *conn) frames() error {
	for c.w-c.r >= frameHeaderBytes && !c.dead && c.failure == nil {
		h := parseFrameHeader(c.in[c.r:])
		if h.length > frameBytesMax {
			return &connError{codeFrameSize, fmt.Sprintf("a frame of %d bytes: at most %d", h.length, frameBytesMax), AbuseProtocol}
		}
		end := c.r + frameHeaderBytes + h.length
		if end > c.w {
			break
		}
		payload := c.in[c.r+frameHeaderBytes : end]
		c.r = end
		if err := c.frame(h, payload); err != nil {
			return err
		}
		if c.block == nil {
			c.partial = 0 // what is incomplete now is the next one
		}
		if len(c.out) > outBytesMax {
			c.endGroup()
			c.makeRoom()
		}
	}
	return nil
}

// frame handles one frame.
func (c *conn) frame(h frameHeader, payload []byte) error {
	if c.block != nil && h.kind != frameContinuation {
		return protocolError("a header block is interrupted")
	}
	if !c.settings && (h.kind != frameSettings || h.flags&flagAck != 0) {
		return protocolError("the first frame is not SETTINGS")
	}
	switch h.kind { //nolint:exhaustive // the others follow
	case frameHeaders:
		return c.headersFrame(h, payload)
	case frameData:
		return c.dataFrame(h, payload)
	}
	// Others change what the calls of the group may see.
	c.endGroup()
	return c.controlFrame(h, payload)
}

func (c *conn) controlFrame(h frameHeader, payload []byte) error {
	switch h.kind {
	case frameContinuation:
		return c.continuationFrame(h, payload)
	case frameSettings:
		return c.settingsFrame(h, payload)
	case frameWindowUpdate:
		return c.windowFrame(h, payload)
	case frameReset:
		return c.resetFrame(h, payload)
	case framePing:
		return c.pingFrame(h, payload)
	case framePriority:
		return c.priorityFrame(h, payload)
	case frameGoAway:
		if h.stream != 0 || len(payload) < 8 {
			return protocolError("a malformed GOAWAY")
		}
		c.goAway()
		return nil
	case framePush:
		return protocolError("a client can't push")
	default:
		return c.spend(AbuseUnknown) // an extension that we don't know
	}
}

// shut ends the connection: says why, closes, and wakes all who wait for it.
func (c *conn) shut(err error) {
	var fault *connError
	c.mu.Lock()
	if errors.As(err, &fault) && !c.dead {
		if fault.abuse < abuses {
			c.srv.count(fault.abuse)
		}
		c.out = appendGoAway(c.out, c.lastID, fault.code, fault.reason)
		// What the peer does not take at once is lost: it broke the rules.
		_ = c.raw.SetWriteDeadline(time.Now().Add(lastWriteTimeout))
		c.flush()
		c.mu.Unlock()
		linger(c.raw, c.nc)
		c.mu.Lock()
	}
	c.kill()
	for _, st := range c.streams {
		c.abandon(st)
	}
	if c.expiry != nil {
		c.expiry.Stop()
	}
	c.mu.Unlock()
	if len(c.in) == largeInBytes {
		c.srv.putIn(c.in)
	}
	c.in = nil
}

const (
	lastWriteTimeout = time.Second
	lingerTimeout    = 100 * time.Millisecond
	lingerBytes      = 256 << 10
)

// linger reads on for a moment, so that the peer sees the GOAWAY before it
// learns that nobody listens any more. nc is raw, or TLS over it.
func linger(raw, nc net.Conn) {
	if w, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
	_ = raw.SetReadDeadline(time.Now().Add(lingerTimeout))
	_, _ = io.CopyN(io.Discard, nc, lingerBytes)
}

// kill makes the connection dead: nothing is read or written any more. c.mu is
// held.
func (c *conn) kill() {
	if c.dead {
		return
	}
	c.dead = true
	c.room.Broadcast()
	_ = c.raw.Close()
}

// peerName is the peer's address, for http.Request.
func (c *conn) peerName() string { return c.raw.RemoteAddr().String() }
