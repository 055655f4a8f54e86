package bench

import (
	"encoding/binary"
	"errors"

	"golang.org/x/net/http2"
)

var errProtocol = errors.New("protocol error")

// A frameHeader is what stands before a frame's payload.
type frameHeader struct {
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
}

// arrived handles what has arrived.
func (c *conn) arrived() (need int, err error) {
	if err := c.onArrived(); err != nil {
		return 0, err
	}
	return c.need(), nil
}

// need returns how many bytes must have arrived before a frame can be read
// without waiting. A frame that is too long is read as far as its header, and
// refused there.
func (c *conn) need() int {
	if c.br.Buffered() < frameHeaderLen {
		return frameHeaderLen
	}
	h, _ := c.br.Peek(frameHeaderLen)
	if n := payloadLength(h); n <= frameMax {
		return frameHeaderLen + n
	}
	return frameHeaderLen
}

func payloadLength(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// onArrived handles all frames that are complete in br, where they are.
func (c *conn) onArrived() error {
	b, _ := c.br.Peek(c.br.Buffered())
	all := len(b)
	for len(b) >= frameHeaderLen {
		n := payloadLength(b)
		if n > frameMax {
			return errProtocol
		}
		n += frameHeaderLen
		if len(b) < n {
			break
		}
		if err := c.onFrame(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	_, err := c.br.Discard(all - len(b))
	return err
}

// onFrame handles one frame. Only those that are no part of an answer are left to
// the Framer, which would allocate for each.
func (c *conn) onFrame(b []byte) error {
	h := frameHeader{
		kind: http2.FrameType(b[3]), flags: http2.Flags(b[4]),
		stream: binary.BigEndian.Uint32(b[5:]) & streamIDMax,
	}
	if (h.kind == http2.FrameContinuation) != c.headers.open || c.headers.open && h.stream != c.headers.stream {
		return errProtocol
	}
	switch h.kind {
	case http2.FrameData:
		return c.onData(h, b[frameHeaderLen:])
	case http2.FrameHeaders, http2.FrameContinuation:
		return c.onHeaders(h, b[frameHeaderLen:])
	default:
		return c.onOther(b)
	}
}

// onOther handles a frame that is no part of an answer.
func (c *conn) onOther(b []byte) error {
	c.frame.Reset(b)
	f, err := c.fr.ReadFrame()
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return c.onSettings(f)
	case *http2.PingFrame:
		return c.onPing(f)
	case *http2.WindowUpdateFrame:
		return c.onWindowUpdate(f)
	case *http2.RSTStreamFrame:
		c.onReset(f)
	case *http2.GoAwayFrame:
		c.onGoAway(f)
	case *http2.PushPromiseFrame:
		return errProtocol
	}
	return nil
}

func (c *conn) onSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID { //nolint:exhaustive // the others are about what we don't do
		case http2.SettingMaxConcurrentStreams:
			c.limitStreams(s.Val)
		case http2.SettingMaxFrameSize:
			c.frameMax = int(s.Val)
		case http2.SettingHeaderTableSize:
			c.header.limitTable(s.Val)
		case http2.SettingInitialWindowSize:
			return c.growStreams(int64(s.Val) - c.streamWindow)
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.pumpAll()
	if c.control++; c.control > controlMax {
		return errProtocol
	}
	return c.fr.WriteSettingsAck()
}

// limitStreams sets how many streams the server lets us have. A call is one,
// however many messages are in flight on it.
func (c *conn) limitStreams(n uint32) {
	c.limit = int(min(n, uint32(c.l.config.InFlight)))
	if c.call != nil && n > 0 {
		c.limit = c.l.config.InFlight
	}
}

// growStreams grows the windows of all streams, or shrinks them.
func (c *conn) growStreams(by int64) error {
	c.streamWindow += by
	if c.call != nil && c.call.id != 0 && !grow(&c.call.window, by) {
		return errProtocol
	}
	for i := range c.streams {
		if !grow(&c.streams[i].window, by) && c.streams[i].id != 0 {
			return errProtocol
		}
	}
	return nil
}

func (c *conn) onPing(f *http2.PingFrame) error {
	if f.IsAck() {
		return nil
	}
	if c.control++; c.control > controlMax {
		return errProtocol
	}
	return c.fr.WritePing(true, f.Data)
}

func (c *conn) onWindowUpdate(f *http2.WindowUpdateFrame) error {
	if f.StreamID == 0 {
		if !grow(&c.window, int64(f.Increment)) {
			return errProtocol
		}
		c.pumpAll()
		return nil
	}
	if c.call != nil {
		return c.onCallWindow(f)
	}
	s := c.find(f.StreamID)
	if s == nil {
		return nil
	}
	if !grow(&s.window, int64(f.Increment)) {
		c.fail(s, faultReset)
		return c.fr.WriteRSTStream(f.StreamID, http2.ErrCodeFlowControl)
	}
	if len(s.rest) > 0 {
		c.pumpWaiting()
	}
	return nil
}

func (c *conn) onReset(f *http2.RSTStreamFrame) {
	if c.call != nil {
		if f.StreamID == c.call.id && !c.call.over {
			c.onCallReset(f.ErrCode)
		}
		return
	}
	s := c.find(f.StreamID)
	switch {
	case s == nil:
	case f.ErrCode == http2.ErrCodeRefusedStream:
		c.repeat(s)
	default:
		c.fail(s, faultReset)
	}
}

// onGoAway leaves what the server will still answer, and has the rest sent again
// on the next connection.
func (c *conn) onGoAway(f *http2.GoAwayFrame) {
	if !c.retired { // servers that stop gracefully say it twice
		c.l.goAways++
	}
	c.retire()
	for i := range c.streams {
		s := &c.streams[i]
		id := s.id // of its HTTP/2 stream
		if c.call != nil && id != 0 {
			id = c.call.id
		}
		if id > f.LastStreamID {
			c.repeat(s)
		}
	}
}

func (c *conn) onData(h frameHeader, p []byte) error {
	if c.received += len(p); c.received > connectionWindow/2 {
		if err := c.fr.WriteWindowUpdate(0, uint32(c.received)); err != nil {
			return err
		}
		c.received = 0
	}
	if h.flags.Has(http2.FlagDataPadded) {
		if len(p) == 0 || int(p[0]) >= len(p) {
			return errProtocol
		}
		p = p[1 : len(p)-int(p[0])]
	}
	if c.call != nil {
		return c.onCallData(h, p)
	}
	s := c.find(h.stream)
	if s == nil {
		return nil
	}
	if len(p) > 0 && !c.take(s, p) {
		c.fail(s, faultResponse)
		return c.fr.WriteRSTStream(h.stream, http2.ErrCodeCancel)
	}
	if h.flags.Has(http2.FlagDataEndStream) { // without trailers, so without a status
		c.fail(s, faultResponse)
	}
	return nil
}

// take adds p to the answer of s and decodes it as soon as it is complete. It
// returns false if that can't be an answer.
func (c *conn) take(s *stream, p []byte) bool {
	if s.answered || len(s.partial)+len(p) > receiveWindow {
		return false
	}
	if len(s.partial) > 0 {
		s.partial = append(s.partial, p...)
		p = s.partial
	}
	if len(p) >= grpcPrefixLen {
		n := int64(binary.BigEndian.Uint32(p[1:]))
		switch got := int64(len(p) - grpcPrefixLen); {
		case p[0] != 0 || got > n: // compressed, which we don't accept; a second message
			return false
		case got == n:
			s.answered = true
			return c.l.workload.decode(p[grpcPrefixLen:], &s.outcome) && s.outcome.answered() == c.l.workload.checks
		}
	}
	if len(s.partial) == 0 {
		s.partial = append(s.partial, p...)
	}
	return true
}

// onEnd ends a request that the server has answered.
func (c *conn) onEnd(s *stream) error {
	id, unsent := s.id, len(s.rest) > 0
	switch {
	case s.status > 0:
		c.l.recordStatus(s.start, s.status)
		c.free(s)
	case s.status == 0 && s.answered:
		c.l.recordAnswer(s.start, c.now, &s.outcome)
		c.free(s)
	default:
		c.fail(s, faultResponse)
	}
	if unsent {
		return c.fr.WriteRSTStream(id, http2.ErrCodeCancel)
	}
	return nil
}
