package bench

import (
	"bytes"
	"fmt"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	statusNone = -1 // a header block without a grpc-status
	knownMax   = 4  // header blocks whose meaning is remembered
	knownBytes = 64 // how long one may be
)

// responseHeaders reads the header blocks of answers. Nearly all are the same two
// or three, so it remembers what a block meant: as long as the table stays as it
// is, the same bytes mean the same.
type responseHeaders struct {
	dec *hpack.Decoder

	// The block that is being read.
	open      bool // its end has not come
	stream    uint32
	length    int
	endStream bool
	status    int

	known [knownMax]struct {
		block  []byte // empty: free
		status int
	}
	oldest int // of known
}

// field is called with each field of a block.
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

// block reads p, a whole block.
func (r *responseHeaders) block(p []byte) error {
	for i := range r.known {
		if k := &r.known[i]; bytes.Equal(k.block, p) && len(p) > 0 {
			r.status = k.status
			return nil
		}
	}
	if err := r.piece(p); err != nil {
		return err
	}
	if err := r.end(); err != nil {
		return err
	}
	switch {
	case changesTable(p):
		r.forget()
	case len(p) <= knownBytes:
		k := &r.known[r.oldest]
		k.block, k.status = append(k.block[:0], p...), r.status
		r.oldest = (r.oldest + 1) % knownMax
	}
	return nil
}

// piece reads a part of a block.
func (r *responseHeaders) piece(p []byte) error {
	if _, err := r.dec.Write(p); err != nil {
		return fmt.Errorf("response headers: %w", err)
	}
	return nil
}

// end ends a block.
func (r *responseHeaders) end() error {
	if err := r.dec.Close(); err != nil {
		return fmt.Errorf("response headers: %w", err)
	}
	return nil
}

// forget forgets the meaning of all blocks.
func (r *responseHeaders) forget() {
	for i := range r.known {
		r.known[i].block = r.known[i].block[:0]
	}
}

func (c *conn) onHeaders(h frameHeader, p []byte) error {
	r := &c.headers
	whole := h.flags.Has(http2.FlagHeadersEndHeaders)
	if h.kind == http2.FrameHeaders {
		r.stream, r.length, r.status = h.stream, 0, statusNone
		r.endStream = h.flags.Has(http2.FlagHeadersEndStream)
		var ok bool
		if p, ok = fragment(h, p); !ok {
			return errProtocol
		}
	}
	if r.length += len(p); r.length > headersMax {
		return errProtocol
	}
	if h.kind == http2.FrameHeaders && whole {
		if err := r.block(p); err != nil {
			return err
		}
	} else {
		r.open = !whole
		r.forget()
		if err := r.piece(p); err != nil || r.open {
			return err
		}
		if err := r.end(); err != nil {
			return err
		}
	}
	return c.onBlock()
}

// onBlock handles the header block that has been read.
func (c *conn) onBlock() error {
	r := &c.headers
	if k := c.call; k != nil {
		if r.endStream && r.stream == k.id && k.id != 0 && !k.over {
			c.onCallEnd(r.status)
		}
		return nil
	}
	if s := c.find(r.stream); s != nil {
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
func fragment(h frameHeader, p []byte) ([]byte, bool) {
	padding := 0
	if h.flags.Has(http2.FlagHeadersPadded) {
		if len(p) == 0 {
			return nil, false
		}
		padding, p = int(p[0]), p[1:]
	}
	if h.flags.Has(http2.FlagHeadersPriority) {
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

// changesTable reports whether reading a header block changes HPACK's table, or
// whether that can't be told.
func changesTable(p []byte) bool {
	for len(p) > 0 {
		first := p[0]
		var ok bool
		switch {
		case first&0x80 != 0: // an entry of the table
			_, p, ok = skipInt(p, 7)
		case first&0xe0 != 0: // a new entry, or a new size
			return true
		default: // a literal
			var name int
			if name, p, ok = skipInt(p, 4); ok && name == 0 {
				p, ok = skipText(p)
			}
			if ok {
				p, ok = skipText(p)
			}
		}
		if !ok {
			return true
		}
	}
	return false
}

// skipInt reads an integer of HPACK whose first byte has n bits of it, and returns
// what follows. It takes none beyond 2²⁸.
func skipInt(p []byte, n int) (v int, rest []byte, ok bool) {
	if len(p) == 0 {
		return 0, nil, false
	}
	limit := 1<<n - 1
	if v = int(p[0]) & limit; v < limit {
		return v, p[1:], true
	}
	for i := 1; i < len(p) && i <= 4; i++ {
		v += int(p[i]&0x7f) << (7 * (i - 1))
		if p[i] < 0x80 {
			return v, p[i+1:], true
		}
	}
	return 0, nil, false
}

func skipText(p []byte) ([]byte, bool) {
	n, p, ok := skipInt(p, 7)
	if !ok || n > len(p) {
		return nil, false
	}
	return p[n:], true
}
