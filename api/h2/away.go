package h2

import "time"

// awayState is how far a connection has been asked to go away.
type awayState uint8

const (
	awayNone   awayState = iota
	awayAsked            // it was told, but its requests on their way still count
	awayFinal            // streams above finalID are not answered
	awayDone             // all is answered
	awayClosed           // and written, and our side is closed
)

// awayPing is the ping whose answer shows that the peer has seen the GOAWAY.
const awayPing = "goingawy"

const (
	awayAnswerTimeout = time.Second // for that answer
	closeTimeout      = time.Second // for the peer's close, when all is answered
)

// goAway asks the peer to send nothing more.
func (c *conn) goAway() {
	if c.goingAway != awayNone || c.dead {
		return
	}
	c.out = appendGoAway(c.out, windowMax, codeNone, "")
	c.out = appendPing(c.out, 0, []byte(awayPing))
	c.goingAway, c.awaySince = awayAsked, c.srv.cfg.Now()
}

// finalGoAway says which requests are answered.
func (c *conn) finalGoAway() {
	c.out = appendGoAway(c.out, c.lastID, codeNone, "")
	c.goingAway, c.finalID = awayFinal, c.lastID
}

// checkAway notes that all is answered; flush goes on when it has written that.
func (c *conn) checkAway() {
	if c.goingAway != awayFinal || len(c.streams) > 0 || c.handlers > 0 || c.dead {
		return
	}
	c.goingAway, c.awaySince = awayDone, c.srv.cfg.Now()
}

// closeWrite closes our side. The peer closes its own then: if we closed both,
// what it has not read yet might be lost. c.mu is held, but not while closing,
// which is a write if it is TLS.
func (c *conn) closeWrite() {
	c.goingAway = awayClosed
	w, ok := c.nc.(interface{ CloseWrite() error })
	if !ok {
		c.kill()
		return
	}
	c.writing, c.writeSince = true, c.srv.cfg.Now()
	c.mu.Unlock()
	_ = w.CloseWrite()
	c.mu.Lock()
	c.writing = false
	c.room.Broadcast()
}
