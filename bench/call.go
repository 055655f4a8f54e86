package bench

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"golang.org/x/net/http2"
	"google.golang.org/protobuf/encoding/protowire"
)

// A call is the one gRPC stream of a connection whose protocol is Stream. It is
// opened with the first message and ends with the connection's use: a connection
// whose call has ended is replaced.
type call struct {
	id       uint32 // of the HTTP/2 stream, 0: not opened
	window   int64  // bytes of DATA that the server takes on it
	rest     []byte // of messages, not yet sent
	partial  []byte // of a message that is not all here
	received int    // bytes of DATA since its window was renewed
	closed   bool   // no message follows: our side ends as soon as rest is sent
	ended    bool   // our side has ended
	over     bool   // the server's, too: what still comes is not read
}

// asked is what is known of a message of a call.
type asked struct {
	left int      // checks without an answer
	open []uint64 // which: a bit for each
}

// checkIDs says which ids the checks of a stream have: of two in flight on a
// connection, no two have the same. All have the same length on the wire.
// Immutable.
type checkIDs struct {
	width int    // bytes of the varint
	base  uint64 // the smallest
	shift uint   // the ids of a message's place are base + place<<shift and up
	at    []int  // where in a body each id begins
}

func newCheckIDs(c *Config) *checkIDs {
	ids := &checkIDs{width: 1, shift: uint(bits.Len(uint(c.Batch - 1)))}
	n := uint64(placesFor(c.InFlight)) << ids.shift
	for ids.base+n > 1<<(7*ids.width) || ids.base == 0 {
		ids.base = 1 << (7 * ids.width)
		ids.width++
	}
	return ids
}

// first returns an id, and other one that differs from it in every byte.
func (ids *checkIDs) first() uint64 {
	if ids == nil {
		return 0
	}
	return ids.base
}

func (ids *checkIDs) other() uint64 {
	var v uint64
	for i := range ids.width {
		v |= 1 << (7 * i)
	}
	return v ^ ids.base ^ ids.base<<1
}

// put writes the ids of the message at the given place into its body.
func (ids *checkIDs) put(body []byte, place int) {
	id := ids.base + uint64(place)<<ids.shift
	for _, at := range ids.at {
		b, v := body[at:at+ids.width], id
		for i := range b {
			b[i] = byte(v) | 0x80
			v >>= 7
		}
		b[len(b)-1] &^= 0x80
		id++
	}
}

// canSend reports whether a message may be begun: none is that would only wait.
func (c *conn) canSend() bool {
	return len(c.call.rest) == 0 && (c.call.id == 0 || c.call.window > 0)
}

// send sends s as a message of the call, which it opens if it is the first.
func (c *conn) send(s *stream) {
	k, w := c.call, c.l.workload
	if k.id == 0 {
		k.id, k.window = 1, c.streamWindow
		block := c.header.next()
		c.out = appendFrameHeader(c.out, len(block), http2.FrameHeaders, http2.FlagHeadersEndHeaders, k.id)
		c.out = append(c.out, block...)
	}
	m := &s.asked
	m.left = w.checks
	if m.open == nil {
		m.open = make([]uint64, (w.checks+63)/64)
	}
	for i := range m.open {
		m.open[i] = ^uint64(0)
	}
	if extra := w.checks % 64; extra != 0 {
		m.open[len(m.open)-1] = 1<<extra - 1
	}
	start := len(k.rest)
	k.rest = w.appendBody(k.rest, c.l.keys)
	w.ids.put(k.rest[start:], c.place(s.id))
	c.pumpCall()
}

// pumpCall sends what may be sent of the call.
func (c *conn) pumpCall() {
	k := c.call
	sent := 0
	for sent < len(k.rest) {
		n := int(min(int64(len(k.rest)-sent), int64(c.frameMax), c.window, k.window))
		if n <= 0 {
			break
		}
		c.out = appendFrameHeader(c.out, n, http2.FrameData, 0, k.id)
		c.out = append(c.out, k.rest[sent:sent+n]...)
		c.window -= int64(n)
		k.window -= int64(n)
		sent += n
	}
	k.rest = k.rest[:copy(k.rest, k.rest[sent:])]
	if k.closed && !k.ended && len(k.rest) == 0 {
		k.ended = true
		c.out = appendFrameHeader(c.out, 0, http2.FrameData, http2.FlagDataEndStream, k.id)
	}
}

// pumpAll sends on after the server has granted more.
func (c *conn) pumpAll() {
	c.pumpWaiting()
	if c.call != nil && c.call.id != 0 {
		c.pumpCall()
	}
}

// halfClose ends our side of the call once all is sent.
func (c *conn) halfClose() {
	c.call.closed = true
	if c.call.id != 0 {
		c.pumpCall()
	}
}

func (c *conn) onCallWindow(f *http2.WindowUpdateFrame) error {
	if f.StreamID != c.call.id {
		return nil
	}
	if !grow(&c.call.window, int64(f.Increment)) {
		return errProtocol
	}
	c.pumpCall()
	return nil
}

// onCallData reads answers.
func (c *conn) onCallData(h frameHeader, p []byte) error {
	k := c.call
	if h.stream != k.id || k.id == 0 || k.over {
		return nil
	}
	if k.received += len(p); k.received > receiveWindow/2 {
		if err := c.fr.WriteWindowUpdate(k.id, uint32(k.received)); err != nil {
			return err
		}
		k.received = 0
	}
	if len(k.partial) > 0 {
		k.partial = append(k.partial, p...)
		p = k.partial
	}
	for len(p) >= grpcPrefixLen {
		n := binary.BigEndian.Uint32(p[1:])
		if p[0] != 0 || n > receiveWindow {
			return c.onCallNonsense("a message of %d bytes, compressed: %d", n, p[0])
		}
		if len(p) < grpcPrefixLen+int(n) {
			break
		}
		if !c.onAnswers(p[grpcPrefixLen : grpcPrefixLen+int(n)]) {
			return c.onCallNonsense("a message that answers what was not asked, or is malformed")
		}
		p = p[grpcPrefixLen+int(n):]
	}
	k.partial = append(k.partial[:0], p...)
	if h.flags.Has(http2.FlagDataEndStream) { // without trailers, so without a status
		c.onCallEnd(statusNone)
	}
	return nil
}

// onAnswers reads a CheckStreamResponse. It returns false if b is not one, or has
// an answer to a check that is not in flight: each is answered once.
func (c *conn) onAnswers(b []byte) bool {
	for len(b) > 0 {
		num, typ, v, n := consumeField(b)
		switch {
		case n < 0:
			return false
		case num == 1 && typ == protowire.BytesType:
			if !c.onAllowed(v) {
				return false
			}
		case num == 1 && typ == protowire.VarintType:
			id, _ := protowire.ConsumeVarint(b[protowire.SizeTag(num):])
			if s := c.answer(id); s == nil {
				return false
			} else if s.outcome.ok++; s.asked.left == 0 {
				c.complete(s)
			}
		case num == 2 && typ == protowire.BytesType:
			if !c.onStreamAnswer(v) {
				return false
			}
		}
		b = b[n:]
	}
	return true
}

// onAllowed reads ids, packed.
func (c *conn) onAllowed(b []byte) bool {
	for len(b) > 0 {
		id, n := uint64(0), 0
		for {
			if n == len(b) || n == 10 {
				return false
			}
			d := b[n]
			id |= uint64(d&0x7f) << (7 * n)
			n++
			if d < 0x80 {
				break
			}
		}
		b = b[n:]
		s := c.answer(id)
		if s == nil {
			return false
		}
		if s.outcome.ok++; s.asked.left == 0 {
			c.complete(s)
		}
	}
	return true
}

// onStreamAnswer reads a StreamAnswer: as an item of a batch, whose numbers are
// one lower, with an id.
func (c *conn) onStreamAnswer(b []byte) bool {
	var id uint64
	whole := b
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		if num == 1 && typ == protowire.VarintType {
			id, _ = protowire.ConsumeVarint(b[n:])
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return false
		}
		b = b[n+m:]
	}
	s := c.answer(id)
	if s == nil || !decodeOutcome(whole, 2, &s.outcome) {
		return false
	}
	if s.asked.left == 0 {
		c.complete(s)
	}
	return true
}

// answer returns the message that has the check with the given id, which counts
// as answered from now on; nil if that is not in flight.
func (c *conn) answer(id uint64) *stream {
	ids := c.l.workload.ids
	id -= ids.base
	place := id >> ids.shift
	if place >= uint64(len(c.streams)) { // also if id was below base
		return nil
	}
	s := &c.streams[place]
	i := id & (1<<ids.shift - 1)
	bit := uint64(1) << (i % 64)
	if s.id == 0 || i/64 >= uint64(len(s.asked.open)) || s.asked.open[i/64]&bit == 0 {
		return nil
	}
	s.asked.open[i/64] &^= bit
	s.asked.left--
	return s
}

// complete ends a message whose checks are all answered.
func (c *conn) complete(s *stream) {
	c.l.recordAnswer(s.start, c.now, &s.outcome)
	c.free(s)
}

// onCallNonsense gives up on the call, and on what it has not answered.
func (c *conn) onCallNonsense(format string, args ...any) error {
	c.l.trouble = fmt.Errorf("a stream's answers: "+format, args...)
	c.onCallEnd(statusNone)
	return c.fr.WriteRSTStream(c.call.id, http2.ErrCodeCancel)
}

func (c *conn) onCallReset(code http2.ErrCode) {
	c.call.ended, c.call.over = true, true
	for i := range c.streams {
		switch s := &c.streams[i]; {
		case s.id == 0:
		case code == http2.ErrCodeRefusedStream && s.asked.left == c.l.workload.checks:
			c.repeat(s)
		default:
			c.fail(s, faultReset)
		}
	}
	c.call.rest = c.call.rest[:0]
	c.retire()
}

// onCallEnd is called when the server has ended the call. What a server that
// stops has not answered it has not charged: that is sent again.
func (c *conn) onCallEnd(status int) {
	c.call.ended, c.call.over = true, true
	for i := range c.streams {
		switch s := &c.streams[i]; {
		case s.id == 0:
		case status == codeUnavailable && s.asked.left == c.l.workload.checks:
			c.repeat(s)
		case status > 0:
			c.l.recordStatus(s.start, status)
			c.free(s)
		default:
			c.fail(s, faultResponse)
		}
	}
	c.call.rest = c.call.rest[:0]
	c.retire()
}
