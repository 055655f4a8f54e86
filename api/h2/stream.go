package h2

import (
	"errors"
	"fmt"
	"slices"

	"github.com/headgate/headgate/api/h2/hpack"
)

const (
	tableBytes   = 4096      // of our HPACK decoder
	streamWindow = 256 << 10 // what a peer may send of one request before we take any
	connWindow   = 1 << 20   // and of all
	// continuationsMax bounds the pieces of a header block.
	continuationsMax = 32
)

// A stream is a request that did not come in one piece, or whose answer did not
// leave at once. Guarded by conn.mu.
type stream struct {
	id     uint32
	req    request
	opened int64
	ended  bool    // the peer has sent all
	reset  bool    // it is over: nothing more is sent
	body   []byte  // what is unread of it
	lent   *[]byte // the pool's, in which body is; nil: it is not of the pool
	got    int64   // bytes of data that have come, against content-length
	taken  int     // bytes that Rest has read and not consumed

	headers int   // bytes of the header list that Rest has
	call    *Call // at a Decider
	rest    *restStream

	sendWindow int64
	recvWindow int64
	recvTaken  int64

	// What the windows have no room for: an answer's message, after its headers.
	answer    []byte
	plain     bool // it is text, and has no trailers
	blockedAt int64
}

func (c *conn) newStream(id uint32) *stream {
	return &stream{id: id, opened: c.now, sendWindow: c.peerWindow, recvWindow: streamWindow}
}

// enter makes st an open stream. Few connections ever have one.
func (c *conn) enter(st *stream) {
	if c.streams == nil {
		c.streams = map[uint32]*stream{}
	}
	c.streams[st.id] = st
}

// headersFrame handles HEADERS: a request begins, or its trailers end it.
func (c *conn) headersFrame(h frameHeader, payload []byte) error {
	if h.stream%2 == 0 {
		return protocolError(fmt.Sprintf("HEADERS on stream %d", h.stream))
	}
	block, ok := unpad(h, payload)
	if !ok {
		return protocolError("more padding than payload")
	}
	if h.flags&flagPriority != 0 {
		if len(block) < 5 {
			return &connError{codeFrameSize, "HEADERS without the priority that it says it has", AbuseProtocol}
		}
		if dependency(block) == h.stream {
			h.kind = frameReset // remembered: the block must still be decoded
		}
		block = block[5:]
	}
	if h.flags&flagEndHeaders == 0 {
		c.endGroup()
		c.blockOf, c.pieces = h, 0
		c.block = append(make([]byte, 0, 2*len(block)+1), block...)
		return c.checkBlock()
	}
	return c.headerBlock(h, block)
}

func (c *conn) continuationFrame(h frameHeader, payload []byte) error {
	if c.block == nil || h.stream != c.blockOf.stream {
		return protocolError("CONTINUATION of nothing")
	}
	c.block = append(c.block, payload...)
	c.pieces++
	if h.flags&flagEndHeaders == 0 {
		return c.checkBlock()
	}
	if err := c.checkBlock(); err != nil {
		return err
	}
	block := c.block
	c.block = nil
	return c.headerBlock(c.blockOf, block)
}

// checkBlock bounds a header block in pieces.
func (c *conn) checkBlock() error {
	if c.pieces > continuationsMax || len(c.block) > 2*c.srv.cfg.HeaderBytes {
		return &connError{codeEnhanceCalm, fmt.Sprintf("a header block of %d bytes in %d pieces", len(c.block), c.pieces), AbuseContinuation}
	}
	return nil
}

// headerBlock handles a whole header block, which begins with h.
func (c *conn) headerBlock(h frameHeader, block []byte) error {
	fields, err := c.dec.Decode(c.work.fields[:0], block)
	c.work.fields = fields
	tooLong := false
	if err != nil {
		if tooLong = errors.Is(err, hpack.ErrListTooLong); !tooLong {
			return &connError{codeCompression, err.Error(), AbuseCompression}
		}
	}
	end := h.flags&flagEndStream != 0
	if st := c.streams[h.stream]; st != nil {
		return c.trailers(st, end)
	}
	if h.stream <= c.lastID {
		if slices.Contains(c.resets[:], h.stream) || !tooLong && !isRequest(fields) { // trailers that were on their way when it ended
			return c.spend(AbuseClosed)
		}
		return &connError{codeStreamClosed, fmt.Sprintf("HEADERS on stream %d, which is closed", h.stream), AbuseStreamID}
	}
	c.lastID = h.stream
	if c.goingAway >= awayFinal && h.stream > c.finalID {
		return nil // it was told, and tries elsewhere
	}
	if h.kind == frameReset {
		c.resetStream(h.stream, codeProtocol)
		return c.offend(AbuseProtocol)
	}
	if len(c.streams)+c.work.n >= c.streamsNow {
		c.resetStream(h.stream, codeRefused)
		return c.offend(AbuseStreams)
	}
	req := request{length: -1}
	if !tooLong && !req.read(c.srv, fields) {
		c.resetStream(h.stream, codeProtocol)
		return c.offend(AbuseProtocol)
	}
	req.ended = end
	if tooLong {
		c.srv.count(AbuseHeaders)
		req.early = earlyTooLong
	}
	return c.request(h.stream, &req)
}

// request begins a request.
func (c *conn) request(id uint32, req *request) error {
	if req.ended && req.length > 0 {
		c.resetStream(id, codeProtocol)
		return c.offend(AbuseProtocol)
	}
	if req.early == notEarly && c.srv.cfg.Authorize != nil {
		c.work.headers = Headers{fields: c.work.fields, conn: c}
		r := c.srv.cfg.Authorize(&c.work.headers)
		c.work.headers = Headers{}
		if r.Code != 0 {
			c.endGroup()
			c.refuse(id, req.ended, r)
			return nil
		}
	}
	if req.early == notEarly && req.method != nil {
		if req.ended {
			c.fastRequest(id, req, nil, nil)
			return nil
		}
		if body, ok := c.bodyAtOnce(id, req); ok {
			c.fastRequest(id, req, body, nil)
			return nil
		}
	}
	c.endGroup()
	if req.early != notEarly && (req.ended || req.early > earlyContentType) {
		c.answerEarly(id, req, nil)
		return nil
	}
	c.openStream(id, req)
	return nil
}

// openStream makes a request a stream, and gives it to Rest if it is not fast.
func (c *conn) openStream(id uint32, req *request) {
	st := c.newStream(id)
	st.req, st.ended = *req, req.ended
	if req.encoded != nil { // a view
		st.req.encoded = append([]byte(nil), req.encoded[:min(len(req.encoded), 64)]...)
	}
	c.enter(st)
	if req.method == nil && req.early == notEarly {
		c.startRest(st)
	}
}

// bodyAtOnce returns the body of a request if it is there as the next frame: the
// usual case, which needs no stream.
func (c *conn) bodyAtOnce(id uint32, req *request) (body []byte, ok bool) {
	b := c.in[c.r:c.w]
	if len(b) < frameHeaderBytes {
		return nil, false
	}
	h := parseFrameHeader(b)
	if h.kind != frameData || h.stream != id || h.flags&flagEndStream == 0 ||
		h.length > frameBytesMax || len(b) < frameHeaderBytes+h.length || int64(h.length) > c.recvWindow {
		return nil, false
	}
	body, ok = unpad(h, b[frameHeaderBytes:frameHeaderBytes+h.length])
	if !ok || req.length >= 0 && req.length != int64(len(body)) {
		return nil, false // dataFrame says what is wrong
	}
	c.r += frameHeaderBytes + h.length
	c.take(int64(h.length))
	return body, true
}

// take counts data against the connection's window, and gives the peer more of
// it: what one connection may make us keep is bounded by Config.BufferBytes, so
// that no request waits for another one.
func (c *conn) take(n int64) {
	c.recvWindow -= n
	if c.recvTaken += n; c.recvTaken >= connWindow/4 {
		c.out = appendWindowUpdate(c.out, 0, uint32(c.recvTaken))
		c.recvWindow += c.recvTaken
		c.recvTaken = 0
	}
}

// trailers handles a header block after a request's data.
func (c *conn) trailers(st *stream, end bool) error {
	c.endGroup()
	switch {
	case st.reset:
		return c.spend(AbuseClosed)
	case st.ended:
		return &connError{codeStreamClosed, "HEADERS after the end of a request", AbuseProtocol}
	case !end || isRequest(c.work.fields):
		c.cancel(st, codeProtocol)
		return c.offend(AbuseProtocol)
	}
	for i := range c.work.fields {
		if c.work.fields[i].Tag&0xff == tagMalformed {
			c.cancel(st, codeProtocol)
			return c.offend(AbuseProtocol)
		}
	}
	return c.endRequest(st)
}

// isRequest reports whether fields begin a request, rather than end one: the
// first is a pseudo-field.
func isRequest(fields []hpack.Field) bool {
	return len(fields) > 0 && len(fields[0].Name) > 0 && fields[0].Name[0] == ':'
}

// dataFrame handles DATA that did not come with its request.
func (c *conn) dataFrame(h frameHeader, payload []byte) error {
	c.endGroup()
	if h.stream == 0 || h.stream > c.lastID {
		return protocolError(fmt.Sprintf("DATA on stream %d, which is not open", h.stream))
	}
	if int64(h.length) > c.recvWindow {
		return &connError{codeFlowControl, "more data than the connection's window", AbuseFlowControl}
	}
	c.take(int64(h.length))
	data, ok := unpad(h, payload)
	if !ok {
		return protocolError("more padding than payload")
	}
	end := h.flags&flagEndStream != 0
	if len(data) == 0 && !end {
		if err := c.spend(AbuseEmpty); err != nil {
			return err
		}
	}
	return c.data(h, data, end)
}

// data handles the payload of DATA.
func (c *conn) data(h frameHeader, data []byte, end bool) error {
	st := c.streams[h.stream]
	switch {
	case c.goingAway >= awayFinal && h.stream > c.finalID:
		return nil
	case st != nil && st.reset:
		return c.spend(AbuseClosed)
	case st == nil || st.ended:
		c.resetStream(h.stream, codeStreamClosed)
		return c.spend(AbuseClosed)
	case int64(h.length) > st.recvWindow:
		c.cancel(st, codeFlowControl)
		return c.offend(AbuseFlowControl)
	}
	st.recvWindow -= int64(h.length)
	st.got += int64(len(data))
	if st.req.length >= 0 && (st.got > st.req.length || end && st.got != st.req.length) {
		c.cancel(st, codeProtocol)
		return c.offend(AbuseProtocol)
	}
	if padding := h.length - len(data); padding > 0 {
		c.give(st, int64(padding)) // nobody will read it
	}
	if !c.keepData(st, data) {
		return nil
	}
	if end {
		return c.endRequest(st)
	}
	return nil
}

// keepData adds to a stream's body. It returns false if the stream is over.
func (c *conn) keepData(st *stream, data []byte) bool {
	if st.reset {
		return false
	}
	if st.req.early != notEarly || st.rest != nil && st.rest.closed {
		c.give(st, int64(len(data)))
		return true
	}
	if c.held+len(data) > c.srv.cfg.BufferBytes {
		c.srv.count(AbuseBuffer)
		c.refuseStream(st, c.tooMuch())
		return false
	}
	c.held -= st.bodyBytes()
	c.addBody(st, data)
	c.held += st.bodyBytes()
	if st.rest != nil {
		st.rest.wake.Broadcast()
		return true
	}
	if most := c.srv.cfg.MessageBytes; len(st.body) > most+messagePrefix {
		c.refuseStream(st, Refusal{statusResourceExhausted, fmt.Sprintf("the message is too long: at most %d bytes", most)})
		return false
	}
	c.give(st, int64(len(data)))
	return true
}

// tooMuch refuses a request that would pass Config.BufferBytes.
func (c *conn) tooMuch() Refusal {
	return Refusal{statusResourceExhausted, fmt.Sprintf("the connection's requests are more than %d bytes together", c.srv.cfg.BufferBytes)}
}

// bodyBytes is what a stream's body counts against Config.BufferBytes.
func (st *stream) bodyBytes() int {
	if st.lent != nil {
		return cap(*st.lent)
	}
	return len(st.body)
}

// addBody adds data to what is unread of a body. Bodies of Rest are in buffers
// of a pool while there is room: a long stream would leave much garbage.
func (c *conn) addBody(st *stream, data []byte) {
	need := len(st.body) + len(data)
	if st.rest != nil && st.lent == nil && len(st.body) == 0 {
		b := c.srv.getBody()
		if c.held+max(cap(*b), need) <= c.srv.cfg.BufferBytes {
			st.lent, st.body = b, (*b)[:0]
		} else {
			c.srv.putBody(b)
		}
	}
	if st.lent == nil {
		st.body = append(st.body, data...)
		return
	}
	switch {
	case need <= cap(st.body):
	case need <= cap(*st.lent):
		st.body = append((*st.lent)[:0], st.body...) // its beginning is free again
	default:
		room := max(need, 2*cap(*st.lent))
		if c.held+room > c.srv.cfg.BufferBytes {
			room = need
		}
		*st.lent = make([]byte, 0, room)
		st.body = append(*st.lent, st.body...)
	}
	st.body = append(st.body, data...)
}

// give lets the peer send n bytes more on a stream.
func (c *conn) give(st *stream, n int64) {
	if st.recvTaken += n; st.recvTaken >= streamWindow/4 && !st.ended && !st.reset {
		c.out = appendWindowUpdate(c.out, st.id, uint32(st.recvTaken))
		st.recvWindow += st.recvTaken
		st.recvTaken = 0
	}
}

// endRequest handles the end of a request's data.
func (c *conn) endRequest(st *stream) error {
	st.ended = true
	if st.req.length >= 0 && st.got != st.req.length {
		c.cancel(st, codeProtocol)
		return c.offend(AbuseProtocol)
	}
	switch {
	case st.rest != nil:
		st.rest.wake.Broadcast()
	case st.req.early != notEarly:
		c.forget(st)
		st.req.ended = true
		c.answerEarly(st.id, &st.req, st)
	default:
		c.fastRequest(st.id, &st.req, st.body, st)
		c.endGroup() // the body may not change under it
	}
	return nil
}

// unhold forgets what a stream kept.
func (c *conn) unhold(st *stream) {
	c.held -= st.bodyBytes() + st.taken + len(st.answer)
	st.body, st.lent, st.taken, st.answer = nil, nil, 0, nil
}

// refuseStream answers a stream with a status before its end.
func (c *conn) refuseStream(st *stream, r Refusal) {
	if st.rest != nil {
		c.cancel(st, codeEnhanceCalm) // its answer may have begun
		return
	}
	c.forget(st)
	c.refuse(st.id, st.ended, r)
}

// refuse answers a request with a status before its end.
func (c *conn) refuse(id uint32, ended bool, r Refusal) {
	c.srv.refused()
	c.answerStatus(id, 200, r.Code, r.Message)
	if !ended {
		c.resetStream(id, codeNone)
	}
}

// answerEarly answers a request that is no gRPC request, or no good one. What is
// none at all gets an answer that people can read, when it has ended; st is its
// stream, if it has one.
func (c *conn) answerEarly(id uint32, req *request, st *stream) {
	httpStatus, r := 400, Refusal{Code: statusInternal}
	switch req.early { //nolint:exhaustive // it is early
	case earlyMethod:
		c.srv.refused()
		c.answerText(id, st, "405", "This port speaks gRPC: the method must be POST.\n")
		return
	case earlyContentType:
		c.srv.refused()
		c.answerText(id, st, "415", "This port speaks gRPC: content-type must be application/grpc.\n")
		return
	case earlyTimeout:
		r.Message = "grpc-timeout: must be 1 to 8 digits and a unit of HMSmun"
	case earlyBinary:
		r.Message = "a field whose name ends in -bin is not base64"
	case earlyTooLong:
		httpStatus = 431
		r = Refusal{statusResourceExhausted, fmt.Sprintf("the header list is too long: at most %d bytes", c.srv.cfg.HeaderBytes)}
	}
	c.srv.refused()
	c.answerStatus(id, httpStatus, r.Code, r.Message)
	if !req.ended {
		c.resetStream(id, codeNone)
	}
}

// resetStream tells the peer that a stream is over.
func (c *conn) resetStream(id uint32, code errorCode) {
	c.grow()
	c.out = appendReset(c.out, id, code)
	c.resets[c.reset%len(c.resets)] = id
	c.reset++
}

// cancel ends a stream with an error that the peer made.
func (c *conn) cancel(st *stream, code errorCode) {
	c.resetStream(st.id, code)
	c.drop(st)
}

// drop ends a stream of which nothing more is sent. One that somebody still
// works for keeps its entry until he is done, so that it counts.
func (c *conn) drop(st *stream) {
	st.reset = true
	c.held -= len(st.answer)
	st.answer = nil
	switch {
	case st.rest != nil:
		c.unhold(st)
		st.rest.over()
	case st.call == nil:
		c.forget(st)
	}
}

// forget removes a stream's entry.
func (c *conn) forget(st *stream) {
	c.unhold(st)
	c.held -= st.headers
	st.headers = 0
	delete(c.streams, st.id)
	if st.blockedAt != 0 {
		c.blocked = slices.DeleteFunc(c.blocked, func(other *stream) bool { return other == st })
	}
}

// abandon ends a stream of a dead connection.
func (c *conn) abandon(st *stream) {
	if st.rest != nil && !st.reset {
		c.drop(st)
	}
}
