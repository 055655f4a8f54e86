package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// What is needed of HTTP/2 (RFC 9113) and its header compression (RFC 7541) to ask a
// server by unary gRPC calls that it answers briefly.
const (
	frameHeaderLen = 9
	frameMax       = 16 << 10
	grpcPrefixLen  = 5

	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameWindowUpdate = 8

	flagEndStream  = 1 // or ACK
	flagEndHeaders = 4

	settingStreamsMax = 3

	// receiveWindow is how many bytes of answers a server may send before more are
	// granted, which is done at half.
	receiveWindow = 1 << 30
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// errProtocol is that of a server that does what it does not do.
var errProtocol = errors.New("not what an HTTP/2 server that answers briefly sends")

// A conn asks one server over one connection, so many requests at a time. It belongs to
// one goroutine: what has arrived is read, what was answered is asked anew, and one
// write takes all of it. So it costs little beside the server, which it shares the
// processors with.
type conn struct {
	nc       net.Conn
	br       *bufio.Reader
	out      []byte
	path     string
	indexed  bool // the server has the headers in its table
	nextID   uint32
	inFlight int
	streams  []stream // by id/2, a power of two of them, at least twice as many as are in flight
	window   int64    // bytes of messages that the server takes
	received int      // bytes of answers since more were granted
}

// A stream is a request in flight.
type stream struct {
	id     uint32 // 0: none
	start  time.Time
	answer []byte // with gRPC's prefix
}

// dial connects to addr, to have inFlight requests of a method under way at most.
func dial(addr, method string, inFlight int) (*conn, error) {
	nc, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil, err
	}
	places := 2
	for places < 2*inFlight {
		places *= 2
	}
	c := &conn{
		nc: nc, br: bufio.NewReaderSize(nc, 4*frameMax), path: method, nextID: 1,
		inFlight: inFlight, streams: make([]stream, places), window: 65_535,
	}
	c.out = append(c.out, preface...)
	c.frame(frameSettings, 0, 0, nil)
	c.grant(receiveWindow - 65_535)
	return c, nil
}

func (c *conn) close() { _ = c.nc.Close() }

// frame appends a frame to what is to be written.
func (c *conn) frame(kind, flags byte, id uint32, payload []byte) {
	n := len(payload)
	c.out = append(c.out, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	c.out = append(binary.BigEndian.AppendUint32(c.out, id), payload...)
}

func (c *conn) grant(bytes int) {
	c.frame(frameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, uint32(bytes)))
}

// ask appends a request.
func (c *conn) ask(now time.Time, message []byte) {
	s := c.place(c.nextID)
	for s.id != 0 {
		c.nextID += 2
		s = c.place(c.nextID)
	}
	*s = stream{id: c.nextID, start: now, answer: s.answer[:0]}
	c.nextID += 2
	c.frame(frameHeaders, flagEndHeaders, s.id, c.headers())
	var prefix [grpcPrefixLen]byte
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(message)))
	c.frame(frameData, flagEndStream, s.id, prefix[:])
	// The message follows the prefix in its frame.
	at := len(c.out) - grpcPrefixLen - frameHeaderLen
	n := grpcPrefixLen + len(message)
	c.out[at], c.out[at+1], c.out[at+2] = byte(n>>16), byte(n>>8), byte(n)
	c.out = append(c.out, message...)
	c.window -= int64(n)
}

// place returns where a stream is.
func (c *conn) place(id uint32) *stream { return &c.streams[int(id/2)&(len(c.streams)-1)] }

// headers returns a request's header block: the first time with four fields that the
// server puts into its table, then as their numbers there.
func (c *conn) headers() []byte {
	const post, http = 0x83, 0x86 // of the static table
	if c.indexed {
		return []byte{post, http, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62}
	}
	c.indexed = true
	b := []byte{post, http}
	text := func(s string) { b = append(append(b, byte(len(s))), s...) }
	b = append(b, 0x40|4) // :path
	text(c.path)
	b = append(b, 0x40|1) // :authority
	text("localhost")
	b = append(b, 0x40|31) // content-type
	text("application/grpc")
	b = append(b, 0x40)
	text("te")
	text("trailers")
	return b
}

// flush writes what is to be written.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// read waits for a frame and handles it and all that have arrived with it. answered
// is called for each request that is, with the message, nil if there is none.
func (c *conn) read(answered func(s *stream, message []byte)) error {
	for first := true; first || c.whole(); first = false {
		head, err := c.br.Peek(frameHeaderLen)
		if err != nil {
			return err
		}
		n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		kind, flags, id := head[3], head[4], binary.BigEndian.Uint32(head[5:])&(1<<31-1)
		if n > frameMax {
			return errProtocol
		}
		b, err := c.br.Peek(frameHeaderLen + n)
		if err == nil {
			err = c.handle(kind, flags, id, b[frameHeaderLen:], answered)
		}
		if err == nil {
			_, err = c.br.Discard(len(b))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// whole reports whether a whole frame has arrived.
func (c *conn) whole() bool {
	if c.br.Buffered() < frameHeaderLen {
		return false
	}
	head, _ := c.br.Peek(frameHeaderLen)
	return c.br.Buffered() >= frameHeaderLen+(int(head[0])<<16|int(head[1])<<8|int(head[2]))
}

func (c *conn) handle(kind, flags byte, id uint32, b []byte, answered func(*stream, []byte)) error {
	ack := flags&flagEndStream != 0
	switch kind {
	case frameData:
		if c.received += len(b); c.received > receiveWindow/2 {
			c.grant(c.received)
			c.received = 0
		}
		if s := c.place(id); s.id == id {
			s.answer = append(s.answer, b...)
		}
		return nil
	case frameHeaders:
		return c.onHeaders(flags, id, answered)
	case frameSettings:
		if ack {
			return nil
		}
		c.frame(frameSettings, flagEndStream, 0, nil)
		return c.onSettings(b)
	case framePing:
		if !ack {
			c.frame(framePing, flagEndStream, 0, b)
		}
		return nil
	case frameWindowUpdate:
		if len(b) != 4 {
			return errProtocol
		}
		if id == 0 {
			c.window += int64(binary.BigEndian.Uint32(b))
		}
		return nil
	case frameReset, frameGoAway:
		return fmt.Errorf("the server ends a stream or the connection: frame %d, %x", kind, b)
	default:
		return errProtocol
	}
}

// onHeaders ends a request if they are its trailers. Whether it went well is in the
// message: a call that fails has none.
func (c *conn) onHeaders(flags byte, id uint32, answered func(*stream, []byte)) error {
	if flags&flagEndHeaders == 0 {
		return errProtocol
	}
	s := c.place(id)
	if flags&flagEndStream == 0 || s.id != id {
		return nil
	}
	var message []byte
	if len(s.answer) >= grpcPrefixLen {
		message = s.answer[grpcPrefixLen:]
	}
	answered(s, message)
	s.id = 0
	return nil
}

func (c *conn) onSettings(b []byte) error {
	for ; len(b) >= 6; b = b[6:] {
		if v := binary.BigEndian.Uint32(b[2:]); binary.BigEndian.Uint16(b) == settingStreamsMax && int64(v) < int64(c.inFlight) {
			return fmt.Errorf("the server takes %d requests at a time, %d are wanted", v, c.inFlight)
		}
	}
	return nil
}

// once asks one request and returns the answer's message.
func (c *conn) once(message []byte) (answer []byte, err error) {
	if err := c.nc.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	c.ask(time.Now(), message)
	for done := false; !done; {
		err := errors.Join(c.flush(), c.read(func(_ *stream, m []byte) { answer, done = m, true }))
		if err != nil {
			return nil, err
		}
	}
	if answer == nil {
		return nil, io.ErrUnexpectedEOF
	}
	return answer, nil
}
