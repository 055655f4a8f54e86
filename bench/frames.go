package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

var errProtocol = errors.New("protocol error")

// read is the reader of c: it returns when the connection is over.
func (c *conn) read() {
	l := c.l
	var err error
	l.mu.Lock()
	for err == nil {
		n := c.need()
		if c.br.Buffered() >= n {
			err = c.onFrame()
			continue
		}
		// Everything that has arrived is dealt with.
		l.turn(c)
		if c.retired && c.active == 0 {
			break
		}
		l.mu.Unlock()
		_, err = c.br.Peek(n)
		now := l.now()
		l.mu.Lock()
		c.now = now
	}
	c.hangUp()
	c.end(err)
	l.turn(c) // what was refused goes out on the next connection
	l.mu.Unlock()
}

// need returns how many bytes must have arrived before a frame can be read
// without waiting. A frame that is too long is read as far as its header, and
// refused there.
func (c *conn) need() int {
	if c.br.Buffered() < frameHeaderLen {
		return frameHeaderLen
	}
	h, _ := c.br.Peek(frameHeaderLen)
	if n := int(h[0])<<16 | int(h[1])<<8 | int(h[2]); n <= frameMax {
		return frameHeaderLen + n
	}
	return frameHeaderLen
}

// onFrame reads one frame, which is in br. The frames of answers are read in
// place: the Framer would allocate for each.
func (c *conn) onFrame() error {
	h, err := c.fr.ReadFrameHeader()
	if err != nil {
		return err
	}
	switch h.Type {
	case http2.FrameData:
		return c.inPlace(h, c.onData)
	case http2.FrameHeaders, http2.FrameContinuation:
		return c.inPlace(h, c.onHeaders)
	default:
		return c.onOther(h)
	}
}

// inPlace has the payload of a frame handled where it is in br.
func (c *conn) inPlace(h http2.FrameHeader, on func(http2.FrameHeader, []byte) error) error {
	p, err := c.br.Peek(int(h.Length))
	if err != nil {
		return err
	}
	if err := on(h, p); err != nil {
		return err
	}
	_, err = c.br.Discard(len(p))
	return err
}

// onOther reads the payload of a frame that is no part of an answer.
func (c *conn) onOther(h http2.FrameHeader) error {
	f, err := c.fr.ReadFrameForHeader(h)
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
			c.limit = int(min(s.Val, uint32(c.l.config.InFlight)))
		case http2.SettingMaxFrameSize:
			c.frameMax = int(s.Val)
		case http2.SettingHeaderTableSize:
			c.header.limitTable(s.Val)
		case http2.SettingInitialWindowSize:
			by := int64(s.Val) - c.streamWindow
			c.streamWindow += by
			for i := range c.streams {
				if !grow(&c.streams[i].window, by) && c.streams[i].id != 0 {
					return errProtocol
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.pumpWaiting()
	if c.control++; c.control > controlMax {
		return errProtocol
	}
	return c.fr.WriteSettingsAck()
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
		c.pumpWaiting()
		return nil
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
		if s := &c.streams[i]; s.id > f.LastStreamID {
			c.repeat(s)
		}
	}
}

func (c *conn) onData(h http2.FrameHeader, p []byte) error {
	if c.received += len(p); c.received > connectionWindow/2 {
		if err := c.fr.WriteWindowUpdate(0, uint32(c.received)); err != nil {
			return err
		}
		c.received = 0
	}
	if h.Flags.Has(http2.FlagDataPadded) {
		if len(p) == 0 || int(p[0]) >= len(p) {
			return errProtocol
		}
		p = p[1 : len(p)-int(p[0])]
	}
	s := c.find(h.StreamID)
	if s == nil {
		return nil
	}
	if len(p) > 0 && !c.take(s, p) {
		c.fail(s, faultResponse)
		return c.fr.WriteRSTStream(h.StreamID, http2.ErrCodeCancel)
	}
	if h.Flags.Has(http2.FlagDataEndStream) { // without trailers, so without a status
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

// responseHeaders is the header block that is being read.
type responseHeaders struct {
	dec       *hpack.Decoder
	length    int
	endStream bool
	status    int // grpc-status, −1: none
}

func (r *responseHeaders) field(f hpack.HeaderField) {
	if f.Name != "grpc-status" {
		return
	}
	n, err := strconv.ParseUint(f.Value, 10, 32)
	if err != nil {
		n = codeUnknown
	}
	r.status = statusCode(n)
}

func (c *conn) onHeaders(h http2.FrameHeader, p []byte) error {
	r := &c.headers
	if h.Type == http2.FrameHeaders {
		r.length, r.status = 0, -1
		r.endStream = h.Flags.Has(http2.FlagHeadersEndStream)
		var ok bool
		if p, ok = fragment(h, p); !ok {
			return errProtocol
		}
	}
	if r.length += len(p); r.length > headersMax {
		return errProtocol
	}
	if _, err := r.dec.Write(p); err != nil {
		return fmt.Errorf("response headers: %w", err)
	}
	if !h.Flags.Has(http2.FlagHeadersEndHeaders) {
		return nil
	}
	if err := r.dec.Close(); err != nil {
		return fmt.Errorf("response headers: %w", err)
	}
	if s := c.find(h.StreamID); s != nil {
		if r.status >= 0 {
			s.status = r.status
		}
		if r.endStream {
			return c.onEnd(s)
		}
	}
	return nil
}

// fragment takes padding and priority off the payload of a HEADERS frame.
func fragment(h http2.FrameHeader, p []byte) ([]byte, bool) {
	padding := 0
	if h.Flags.Has(http2.FlagHeadersPadded) {
		if len(p) == 0 {
			return nil, false
		}
		padding, p = int(p[0]), p[1:]
	}
	if h.Flags.Has(http2.FlagHeadersPriority) {
		if len(p) < 5 {
			return nil, false
		}
		p = p[5:]
	}
	if padding > len(p) {
		return nil, false
	}
	return p[:len(p)-padding], true
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
