package h2

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http2"

	"github.com/headgate/headgate/api/h2/hpack"
)

// A restStream is what a stream needs besides, if Config.Rest answers it. It is
// the request's body and the http.ResponseWriter. Guarded by conn.mu, except
// header, which is the handler's.
type restStream struct {
	c      *conn
	st     *stream
	cancel context.CancelFunc
	wake   sync.Cond // the body has more, or the stream is over

	header   http.Header
	trailers []string // declared before the headers were sent
	sent     bool     // the headers are
	closed   bool     // the body is
	stuck    int64    // since when a Write has no room in the windows; 0: none waits
}

// startRest runs Config.Rest for a stream.
func (c *conn) startRest(st *stream) {
	if c.srv.cfg.Rest == nil {
		delete(c.streams, st.id)
		c.refuse(st.id, st.ended, Refusal{statusUnimplemented, "unknown method"})
		return
	}
	if st.headers = listBytes(c.work.fields); c.held+st.headers > c.srv.cfg.BufferBytes {
		st.headers = 0
		c.srv.count(AbuseBuffer)
		c.refuseStream(st, c.tooMuch())
		return
	}
	c.held += st.headers
	// Without the caller's deadline: grpc-go keeps that itself, and takes the end
	// of this context for the loss of the connection, which needs no status.
	ctx, cancel := context.WithCancel(c.srv.ctx)
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, c.raw.LocalAddr())
	r := &restStream{c: c, st: st, cancel: cancel, header: http.Header{}}
	r.wake.L = &c.mu
	st.rest = r
	ctx = context.WithValue(ctx, bodyKey{}, r)
	req := &http.Request{
		Method: http.MethodPost, Proto: "HTTP/2.0", ProtoMajor: 2, URL: &url.URL{}, Header: http.Header{},
		Body: r, ContentLength: st.req.length, RemoteAddr: c.peerName(), TLS: c.tls,
	}
	for i := range c.work.fields {
		f := &c.work.fields[i]
		name, value := string(f.Name), string(f.Value)
		switch name {
		case ":path":
			req.URL.Path, req.RequestURI = value, value
		case ":authority":
			req.Host = value
		case ":method", ":scheme":
		case "host":
			if req.Host == "" {
				req.Host = value
			}
		default:
			key := http.CanonicalHeaderKey(name)
			req.Header[key] = append(req.Header[key], value)
		}
	}
	c.handlers++
	c.srv.handlers.Go(func() { r.serve(req.WithContext(ctx)) })
}

// listBytes is about what a header list takes in an http.Header, in bytes.
func listBytes(fields []hpack.Field) (n int) {
	for i := range fields {
		n += len(fields[i].Name) + len(fields[i].Value) + fieldOverhead
	}
	return n
}

const fieldOverhead = 160 // the field's place in the map, and its slice

// over tells the handler that its stream is.
func (r *restStream) over() {
	r.cancel()
	r.wake.Broadcast()
	r.c.room.Broadcast()
}

// serve runs the handler and ends the stream.
func (r *restStream) serve(req *http.Request) {
	defer r.end()
	defer func() {
		if v := recover(); v != nil {
			r.c.srv.panicked(req.URL.Path, v, debug.Stack())
			r.c.mu.Lock()
			defer r.c.mu.Unlock()
			if !r.st.reset {
				r.c.cancel(r.st, codeInternal)
			}
		}
	}()
	r.c.srv.cfg.Rest.ServeHTTP(r, req)
}

// end sends the trailers.
func (r *restStream) end() {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlers--
	if !r.st.reset && !c.dead {
		if !r.sent {
			r.writeHeaders(http.StatusOK)
		}
		block := c.appendUpdate(nil)
		for _, key := range r.trailers {
			for _, value := range r.header[key] {
				block = appendField(block, key, value)
			}
		}
		for key, values := range r.header {
			if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
				for _, value := range values {
					block = appendField(block, name, value)
				}
			}
		}
		if len(block) > 0 {
			c.appendBlock(r.st.id, block, true)
		} else {
			c.appendData(r.st.id, nil, true)
		}
		if !r.st.ended {
			c.resetStream(r.st.id, codeNone)
		}
		c.srv.rests.Add(1)
		c.budgets.earn()
		c.pings.calm()
	}
	r.st.reset = true
	r.over() // who still reads or writes, if the handler left somebody
	c.forget(r.st)
	c.checkAway()
	c.flush()
}

func appendField(dst []byte, name, value string) []byte {
	return hpack.AppendLiteral(dst, strings.ToLower(name), value)
}

// appendBlock appends a header block, in as many frames as it takes.
func (c *conn) appendBlock(id uint32, block []byte, end bool) {
	h := frameHeader{0, frameHeaders, 0, id}
	if end {
		h.flags = flagEndStream
	}
	for {
		h.length = min(len(block), frameBytesMax)
		if h.length == len(block) {
			h.flags |= flagEndHeaders
		}
		c.out = append(appendFrameHeader(c.out, h), block[:h.length]...)
		if block = block[h.length:]; len(block) == 0 {
			return
		}
		h.kind, h.flags = frameContinuation, 0
	}
}

// Header returns the response's header.
func (r *restStream) Header() http.Header { return r.header }

// WriteHeader sends the response's header.
func (r *restStream) WriteHeader(code int) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if !r.sent && !r.st.reset {
		r.writeHeaders(code)
	}
}

func (r *restStream) writeHeaders(code int) {
	r.sent = true
	c := r.c
	c.grow()
	block := c.appendUpdate(nil)
	block = appendField(block, ":status", strconv.Itoa(code))
	for key, values := range r.header {
		switch {
		case key == "Trailer":
			for _, list := range values {
				for name := range strings.SplitSeq(list, ",") {
					r.trailers = append(r.trailers, http.CanonicalHeaderKey(strings.TrimSpace(name)))
				}
			}
		case strings.HasPrefix(key, http.TrailerPrefix), key == "Connection", key == "Transfer-Encoding":
		default:
			for _, value := range values {
				block = appendField(block, key, value)
			}
		}
	}
	c.appendBlock(r.st.id, block, false)
}

// Write sends a part of the response's body, when the windows have room.
func (r *restStream) Write(p []byte) (n int, err error) {
	c, st := r.c, r.st
	c.mu.Lock()
	defer c.mu.Unlock()
	if !r.sent && !st.reset {
		r.writeHeaders(http.StatusOK)
	}
	for len(p) > 0 {
		c.makeRoom()
		if st.reset || c.over() != nil {
			return n, streamError(st.id, codeCancel)
		}
		room := min(int64(len(p)), c.peerFrame, c.sendWindow, st.sendWindow)
		if room <= 0 {
			if r.stuck == 0 {
				r.stuck = c.srv.cfg.Now()
			}
			c.waitRoom()
			continue
		}
		r.stuck = 0
		c.appendBody(st.id, p[:room])
		c.sendWindow -= room
		st.sendWindow -= room
		p = p[room:]
		n += int(room)
	}
	return n, nil
}

// waitRoom waits for room in the windows, or writes what would keep the peer
// from giving any: then there may be some meanwhile.
func (c *conn) waitRoom() {
	if len(c.out) > 0 && !c.writing {
		c.flush()
		return
	}
	c.waiting++
	c.room.Wait()
	c.waiting--
}

// appendBody appends b to the DATA frame that ends the output, if it is the
// stream's own, else as a frame.
func (c *conn) appendBody(id uint32, b []byte) {
	if t := &c.tail; t.stream == id && t.end == len(c.out) && t.end-t.at+len(b) <= frameBytesMax {
		c.out = append(c.out, b...)
		t.end = len(c.out)
		putFrameLength(c.out[t.at:], t.end-t.at-frameHeaderBytes)
		return
	}
	c.grow()
	c.tail = tail{stream: id, at: len(c.out)}
	c.appendData(id, b, false)
	c.tail.end = len(c.out)
	c.budgets.earn()
	c.pings.calm()
}

// Flush writes what was sent.
func (r *restStream) Flush() {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if !r.sent && !r.st.reset {
		r.writeHeaders(http.StatusOK)
	}
	r.c.flush()
}

// Read reads the request's body.
func (r *restStream) Read(p []byte) (n int, err error) {
	c, st := r.c, r.st
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := r.awaitBody(); err != nil {
		return 0, err
	}
	most := c.srv.cfg.ReadAhead
	if most > 0 {
		p = p[:min(len(p), most-st.taken)]
	}
	c.held -= st.bodyBytes()
	n = copy(p, st.body)
	if most > 0 {
		st.taken += n
		c.held += n
	}
	if st.body = st.body[n:]; len(st.body) == 0 {
		c.srv.putBody(st.lent)
		st.body, st.lent = nil, nil
	}
	c.held += st.bodyBytes()
	before := len(c.out)
	c.give(st, int64(n))
	if len(c.out) > before {
		c.flush()
	}
	return n, nil
}

// awaitBody waits until there is something to read, and says if there never will.
func (r *restStream) awaitBody() error {
	c, st := r.c, r.st
	most := c.srv.cfg.ReadAhead
	for !st.reset && !c.dead && !r.closed && (len(st.body) == 0 && !st.ended || most > 0 && st.taken >= most) {
		r.wake.Wait()
	}
	switch {
	case st.reset || c.dead:
		return streamError(st.id, codeCancel)
	case r.closed:
		return errBodyClosed()
	case len(st.body) == 0:
		return io.EOF
	}
	return nil
}

// bodyKey is the context key of a request's restStream.
type bodyKey struct{}

// Consumed tells that the handler of Config.Rest whose request has ctx is done
// with n bytes of its body: see Config.ReadAhead. It has no effect if ctx is not
// of such a request.
func Consumed(ctx context.Context, n int) {
	r, ok := ctx.Value(bodyKey{}).(*restStream)
	if !ok {
		return
	}
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	n = min(n, r.st.taken)
	r.st.taken -= n
	r.c.held -= n
	r.wake.Broadcast()
}

func errBodyClosed() error { return errors.New("h2: body closed by handler") }

// Close closes the request's body.
func (r *restStream) Close() error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.closed = true
	if n := len(r.st.body); n > 0 {
		r.c.held -= r.st.bodyBytes()
		r.st.body, r.st.lent = nil, nil
		r.c.give(r.st, int64(n))
	}
	r.wake.Broadcast()
	r.c.flush()
	return nil
}

// streamError is what a handler sees of a stream that is over, in the terms
// that grpc-go knows.
func streamError(id uint32, code errorCode) error {
	return http2.StreamError{StreamID: id, Code: http2.ErrCode(code)}
}

var (
	_ http.ResponseWriter = (*restStream)(nil)
	_ http.Flusher        = (*restStream)(nil)
)
