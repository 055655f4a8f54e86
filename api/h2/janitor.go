package h2

import (
	"fmt"
	"runtime"
	"time"
)

// The janitor looks at every connection now and then, and ends what takes too
// long: one goroutine instead of timers of 10,000 connections.
func (s *Server) janitor() {
	tick := time.NewTicker(s.tick())
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		now, draining := s.cfg.Now(), s.isDraining()
		for _, c := range s.list(true) {
			c.tidy(now, draining)
		}
	}
}

// tick is a quarter of the shortest timeout, in [5 ms, 500 ms].
func (s *Server) tick() time.Duration {
	c := &s.cfg
	d := min(c.RequestTimeout, c.StallTimeout, c.KeepaliveInterval, c.KeepaliveTimeout, c.ConnectionGrace)
	if c.ConnectionAge > 0 {
		d = min(d, c.ConnectionAge)
	}
	return min(max(d/4, 5*time.Millisecond), 500*time.Millisecond)
}

// idleAfter is when a connection gives its large buffer back.
const idleAfter = time.Second

// tidy ends what takes too long, and does what is due.
func (c *conn) tidy(now int64, draining bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cfg := &c.srv.cfg
	passed := func(since int64, d time.Duration) bool { return since != 0 && now-since > int64(d) }
	switch {
	case c.dead:
	case c.writing && passed(c.writeSince, cfg.StallTimeout):
		c.srv.count(AbuseStalled)
		c.kill()
	case c.failure != nil: // the read loop has been told
	case c.goingAway >= awayDone && passed(c.awaySince, closeTimeout):
		c.kill()
	case c.goingAway != awayNone && !draining && passed(c.awaySince, cfg.ConnectionGrace):
		c.kill()
	case passed(c.pinged, cfg.KeepaliveTimeout):
		c.srv.count(AbuseSilent)
		c.kill()
	default:
		if e := c.overdue(now); e != nil {
			c.fail(e)
			return
		}
		c.due(now)
	}
}

// overdue returns what the peer takes too long for, or nil.
func (c *conn) overdue(now int64) *connError {
	cfg := &c.srv.cfg
	passed := func(since int64, d time.Duration) bool { return since != 0 && now-since > int64(d) }
	switch {
	case len(c.blocked) > 0 && passed(c.blocked[0].blockedAt, cfg.StallTimeout):
		return &connError{codeEnhanceCalm, fmt.Sprintf("no room for an answer for %v", cfg.StallTimeout), AbuseZeroWindow}
	case passed(c.partial, cfg.RequestTimeout):
		return &connError{codeEnhanceCalm, fmt.Sprintf("a frame is incomplete for %v", cfg.RequestTimeout), AbuseSlowFrame}
	case c.acksDue > 0 && passed(c.acksSince, cfg.HandshakeTimeout):
		return &connError{codeTimeout, fmt.Sprintf("SETTINGS not acknowledged for %v", cfg.HandshakeTimeout), AbuseNoAck}
	}
	return nil
}

// due does what is due on a connection that is well.
func (c *conn) due(now int64) {
	cfg := &c.srv.cfg
	if c.pinged == 0 && now-c.lastRead > int64(cfg.KeepaliveInterval) {
		c.out = appendPing(c.out, 0, []byte("keepaliv"))
		c.pinged = now
	}
	if cfg.ConnectionAge > 0 && now-c.began > int64(cfg.ConnectionAge) {
		c.goAway()
	}
	if c.goingAway == awayAsked && now-c.awaySince > int64(awayAnswerTimeout) {
		c.finalGoAway()
		c.checkAway()
	}
	c.readvertise(now)
	for _, st := range c.streams {
		c.tidyStream(st, now)
	}
	if c.large && now-c.lastRead > int64(idleAfter) {
		c.kick()
	}
	c.checkAway()
	if len(c.out) > 0 || c.goingAway == awayDone {
		c.flushSoon() // a write may block, and others wait for the janitor
	}
}

// tidyStream ends a stream that takes too long.
func (c *conn) tidyStream(st *stream, now int64) {
	cfg := &c.srv.cfg
	switch {
	case st.reset:
	case st.rest == nil && !st.ended && now-st.opened > int64(cfg.RequestTimeout):
		c.srv.count(AbuseSlowBody)
		c.refuseStream(st, Refusal{statusDeadlineExceeded, fmt.Sprintf("the request is not complete after %v", cfg.RequestTimeout)})
	case st.rest != nil && st.rest.stuck != 0 && now-st.rest.stuck > int64(cfg.StallTimeout):
		c.srv.count(AbuseZeroWindow)
		c.cancel(st, codeEnhanceCalm)
	}
}

// fail makes the read loop end the connection.
func (c *conn) fail(e *connError) {
	c.failure = e
	c.room.Broadcast()
	c.kick()
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

const (
	lagInterval     = 5 * time.Millisecond
	lagIdleInterval = 50 * time.Millisecond
)

// watchLag measures how long a goroutine that is ready waits for a processor
// because of those before it: as long wait the read loops whose connections have
// something to read. A wait in which this process used less than half of one
// processor is another process's doing: shedding would not end it, and would make
// counts wrong.
func (s *Server) watchLag() {
	var seen uint64
	for {
		interval := lagInterval
		if n := s.batches.Load() + s.asked.Load(); n == seen {
			interval = lagIdleInterval
		} else {
			seen = n
		}
		select {
		case <-s.stop:
			return
		case <-time.After(interval):
		}
		before, used := s.cfg.Now(), s.cfg.CPU()
		runtime.Gosched() // to the end of the queue
		lag := s.cfg.Now() - before
		if 2*(s.cfg.CPU()-used) < lag {
			lag = 0
		}
		s.lag.Store(lag)
	}
}
