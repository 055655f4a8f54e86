package h2

import (
	"encoding/binary"
	"runtime"
	"strconv"

	"github.com/headgate/headgate/api/h2/hpack"
)

// outBytesMax is how much output a connection collects before its read loop, or
// the handler that adds to it, waits for the peer to take some.
const outBytesMax = 256 << 10

// keepOutBytes is how large a buffer an idle connection keeps.
const keepOutBytes = 1 << 10

// flush writes what is there to be written, unless somebody does already: then
// he will take it along. c.mu is held, but not while writing.
func (c *conn) flush() {
	if c.answers > 0 {
		c.srv.fast.Add(c.answers)
		c.answers = 0
	}
	if c.writing {
		return
	}
	for len(c.out) > 0 && !c.dead && c.goingAway < awayClosed {
		b := c.out
		c.out, c.spare = c.spare[:0], nil
		c.tail = tail{}
		c.writing, c.writeSince = true, c.srv.cfg.Now()
		c.mu.Unlock()
		_, err := c.nc.Write(b)
		c.mu.Lock()
		c.writing = false
		if c.spare = b[:0]; cap(b) > keepOutBytes {
			c.srv.putOut(b)
			c.spare = nil
		}
		if err != nil {
			c.kill()
		}
		if len(c.blocked) > 0 {
			c.unblock()
		}
		c.room.Broadcast()
	}
	c.checkAway()
	if c.goingAway == awayDone && !c.dead {
		c.closeWrite()
	}
	if c.dead || c.goingAway == awayClosed {
		c.out = c.out[:0]
	}
	if len(c.out) == 0 && cap(c.out) > keepOutBytes {
		c.srv.putOut(c.out)
		c.out = nil
	}
}

// flushSoon is flush in a goroutine of its own, for those who may not wait for
// the peer. What is added until it runs leaves in the same write.
func (c *conn) flushSoon() {
	if c.writing || c.soon || c.dead {
		return
	}
	c.soon = true
	c.srv.handlers.Go(func() {
		runtime.Gosched() // whoever is about to answer something of this connection does
		c.mu.Lock()
		defer c.mu.Unlock()
		c.soon = false
		c.flush()
	})
}

// makeRoom waits until no more output than outBytesMax is waiting to be written,
// or the connection is over. c.mu is held.
func (c *conn) makeRoom() {
	for len(c.out) > outBytesMax && !c.dead && c.failure == nil {
		if c.writing {
			c.room.Wait()
			continue
		}
		c.flush()
	}
}

// grow makes sure that c.out is a buffer of the pool if it will hold more than
// a little.
func (c *conn) grow() {
	if cap(c.out)-len(c.out) < 512 && cap(c.out) <= keepOutBytes {
		b := c.srv.getOut()
		c.out = append(b, c.out...)
	}
}

// Our header blocks use two entries of the peer's table, in this order.
const (
	encNone     = iota // nothing is in it
	encType            // content-type: application/grpc
	encBoth            // and grpc-status: 0
	encNoTable         // the peer has no room for them
	encodedSize = 104  // of both, in HPACK's bytes
)

const (
	hpackStatus200    = 0x88
	hpackTypeName     = 31 // content-type in the static table
	grpcContentType   = "application/grpc"
	hpackFirstDynamic = 62
)

// resize notes that the peer's table holds n bytes from now on. The peer is told
// the size that we use, since it must be if its table got smaller. A table that
// was once too small stays unused: so no smaller size goes unsaid.
func (c *conn) resize(n uint32) {
	if c.enc == encNoTable || n < encodedSize {
		c.enc, c.encUpdate = encNoTable, 1
		return
	}
	c.encUpdate = encodedSize + 1
}

// appendUpdate appends the table size that the peer must be told, if any.
func (c *conn) appendUpdate(dst []byte) []byte {
	if c.encUpdate > 0 {
		dst = hpack.AppendTableSize(dst, c.encUpdate-1)
		c.encUpdate = 0
	}
	return dst
}

// appendResponseHeaders appends the HEADERS frame of an answer with a message.
func (c *conn) appendResponseHeaders(dst []byte, id uint32) []byte {
	at := len(dst)
	dst = appendFrameHeader(dst, frameHeader{0, frameHeaders, flagEndHeaders, id})
	dst = c.appendUpdate(dst)
	dst = append(dst, hpackStatus200)
	switch c.enc {
	case encNone:
		dst = hpack.AppendLiteralIndexed(dst, "content-type", grpcContentType)
		c.enc = encType
	case encType:
		dst = hpack.AppendIndexed(dst, hpackFirstDynamic)
	case encBoth:
		dst = hpack.AppendIndexed(dst, hpackFirstDynamic+1)
	default:
		dst = hpack.AppendLiteral(dst, "content-type", grpcContentType)
	}
	putFrameLength(dst[at:], len(dst)-at-frameHeaderBytes)
	return dst
}

// appendOKTrailers appends the HEADERS frame that ends an answer with a message.
func (c *conn) appendOKTrailers(dst []byte, id uint32) []byte {
	at := len(dst)
	dst = appendFrameHeader(dst, frameHeader{0, frameHeaders, flagEndHeaders | flagEndStream, id})
	dst = c.appendUpdate(dst)
	switch c.enc {
	case encType:
		dst = hpack.AppendLiteralIndexed(dst, "grpc-status", "0")
		c.enc = encBoth
	case encBoth:
		dst = hpack.AppendIndexed(dst, hpackFirstDynamic)
	default:
		dst = hpack.AppendLiteral(dst, "grpc-status", "0")
	}
	putFrameLength(dst[at:], len(dst)-at-frameHeaderBytes)
	return dst
}

// statusTextMax bounds grpc-message, in bytes before it is encoded.
const statusTextMax = 2048

// answerStatus answers a stream with a status and nothing else.
func (c *conn) answerStatus(id uint32, httpStatus int, code uint32, message string) {
	c.grow()
	at := len(c.out)
	c.out = appendFrameHeader(c.out, frameHeader{0, frameHeaders, flagEndHeaders | flagEndStream, id})
	c.out = c.appendUpdate(c.out)
	if httpStatus == 200 {
		c.out = append(c.out, hpackStatus200)
	} else {
		c.out = hpack.AppendLiteral(c.out, ":status", strconv.Itoa(httpStatus))
	}
	c.out = hpack.AppendLiteral(c.out, "content-type", grpcContentType)
	c.out = hpack.AppendLiteral(c.out, "grpc-status", strconv.FormatUint(uint64(code), 10))
	if message != "" {
		c.out = hpack.AppendLiteral(c.out, "grpc-message", EncodeMessage(message))
	}
	if code == statusUnimplemented {
		c.out = hpack.AppendLiteral(c.out, "grpc-accept-encoding", "gzip")
	}
	putFrameLength(c.out[at:], len(c.out)-at-frameHeaderBytes)
}

// answerText answers a request that is no gRPC request with text.
func (c *conn) answerText(id uint32, st *stream, httpStatus, text string) {
	c.grow()
	at := len(c.out)
	c.out = appendFrameHeader(c.out, frameHeader{0, frameHeaders, flagEndHeaders, id})
	c.out = c.appendUpdate(c.out)
	c.out = hpack.AppendLiteral(c.out, ":status", httpStatus)
	c.out = hpack.AppendLiteral(c.out, "content-type", "text/plain; charset=utf-8")
	putFrameLength(c.out[at:], len(c.out)-at-frameHeaderBytes)
	if st == nil {
		st = c.newStream(id)
		st.ended = true
	}
	st.plain = true
	c.keepAnswer(st, []byte(text))
}

// EncodeMessage spells the message of a status as the grpc-message field holds it,
// at most its first 2,048 bytes.
func EncodeMessage(message string) string {
	if len(message) > statusTextMax {
		message = message[:statusTextMax]
	}
	plain := true
	for i := range len(message) {
		plain = plain && message[i] >= ' ' && message[i] <= '~' && message[i] != '%'
	}
	if plain {
		return message
	}
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(message)+16)
	for i := range len(message) {
		if m := message[i]; m >= ' ' && m <= '~' && m != '%' {
			b = append(b, m)
		} else {
			b = append(b, '%', digits[m>>4], digits[m&15])
		}
	}
	return string(b)
}

// appendData appends DATA frames with b, which the windows have room for.
func (c *conn) appendData(id uint32, b []byte, end bool) {
	for {
		n := min(len(b), int(c.peerFrame))
		var flags uint8
		if end && n == len(b) {
			flags = flagEndStream
		}
		c.out = appendFrameHeader(c.out, frameHeader{n, frameData, flags, id})
		c.out = append(c.out, b[:n]...)
		if b = b[n:]; len(b) == 0 {
			return
		}
	}
}

// messagePrefix is gRPC's: a flag and the message's length.
const messagePrefix = 5

func putMessagePrefix(b []byte, n int) {
	b[0] = 0
	binary.BigEndian.PutUint32(b[1:], uint32(n))
}
