package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// statusesMax is one more than the largest HTTP status.
const statusesMax = 600

// chunkLineMax bounds what stands before a chunk.
const chunkLineMax = 1 << 10

var errHTTP1 = errors.New("not an answer of HTTP/1.1")

// An http1 is an HTTP/1.1 connection that is kept open. It has one request in
// flight: there is no pipelining, which servers and proxies differ about.
type http1 struct {
	link
	head  []byte // of every request
	start int64  // of the request in flight, if active

	part    part
	status  int  // of the answer that is being read
	left    int  // bytes until its body, or its chunk, ends
	read    int  // bytes of its body
	closing bool // the server closes after it
	chunked bool
}

// A part is what of an answer comes next.
type part uint8

const (
	partHead      part = iota
	partBody           // of a known length
	partChunkLine      // the size of the next chunk
	partChunk          // and the line end after it
	partTrailer        // lines after the last chunk, then an empty one
)

func newHTTP1(l *lane, nc net.Conn) *http1 {
	h := &http1{link: newLink(l, nc, 1)}
	h.dialect = h
	h.head = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: headgate-bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		l.workload.path, l.target, len(l.workload.body))
	return h
}

func (h *http1) canOpen() bool { return !h.retired && h.active < h.limit }

func (h *http1) open(start int64, _ uint8) {
	h.start = start
	h.began()
	h.out = append(h.out, h.head...)
	h.out = h.l.workload.appendBody(h.out, h.l.keys)
}

func (h *http1) leave() {}

// abandon ends the request in flight. It is never sent again: the server may have
// charged it.
func (h *http1) abandon(f fault) {
	if h.active > 0 {
		h.l.recordFault(h.start, f)
		h.ended()
	}
}

// arrived handles what has arrived of the answer.
func (h *http1) arrived() (need int, err error) {
	for h.br.Buffered() > 0 {
		b, _ := h.br.Peek(h.br.Buffered())
		n, err := h.take(b)
		if err != nil {
			h.abandon(faultResponse)
			return 0, err
		}
		if n == 0 { // all of it is the beginning of something
			return len(b) + 1, nil
		}
		if _, err := h.br.Discard(n); err != nil {
			return 0, err
		}
	}
	return 1, nil
}

// take reads a part of the answer from b, and returns how long it was; 0 if b has
// not all of it.
func (h *http1) take(b []byte) (n int, err error) {
	if h.active == 0 {
		return 0, fmt.Errorf("%w: nothing was asked", errHTTP1)
	}
	switch h.part {
	case partBody, partChunk:
		n = min(h.left, len(b))
		if h.left -= n; h.left > 0 {
			return n, nil
		}
		if h.part == partChunk {
			h.part = partChunkLine
		} else {
			h.answered()
		}
		return n, nil
	case partHead:
		i := bytes.Index(b, []byte("\r\n\r\n"))
		if i < 0 {
			return 0, h.tooLong(len(b), receiveBuffer)
		}
		return i + 4, h.onHead(b[:i+2])
	default:
		i := bytes.Index(b, []byte("\r\n"))
		if i < 0 {
			return 0, h.tooLong(len(b), chunkLineMax)
		}
		if h.part == partTrailer {
			if i == 0 {
				h.answered()
			}
			return i + 2, nil
		}
		return i + 2, h.onChunkLine(b[:i])
	}
}

func (h *http1) tooLong(n, most int) error {
	if n < most {
		return nil
	}
	return fmt.Errorf("%w: %d bytes without an end", errHTTP1, n)
}

// onHead reads a status line and header fields, each with its line end.
func (h *http1) onHead(b []byte) error {
	line, fields, _ := bytes.Cut(b, []byte("\r\n"))
	// HTTP/1.1 200 OK
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return fmt.Errorf("%w: begins with %.40q", errHTTP1, line)
	}
	status, ok := decimal(line[9:12])
	if !ok || status < 100 || status >= statusesMax {
		return fmt.Errorf("%w: status %q", errHTTP1, line[9:12])
	}
	if status < 200 { // another head follows
		return nil
	}
	h.status, h.left, h.read, h.closing, h.chunked = status, -1, 0, line[7] == '0', false
	for len(fields) > 0 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		if err := h.onField(line); err != nil {
			return err
		}
	}
	switch {
	case h.chunked:
		h.part = partChunkLine
	case status == 204 || status == 304 || h.left == 0:
		h.answered()
	case h.left < 0:
		return fmt.Errorf("%w: a body without a length", errHTTP1)
	default:
		h.part = partBody
		return h.grow(h.left)
	}
	return nil
}

// onField reads a header field.
func (h *http1) onField(line []byte) error {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimSpace(value)
	switch {
	case is(name, "content-length"):
		var ok bool
		if h.left, ok = decimal(value); !ok {
			return fmt.Errorf("%w: content-length: %.40q", errHTTP1, value)
		}
	case is(name, "transfer-encoding"):
		if h.chunked = is(value, "chunked"); !h.chunked {
			return fmt.Errorf("%w: transfer-encoding: %.40q", errHTTP1, value)
		}
	case is(name, "connection"):
		h.closing = h.closing || is(value, "close")
	}
	return nil
}

// onChunkLine reads a chunk's size.
func (h *http1) onChunkLine(b []byte) error {
	size, _, _ := bytes.Cut(b, []byte(";"))
	n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
	if err != nil {
		return fmt.Errorf("%w: a chunk of size %.40q", errHTTP1, size)
	}
	if n == 0 {
		h.part = partTrailer
		return nil
	}
	h.part, h.left = partChunk, int(n)+2
	return h.grow(int(n))
}

// grow bounds the answer's body.
func (h *http1) grow(n int) error {
	if h.read += n; h.read > receiveWindow {
		return fmt.Errorf("%w: more than %d bytes", errHTTP1, receiveWindow)
	}
	return nil
}

// answered ends the request in flight. Only its status counts.
func (h *http1) answered() {
	h.part = partHead
	switch h.status {
	case 200:
		h.l.recordAnswer(h.start, h.now, &outcome{ok: 1})
	case 429:
		h.l.recordAnswer(h.start, h.now, &outcome{over: 1})
	default:
		h.l.recordHTTP(h.start, h.status)
	}
	h.ended()
	if h.closing {
		h.retire()
	}
}

// decimal reads a number of at most nine digits.
func decimal(b []byte) (n int, ok bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

// is reports whether b is word, which is in lower case, whatever the case of b.
func is(b []byte, word string) bool {
	return len(b) == len(word) && strings.EqualFold(string(b), word)
}

// checkJSON renders the body of POST /v1/check for the key whose number is given.
func checkJSON(c *Config, number string) ([]byte, error) {
	entries, err := parseDescriptor(c.Descriptors[0])
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	type pair struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	object, list, seen := []byte("{"), []pair{}, map[string]bool{}
	for i, e := range entries {
		value := strings.ReplaceAll(e.value, placeholder, number)
		if i > 0 {
			object = append(object, ',')
		}
		object = fmt.Appendf(object, "%s:%s", quoteJSON(e.key), quoteJSON(value))
		list, seen[e.key] = append(list, pair{e.key, value}), true
	}
	check := struct {
		Domain     string `json:"domain"`
		Attributes any    `json:"attributes"`
		Cost       uint32 `json:"cost,omitempty"`
	}{Domain: c.Domain, Attributes: json.RawMessage(append(object, '}'))}
	if len(seen) < len(entries) { // a key that repeats
		check.Attributes = list
	}
	if c.Hits != 1 {
		check.Cost = c.Hits
	}
	b, err := json.Marshal(check)
	if err != nil {
		return nil, fmt.Errorf("bench: encode the request: %w", err)
	}
	return b, nil
}

func quoteJSON(s string) []byte {
	b, _ := json.Marshal(s) // of a string it can't fail
	return b
}
