package h2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"time"
)

// groupMax is how many calls are begun before the first is prepared and decided.
const groupMax = 16

// A method is one that is answered on the read loop.
type method struct {
	path  string
	unary Unary
}

// fastRequest begins the call of a request whose headers and body are there.
// body is the stream's data; st is its stream if it has one.
func (c *conn) fastRequest(id uint32, req *request, body []byte, st *stream) {
	call := c.newCall()
	call.method, call.id, call.stream, call.timeout = req.method, id, st, req.timeout
	call.Now = c.now
	if call.Shed = c.isBehind(); call.Shed {
		c.srv.shed.Add(1)
	}
	call.In = c.message(call, req, body) // or fails it
	c.work.group[c.work.n] = call
	c.work.n++
	if !call.Failed() {
		c.begin(call)
		began := c.now
		if st != nil {
			began = st.opened
		}
		if t := began + call.timeout; call.timeout > 0 && t > began && (call.Deadline == 0 || t < call.Deadline) {
			call.Deadline = t
		}
	}
	if c.work.n == groupMax || req.encoding == encodingGzip { // an unpacked message is long

		c.endGroup()
	}
}

// newCall returns the next call of the group.
func (c *conn) newCall() *Call {
	call := c.work.group[c.work.n]
	if call == nil {
		call = new(Call)
	}
	*call = Call{State: call.State, conn: c}
	return call
}

// message returns the message in a request's body, or fails the call.
func (c *conn) message(call *Call, req *request, body []byte) []byte {
	if len(body) < messagePrefix {
		switch {
		case len(body) == 0:
			call.Fail(statusInternal, "the request has no message")
		default:
			call.Fail(statusInternal, "the request's message is cut off")
		}
		return nil
	}
	n := int(binary.BigEndian.Uint32(body[1:]))
	rest := body[messagePrefix:]
	switch {
	case body[0] > 1:
		call.Fail(statusInternal, fmt.Sprintf("the message's first byte is %d, not 0 or 1", body[0]))
	case n > c.srv.cfg.MessageBytes:
		call.Fail(statusResourceExhausted, fmt.Sprintf("the message has %d bytes: at most %d", n, c.srv.cfg.MessageBytes))
	case n > len(rest):
		call.Fail(statusInternal, "the request's message is cut off")
	case n < len(rest):
		call.Fail(statusInternal, "the request has more than one message")
	case body[0] == 0:
		return rest
	case req.encoding == encodingIdentity:
		call.Fail(statusInternal, "the message is compressed, and grpc-encoding does not say how")
	case req.encoding == encodingUnknown:
		call.Fail(statusUnimplemented, fmt.Sprintf("grpc-encoding: %.64q: only gzip and identity", req.encoded))
	default:
		return c.unpack(call, rest)
	}
	return nil
}

// unpackedMax bounds what one connection may have unpacked in a second, in bytes:
// some bytes become a thousand times as many.
const unpackedMax = 16 << 20

// unpack returns a gzipped message.
func (c *conn) unpack(call *Call, b []byte) []byte {
	c.budgets.roll(c.now)
	if c.budgets.unpacked > unpackedMax {
		c.srv.count(AbuseGzip)
		call.Fail(statusResourceExhausted, fmt.Sprintf("more than %d bytes of compressed messages a second", unpackedMax))
		return nil
	}
	b, err := c.srv.gunzip(b)
	if err != nil {
		call.Fail(err.code, err.message)
		c.budgets.unpacked += c.srv.cfg.MessageBytes // it may have been unpacked before it was refused
	}
	c.budgets.unpacked += len(b)
	return b
}

// endGroup decides and answers the calls that were begun.
func (c *conn) endGroup() {
	w := c.work
	if w.n == 0 {
		return
	}
	c.grow()
	c.prepareGroup()
	for i := range w.n {
		call := w.group[i]
		done := true
		if !call.Failed() {
			done = c.decide(call) || call.Failed() // it panicked
		}
		if done {
			c.answer(call)
			call.In = nil // the buffer may be lent to others
			continue
		}
		w.group[i] = nil // it is not ours until it finishes
		c.await(call)
	}
	w.n = 0
}

// begin runs Begin.
func (c *conn) begin(call *Call) {
	defer c.recovered(call)
	call.begun = true
	call.method.unary.Begin(call)
}

// prepareGroup prepares the calls that were begun.
func (c *conn) prepareGroup() {
	w := c.work
	var again [groupMax]bool
	some := false
	for i := range w.n {
		if call := w.group[i]; !call.Failed() {
			again[i] = c.prepare(call)
			some = some || again[i]
		}
	}
	for i := 0; some && i < w.n; i++ {
		if call := w.group[i]; again[i] && !call.Failed() {
			c.prepare(call)
		}
	}
}

// prepare runs Prepare.
func (c *conn) prepare(call *Call) (again bool) {
	defer c.recovered(call)
	return call.method.unary.Prepare(call)
}

// decide runs Decide.
func (c *conn) decide(call *Call) (done bool) {
	defer c.recovered(call)
	return call.method.unary.Decide(call)
}

// appendMessage runs Answer, or Expire, unless there is nothing to release.
func (c *conn) appendMessage(dst []byte, call *Call) (_ []byte) {
	if !call.begun {
		return dst
	}
	defer c.recovered(call)
	if call.expired {
		return call.method.unary.Expire(dst, call)
	}
	return call.method.unary.Answer(dst, call)
}

// recovered turns a panic into INTERNAL. It is deferred. What the Unary had in
// State is in an unknown state and forgotten.
func (c *conn) recovered(call *Call) {
	v := recover()
	if v == nil {
		return
	}
	call.State, call.begun = nil, false
	call.Fail(statusInternal, "internal error")
	c.srv.panicked(call.method.path, v, debug.Stack())
}

// answer appends a call's answer to the output. The call is then free.
func (c *conn) answer(call *Call) {
	st := call.stream
	if st != nil {
		delete(c.streams, st.id)
		c.unhold(st)
		if st.reset {
			c.discard(call)
			return
		}
	}
	c.appendAnswer(call)
}

// discard lets the Unary release what a call has, whose answer nobody awaits.
func (c *conn) discard(call *Call) { _ = c.appendMessage(nil, call) }

// appendAnswer appends a call's answer.
func (c *conn) appendAnswer(call *Call) {
	c.answers++
	c.budgets.earn()
	c.pings.calm()
	start, enc, update := len(c.out), c.enc, c.encUpdate
	b := c.appendResponseHeaders(c.out, call.id)
	at := len(b)
	b = appendFrameHeader(b, frameHeader{0, frameData, 0, call.id})
	b = append(b, 0, 0, 0, 0, 0)
	body := len(b)
	b = c.appendMessage(b, call)
	if call.Failed() {
		// That header block is not sent, so the peer's table does not know it.
		c.out, c.enc, c.encUpdate = c.out[:start], enc, update
		c.answerStatus(call.id, 200, call.code, call.message)
		return
	}
	c.out = b
	n := len(c.out) - body
	putMessagePrefix(c.out[body-messagePrefix:], n)
	n += messagePrefix
	window := c.peerWindow
	if call.stream != nil {
		window = call.stream.sendWindow
	}
	if int64(n) > min(window, c.sendWindow, c.peerFrame) || start > outBytesMax {
		data := bytes.Clone(c.out[at+frameHeaderBytes:])
		c.out = c.out[:at]
		st := call.stream
		if st == nil {
			st = c.newStream(call.id)
			st.ended = true
		}
		st.call = nil
		c.keepAnswer(st, data)
		return
	}
	c.sendWindow -= int64(n)
	putFrameLength(c.out[at:], n)
	c.out = c.appendOKTrailers(c.out, call.id)
}

// isBehind reports whether new calls come too late to be decided.
func (c *conn) isBehind() bool {
	most := int64(c.srv.cfg.BehindMax)
	return most > 0 && (c.now-c.empty > most || c.srv.lag.Load() > most)
}

// await keeps a call that is finished later.
func (c *conn) await(call *Call) {
	st := call.stream
	if st == nil {
		st = c.newStream(call.id)
		st.ended = true
		c.enter(st)
		call.stream = st
	}
	c.unhold(st)
	st.call, call.index = call, len(c.calls)
	c.calls = append(c.calls, call)
	if call.Deadline > 0 {
		c.arm(c.now, call.Deadline)
	}
}

// arm makes sure that expire runs at a moment, or earlier.
func (c *conn) arm(now, at int64) {
	if c.expiryAt != 0 && c.expiryAt <= at {
		return
	}
	c.expiryAt = at
	d := time.Duration(max(at-now, 0))
	if c.expiry == nil {
		c.expiry = time.AfterFunc(d, c.expire)
		return
	}
	c.expiry.Reset(d)
}

// expire answers the calls whose deadline has passed.
func (c *conn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return
	}
	now := c.srv.cfg.Now()
	c.expiryAt = 0
	var next int64
	kept := c.calls[:0]
	for _, call := range c.calls {
		switch {
		case call.Deadline == 0 || call.Deadline > now:
			call.index = len(kept)
			kept = append(kept, call)
			if call.Deadline > 0 && (next == 0 || call.Deadline < next) {
				next = call.Deadline
			}
		default:
			call.expired = true
			delete(c.streams, call.id)
			if call.stream.reset {
				c.discard(call)
			} else {
				c.appendAnswer(call)
			}
		}
	}
	clear(c.calls[len(kept):])
	c.calls = kept
	if next > 0 {
		c.arm(now, next)
	}
	c.checkAway()
	c.flushSoon()
}

// finish answers a call that was awaited. c.mu is held.
func (c *conn) finish(call *Call) {
	last := len(c.calls) - 1
	c.calls[call.index] = c.calls[last]
	c.calls[call.index].index = call.index
	c.calls[last] = nil
	c.calls = c.calls[:last]
	if c.dead {
		c.discard(call)
		return
	}
	c.grow()
	c.answer(call)
	c.checkAway()
}
