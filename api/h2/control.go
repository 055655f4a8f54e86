package h2

import (
	"encoding/binary"
	"fmt"
)

// dependency returns the stream that a priority depends on.
func dependency(b []byte) uint32 { return binary.BigEndian.Uint32(b) & windowMax }

// priorityFrame checks PRIORITY, which RFC 9113 deprecates, and ignores it.
func (c *conn) priorityFrame(h frameHeader, payload []byte) error {
	switch {
	case h.stream == 0:
		return protocolError("PRIORITY on stream 0")
	case len(payload) != 5:
		c.resetStream(h.stream, codeFrameSize)
	case dependency(payload) == h.stream:
		c.resetStream(h.stream, codeProtocol)
	}
	return c.spend(AbusePriority)
}

// patience is how long a request has waited, in ns, whose cancellation is not
// rapid: a node that can't answer must not lose its clients besides.
const patience = 5e6

// resetFrame handles RST_STREAM.
func (c *conn) resetFrame(h frameHeader, payload []byte) error {
	switch {
	case len(payload) != 4:
		return &connError{codeFrameSize, "RST_STREAM is not 4 bytes long", AbuseProtocol}
	case h.stream == 0 || h.stream > c.lastID:
		return protocolError(fmt.Sprintf("RST_STREAM on stream %d, which is idle", h.stream))
	}
	if st := c.streams[h.stream]; st != nil && !st.reset {
		c.drop(st)
		if c.now-st.opened > patience && (st.rest == nil || c.budgets.forgive(c.now, c.streamsNow)) {
			return nil // it waited in vain, no longer than there may be streams
		}
	}
	return c.spend(AbuseReset)
}

// pingFrame answers PING.
func (c *conn) pingFrame(h frameHeader, payload []byte) error {
	switch {
	case len(payload) != 8:
		return &connError{codeFrameSize, "PING is not 8 bytes long", AbuseProtocol}
	case h.stream != 0:
		return protocolError("PING on a stream")
	case h.flags&flagAck != 0:
		if c.goingAway == awayAsked && string(payload) == awayPing {
			c.finalGoAway()
		}
		return c.spend(AbusePing)
	}
	if err := c.spend(AbusePing); err != nil {
		return err
	}
	if c.pings.tooMany(c.now, int64(c.srv.cfg.KeepaliveClientMin)) {
		return &connError{codeEnhanceCalm, "too_many_pings", AbusePing}
	}
	c.out = appendPing(c.out, flagAck, payload)
	return nil
}

// A pingState counts pings that come too fast while nothing else goes on.
type pingState struct {
	last    int64
	strikes int
}

const pingStrikesMax = 2

// tooMany counts a ping. Clients that ping at the interval are sometimes a
// little early.
func (p *pingState) tooMany(now, interval int64) bool {
	if now-p.last < interval-interval/8 {
		p.strikes++
	} else {
		p.strikes = 0
	}
	p.last = now
	return p.strikes > pingStrikesMax
}

// calm forgives earlier pings: an answer was sent, and clients measure how long
// those take.
func (p *pingState) calm() { *p = pingState{} }

// windowFrame handles WINDOW_UPDATE.
func (c *conn) windowFrame(h frameHeader, payload []byte) error {
	if len(payload) != 4 {
		return &connError{codeFrameSize, "WINDOW_UPDATE is not 4 bytes long", AbuseProtocol}
	}
	n := int64(binary.BigEndian.Uint32(payload) & windowMax)
	if h.stream == 0 {
		switch {
		case n == 0:
			return protocolError("WINDOW_UPDATE of 0")
		case c.sendWindow+n > windowMax:
			return &connError{codeFlowControl, "the connection's window grows beyond 2^31-1", AbuseFlowControl}
		}
		c.sendWindow += n
		c.unblock()
		return c.spend(AbuseWindowUpdate)
	}
	if h.stream > c.lastID {
		return protocolError(fmt.Sprintf("WINDOW_UPDATE on stream %d, which is idle", h.stream))
	}
	st := c.streams[h.stream]
	switch {
	case st == nil || st.reset: // it may have been on its way
	case n == 0:
		c.cancel(st, codeProtocol)
		return c.offend(AbuseProtocol)
	case st.sendWindow+n > windowMax:
		c.cancel(st, codeFlowControl)
		return c.offend(AbuseFlowControl)
	default:
		st.sendWindow += n
		if c.waiting > 0 || len(st.answer) > 0 {
			c.unblock()
		}
	}
	return c.spend(AbuseWindowUpdate)
}

// settingsFrame handles SETTINGS.
func (c *conn) settingsFrame(h frameHeader, payload []byte) error {
	switch {
	case h.stream != 0:
		return protocolError("SETTINGS on a stream")
	case h.flags&flagAck != 0 && len(payload) > 0:
		return &connError{codeFrameSize, "an acknowledgement of SETTINGS with a payload", AbuseProtocol}
	case len(payload)%6 != 0:
		return &connError{codeFrameSize, "SETTINGS of no whole number of settings", AbuseProtocol}
	case h.flags&flagAck != 0:
		return c.acknowledged()
	}
	c.settings = true
	window := c.peerWindow
	for ; len(payload) > 0; payload = payload[6:] {
		id, value := binary.BigEndian.Uint16(payload), binary.BigEndian.Uint32(payload[2:])
		if err := c.setting(id, value); err != nil {
			return err
		}
		if id == settingInitialWindow {
			window = int64(value)
		}
	}
	if err := c.setWindow(window); err != nil {
		return err
	}
	c.out = appendFrameHeader(c.out, frameHeader{0, frameSettings, flagAck, 0})
	c.unblock()
	return c.spend(AbuseSettings)
}

// setWindow takes the last of the initial windows that a frame had: each would
// be work for all streams.
func (c *conn) setWindow(n int64) error {
	change := n - c.peerWindow
	c.peerWindow = n
	if change == 0 {
		return nil
	}
	for _, st := range c.streams {
		if st.sendWindow += change; st.sendWindow > windowMax {
			return &connError{codeFlowControl, "a stream's window grows beyond 2^31-1", AbuseFlowControl}
		}
	}
	return nil
}

// setting takes one of the peer's settings.
func (c *conn) setting(id uint16, value uint32) error {
	switch id {
	case settingTableSize:
		c.resize(value)
	case settingPush:
		if value > 1 {
			return protocolError(fmt.Sprintf("SETTINGS_ENABLE_PUSH is %d", value))
		}
	case settingInitialWindow:
		if value > windowMax {
			return &connError{codeFlowControl, fmt.Sprintf("SETTINGS_INITIAL_WINDOW_SIZE is %d", value), AbuseFlowControl}
		}
	case settingFrameSize:
		if value < frameBytesMax || value > 1<<24-1 {
			return protocolError(fmt.Sprintf("SETTINGS_MAX_FRAME_SIZE is %d", value))
		}
		// Larger frames would only make our answers wait for each other.
	}
	return nil
}

// appendFirstSettings appends what we tell a new peer.
func (c *conn) appendFirstSettings() {
	n := c.srv.streamsEach()
	at := len(c.out)
	c.out = appendFrameHeader(c.out, frameHeader{0, frameSettings, 0, 0})
	c.out = appendSetting(c.out, settingStreams, uint32(n))
	c.out = appendSetting(c.out, settingInitialWindow, streamWindow)
	c.out = appendSetting(c.out, settingListSize, uint32(c.srv.cfg.HeaderBytes))
	putFrameLength(c.out[at:], len(c.out)-at-frameHeaderBytes)
	c.out = appendWindowUpdate(c.out, 0, connWindow-defaultWindow)
	c.streamsNow, c.streamsTo = n, n
	c.acksDue, c.acksSince = 1, c.now
}

// moreStreamsAfter is how long a peer's number of streams does not grow, in ns.
const moreStreamsAfter = 10e9

// readvertise tells the peer how many requests it may have in flight now, if
// that changed. Until it acknowledges it, the larger number holds. It is soon
// told of less and later of more, so that connections that come and go don't make
// us tell all others again and again.
func (c *conn) readvertise(now int64) {
	n := c.srv.streamsEach()
	if n == c.streamsTo || c.acksDue > 0 || n > c.streamsTo && now-c.acksSince < moreStreamsAfter {
		return
	}
	c.out = appendFrameHeader(c.out, frameHeader{6, frameSettings, 0, 0})
	c.out = appendSetting(c.out, settingStreams, uint32(n))
	c.streamsNow, c.streamsTo = max(n, c.streamsNow), n
	c.acksDue, c.acksSince = 1, now
}

func (c *conn) acknowledged() error {
	if c.acksDue == 0 {
		return c.spend(AbuseSettings)
	}
	c.acksDue--
	c.streamsNow = c.streamsTo
	return nil
}

// keepAnswer keeps the rest of an answer, whose headers are sent, until the
// windows and the output have room for it.
func (c *conn) keepAnswer(st *stream, data []byte) {
	if c.held+len(data) > c.srv.cfg.BufferBytes {
		c.srv.count(AbuseZeroWindow)
		c.resetStream(st.id, codeEnhanceCalm)
		return
	}
	c.held += len(data)
	st.answer, st.blockedAt = data, c.srv.cfg.Now()
	c.enter(st)
	c.blocked = append(c.blocked, st)
	c.unblock()
}

// unblock sends what the windows and the output have room for now, oldest first,
// and wakes the handlers that wait for room. When output has been written, flush
// calls it again.
func (c *conn) unblock() {
	if c.waiting > 0 {
		c.room.Broadcast()
	}
	kept := c.blocked[:0]
	for _, st := range c.blocked {
		n := min(int64(len(st.answer)), c.sendWindow, st.sendWindow, int64(outBytesMax-len(c.out)))
		if n > 0 {
			c.appendData(st.id, st.answer[:n], st.plain && n == int64(len(st.answer)))
			c.sendWindow -= n
			st.sendWindow -= n
			c.held -= int(n)
			st.answer = st.answer[n:]
		}
		if len(st.answer) > 0 {
			kept = append(kept, st)
			continue
		}
		if !st.plain {
			c.out = c.appendOKTrailers(c.out, st.id)
		}
		delete(c.streams, st.id)
	}
	clear(c.blocked[len(kept):])
	c.blocked = kept
}
