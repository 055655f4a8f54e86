package h2

import (
	"bytes"
	"crypto/tls"
	"strconv"
	"strings"
	"time"

	"github.com/headgate/headgate/api/h2/hpack"
)

// What a header field means to us is worked out once, when it enters the
// decoder's table: its tag. The low byte is one of these, the rest depends on it.
const (
	tagOther     = iota
	tagMalformed // makes the request malformed (RFC 9113 §8.2)
	tagMethod    // + index of methodNames
	tagScheme
	tagPath // + 1 + index of Server.methods; 0: not a fast one
	tagAuthority
	tagContentType // + 1 if it is gRPC's
	tagTimeout
	tagBadTimeout
	tagEncoding // + encoding
	tagLength
	tagBadBinary // a -bin field that is no base64
)

// The values of grpc-encoding.
const (
	encodingIdentity = iota
	encodingGzip
	encodingUnknown
)

// classify returns the tag of a field.
func (s *Server) classify(name, value []byte) uint32 {
	for _, b := range value {
		if b == 0 || b == '\r' || b == '\n' {
			return tagMalformed
		}
	}
	switch string(name) {
	case ":method":
		if string(value) == "POST" {
			return tagMethod | 1<<8
		}
		return tagMethod
	case ":scheme":
		return tagScheme
	case ":path":
		if len(value) == 0 {
			return tagMalformed
		}
		return tagPath | s.byPath[string(value)]<<8
	case ":authority":
		return tagAuthority
	case "content-type":
		if isGRPC(string(value)) {
			return tagContentType | 1<<8
		}
		return tagContentType
	}
	return classifyRare(name, value)
}

// classifyRare is classify for what few requests have.
func classifyRare(name, value []byte) uint32 {
	switch string(name) {
	case "te":
		if string(value) != "trailers" {
			return tagMalformed
		}
		return tagOther
	case "grpc-timeout":
		if _, ok := parseTimeout(value); !ok {
			return tagBadTimeout
		}
		return tagTimeout
	case "grpc-encoding":
		return tagEncoding | encodingOf(string(value))<<8
	case "content-length":
		if _, err := strconv.ParseUint(string(value), 10, 63); err != nil {
			return tagMalformed
		}
		return tagLength
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return tagMalformed
	}
	return classifyOther(name, value)
}

func classifyOther(name, value []byte) uint32 {
	if len(name) == 0 {
		return tagMalformed
	}
	for _, b := range name {
		if b <= ' ' || b >= 0x7f || b == ':' || 'A' <= b && b <= 'Z' {
			return tagMalformed
		}
	}
	if strings.HasSuffix(string(name), "-bin") && !isBase64(value) {
		return tagBadBinary
	}
	return tagOther
}

// isBase64 reports whether value is what a -bin field holds, padded or not.
func isBase64(value []byte) bool {
	text := value
	if len(value)%4 == 0 {
		for range 2 {
			text = bytes.TrimSuffix(text, []byte("="))
		}
	}
	for _, b := range text {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '+', b == '/':
		default:
			return false
		}
	}
	return len(text)%4 != 1
}

func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

func encodingOf(value string) uint32 {
	switch value {
	case "identity", "":
		return encodingIdentity
	case "gzip":
		return encodingGzip
	default:
		return encodingUnknown
	}
}

// parseTimeout reads a grpc-timeout: 1 to 8 digits and a unit.
func parseTimeout(value []byte) (ns int64, ok bool) {
	if len(value) < 2 || len(value) > 9 {
		return 0, false
	}
	var unit time.Duration
	switch value[len(value)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false
	}
	var n int64
	for _, b := range value[:len(value)-1] {
		if b < '0' || b > '9' {
			return 0, false
		}
		n = 10*n + int64(b-'0')
	}
	if n > (1<<63-1)/int64(unit) {
		return 1<<63 - 1, true
	}
	return n * int64(unit), true
}

// A request is what the header block of a request says.
type request struct {
	method   *method // nil: not a fast one
	timeout  int64   // ns; 0: none
	length   int64   // content-length; −1: none
	encoding uint8
	encoded  []byte // the grpc-encoding that is unknown; a view
	early    early
	ended    bool // there is no body
}

// early is why a request is answered before its body is looked at.
type early uint8

const (
	notEarly early = iota
	earlyMethod
	earlyContentType
	earlyTimeout
	earlyBinary
	earlyTooLong
)

// read fills r from fields. It returns false if the request is malformed.
func (r *request) read(s *Server, fields []hpack.Field) (ok bool) {
	*r = request{length: -1}
	const (
		sawMethod = 1 << iota
		sawScheme
		sawPath
		sawAuthority
		sawRegular
	)
	seen := 0
	once := func(bit int) bool { again := seen & bit; seen |= bit; return again == 0 }
	grpc, post := false, false
	for i := range fields {
		f := &fields[i]
		kind, more := f.Tag&0xff, f.Tag>>8
		if len(f.Name) == 0 || f.Name[0] != ':' {
			seen |= sawRegular
		} else if seen&sawRegular != 0 {
			return false
		}
		switch kind {
		case tagMalformed:
			return false
		case tagMethod:
			post, ok = more == 1, once(sawMethod)
		case tagScheme:
			ok = once(sawScheme)
		case tagPath:
			ok = once(sawPath)
			if more != 0 {
				r.method = &s.methods[more-1]
			}
		case tagAuthority:
			ok = once(sawAuthority)
		case tagContentType:
			grpc, ok = more == 1, true
		default:
			ok = r.readRare(kind, more, f.Value)
		}
		if !ok {
			return false
		}
	}
	switch {
	case !grpc:
		r.early = earlyContentType
	case !post:
		r.early = earlyMethod
	}
	const needed = sawMethod | sawScheme | sawPath
	return seen&needed == needed
}

// readRare reads the fields that few requests have.
func (r *request) readRare(kind, more uint32, value []byte) (ok bool) {
	switch kind {
	case tagTimeout:
		r.timeout, _ = parseTimeout(value)
		r.timeout = max(r.timeout, 1)
	case tagBadTimeout:
		r.early = earlyTimeout
	case tagBadBinary:
		r.early = earlyBinary
	case tagEncoding:
		r.encoding = uint8(more)
		if more == encodingUnknown {
			r.encoded = value
		}
	case tagLength:
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil || r.length >= 0 && r.length != n {
			return false
		}
		r.length = n
	}
	return true
}

// Headers are a request's header fields, while Config.Authorize looks at them.
type Headers struct {
	fields []hpack.Field
	conn   *conn
}

// TLS returns the state of the connection's encryption, with the certificate that
// the client has shown, if any; nil: it is cleartext.
func (h *Headers) TLS() *tls.ConnectionState { return h.conn.tls }

// Get returns the value of the first field with a name, which is in lower case,
// and whether there is one. Pseudo-fields such as ":path" are fields, too. The
// value is valid until Authorize returns.
func (h *Headers) Get(name string) (value []byte, ok bool) {
	for i := range h.fields {
		if string(h.fields[i].Name) == name {
			return h.fields[i].Value, true
		}
	}
	return nil, false
}
