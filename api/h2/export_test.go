package h2

import "fmt"

// Check returns what is wrong in the books of the server's connections.
func (s *Server) Check() error {
	for _, c := range s.list(true) {
		if err := c.check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return nil
	}
	held, waiting := 0, 0
	for id, st := range c.streams {
		held += st.bodyBytes() + st.taken + st.headers + len(st.answer)
		if len(st.answer) > 0 {
			waiting++
		}
		if st.id != id {
			return fmt.Errorf("stream %d has the entry of %d", st.id, id)
		}
		if st.recvWindow < 0 || st.recvWindow > streamWindow || st.sendWindow > windowMax {
			return fmt.Errorf("stream %d has windows of %d and %d", id, st.recvWindow, st.sendWindow)
		}
		if st.reset && st.rest == nil && st.call == nil {
			return fmt.Errorf("stream %d is over, and nobody works for it", id)
		}
	}
	for i, call := range c.calls {
		if call.index != i || c.streams[call.id] == nil || c.streams[call.id].call != call {
			return fmt.Errorf("the call of stream %d is not where it says", call.id)
		}
	}
	for _, st := range c.blocked {
		if c.streams[st.id] != st || len(st.answer) == 0 {
			return fmt.Errorf("stream %d is blocked for nothing", st.id)
		}
	}
	switch {
	case held != c.held:
		return fmt.Errorf("streams hold %d bytes, not %d", held, c.held)
	case held > c.srv.cfg.BufferBytes+streamWindow: // the last one's buffer is larger than what is in it
		return fmt.Errorf("they hold %d bytes", held)
	case waiting != len(c.blocked):
		return fmt.Errorf("%d are blocked, and %d answers wait", len(c.blocked), waiting)
	case len(c.streams) > max(c.streamsNow, c.srv.cfg.Streams):
		return fmt.Errorf("%d streams are open", len(c.streams))
	case c.recvWindow < 0 || c.recvWindow > connWindow || c.sendWindow > windowMax:
		return fmt.Errorf("windows of %d and %d", c.recvWindow, c.sendWindow)
	case len(c.out) > 2*outBytesMax:
		return fmt.Errorf("%d bytes of output", len(c.out))
	case len(c.block) > 2*c.srv.cfg.HeaderBytes+frameBytesMax: // the frame that is too much is in it
		return fmt.Errorf("a header block of %d bytes", len(c.block))
	case c.handlers > len(c.streams):
		return fmt.Errorf("%d handlers for %d streams", c.handlers, len(c.streams))
	}
	return nil
}
