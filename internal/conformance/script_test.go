package conformance

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// messageBytesMax is the bound of a message on both servers. Bodies are small
// enough that a whole script fits the connection's first window.
const messageBytesMax = 4 << 10

const (
	exchangesMax = 3
	payloadMax   = 64
)

// A script is what one connection is asked.
type script struct {
	wait      bool // for each answer before the next request
	exchanges []exchange
}

// An exchange is one request. Every field but payload is an index, modulo its
// length, to the table of the same name.
type exchange struct {
	path, method, scheme, authority, contentType, te, timeout byte
	encoding, metadata, more                                  byte
	body, flag, length, split, padding, end, block            byte
	before, after                                             byte
	payload                                                   []byte
}

func (x *exchange) choices() []*byte {
	return []*byte{
		&x.path, &x.method, &x.scheme, &x.authority, &x.contentType, &x.te, &x.timeout,
		&x.encoding, &x.metadata, &x.more,
		&x.body, &x.flag, &x.length, &x.split, &x.padding, &x.end, &x.block,
		&x.before, &x.after,
	}
}

// parse reads a script from any bytes.
func parse(data []byte) script {
	next := func() byte {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return b
	}
	head := next()
	s := script{wait: head&1 == 0, exchanges: make([]exchange, 1+int(head>>1)%exchangesMax)}
	for i := range s.exchanges {
		x := &s.exchanges[i]
		for _, choice := range x.choices() {
			*choice = next()
		}
		n := min(int(next())%(payloadMax+1), len(data))
		x.payload = data[:n]
		data = data[n:]
	}
	return s
}

// bytes is the inverse of parse, for the corpus.
func (s script) bytes() []byte {
	head := byte(len(s.exchanges)-1) << 1
	if !s.wait {
		head |= 1
	}
	b := []byte{head}
	for i := range s.exchanges {
		x := &s.exchanges[i]
		for _, choice := range x.choices() {
			b = append(b, *choice)
		}
		b = append(b, byte(len(x.payload)))
		b = append(b, x.payload...)
	}
	return b
}

// A field is one header field.
type field struct{ name, value string }

func one(name, value string) []field { return []field{{name, value}} }

func pick[T any](table []T, choice byte) T { return table[int(choice)%len(table)] }

// The first entry of each table is what an ordinary client sends.

func paths() []string {
	return []string{
		rlsPath, checkPath, peekPath, healthPath,
		"/headgate.v1.DecisionService/Nothing",
		"/no.such.Service/Check",
		"/", "nothing", "/headgate.v1.DecisionService", "//", "/headgate.v1.DecisionService/Check/", "/headgate.v1.DecisionService/check",
		"*", "/headgate.v1.DecisionService/Check?x=1", "/a/b/c", "/headgate.v1.DecisionService/",
	}
}

func methods() [][]field {
	return [][]field{
		one(":method", "POST"), one(":method", "GET"), one(":method", "PUT"), nil, one(":method", "post"), one(":method", ""),
		{{":method", "POST"}, {":method", "POST"}},
	}
}

func schemes() [][]field {
	return [][]field{one(":scheme", "http"), one(":scheme", "https"), nil, one(":scheme", "ftp")}
}

func authorities() [][]field {
	return [][]field{
		one(":authority", "headgate.test"), nil, one("host", "headgate.test"),
		{{":authority", "headgate.test"}, {":authority", "headgate.test"}},
		one(":authority", ""), one(":authority", "a b"),
	}
}

func contentTypes() [][]field {
	return [][]field{
		one("content-type", "application/grpc"), one("content-type", "application/grpc+proto"), one("content-type", "application/grpc;charset=utf-8"),
		one("content-type", "application/grpc+json"), one("content-type", "application/grpcx"), one("content-type", "text/plain"),
		nil, one("content-type", ""), one("content-type", "Application/GRPC"), one("content-type", "application/grpc-web"),
		{{"content-type", "application/grpc"}, {"content-type", "application/grpc"}},
		{{"content-type", "application/grpc"}, {"content-type", "text/plain"}},
		{{"content-type", "text/plain"}, {"content-type", "application/grpc"}},
	}
}

func tes() [][]field {
	return [][]field{one("te", "trailers"), nil, one("te", "gzip"), one("te", ""), one("te", "trailers, deflate"), one("te", "Trailers")}
}

// timeouts has none that a busy machine could reach.
func timeouts() [][]field {
	return [][]field{
		nil, one("grpc-timeout", "10M"), one("grpc-timeout", "99999999H"), one("grpc-timeout", "99999999u"), one("grpc-timeout", "100S"),
		one("grpc-timeout", "123456789S"), one("grpc-timeout", ""), one("grpc-timeout", "S"), one("grpc-timeout", "10"), one("grpc-timeout", "-1S"),
		one("grpc-timeout", "10x"), one("grpc-timeout", " 10S"), one("grpc-timeout", "1 S"), one("grpc-timeout", "+10S"), one("grpc-timeout", "00000100S"),
		{{"grpc-timeout", "100S"}, {"grpc-timeout", "200S"}},
		{{"grpc-timeout", "x"}, {"grpc-timeout", "200S"}},
	}
}

func encodings() [][]field {
	return [][]field{
		nil, one("grpc-encoding", "identity"), one("grpc-encoding", "gzip"), one("grpc-encoding", "snappy"), one("grpc-encoding", ""), one("grpc-encoding", "GZIP"),
		one("grpc-accept-encoding", "gzip"), one("grpc-accept-encoding", "identity,snappy"),
		{{"grpc-encoding", "gzip"}, {"grpc-accept-encoding", "identity"}},
		{{"grpc-encoding", "gzip"}, {"grpc-accept-encoding", "gzip"}},
		{{"grpc-encoding", "gzip"}, {"grpc-encoding", "gzip"}},
		{{"grpc-encoding", "snappy"}, {"grpc-encoding", "gzip"}},
		one("content-encoding", "gzip"),
	}
}

// metadata has fields that are no part of gRPC. It is asked twice.
func metadata() [][]field {
	return [][]field{
		nil, one("x-a", "b"), one("user-agent", "grpc-test/1"), one("x-bin", "AAEC"), one("x-bin", "AAE"), one("x-bin", "AAE="), one("x-bin", "!!!"),
		one("x-bin", ""), one("x-bin", "AAEC,AAEC"), one("x-bin", "_-8"), one("-bin", "A"),
		{{"x-bin", "AAEC"}, {"x-bin", "A"}},
		one("grpc-status", "7"), one("grpc-message", "x"), one("grpc-reserved", "x"), one("grpc-tags-bin", "!!!"), one("grpc-trace-bin", "!"),
		one("X-Upper", "a"), one("connection", "keep-alive"), one("transfer-encoding", "chunked"), one("keep-alive", "1"), one("upgrade", "h2c"), one("proxy-connection", "x"),
		one("content-length", "x"), one("content-length", "5"), one("x-long", strings.Repeat("a", 8<<10)), one("x-too-long", strings.Repeat("a", 17<<10)),
		many(40), one("x-value", "a\x00b"), one("x-value", "a\nb"), one("x-value", " a "), one("x-value", "\x80"), one("", "x"), one("x y", "x"), one(":unknown", "x"), one(":status", "200"),
		one(":path", rlsPath), one("cookie", "a=b"),
		{{"cookie", "a=b"}, {"cookie", "c=d"}},
		one("authorization", "Bearer x"), one("host", "other"), one("x-value", ""), one("grpc-timeout-bin", "AAEC"),
		one("expect", "100-continue"), one("trailer", "x"), one("grpc-previous-rpc-attempts", "1"),
	}
}

func many(n int) []field {
	f := make([]field, n)
	for i := range f {
		f[i] = field{fmt.Sprintf("x-%d", i%7), fmt.Sprintf("value %d", i)}
	}
	return f
}

// request is the request that the exchange's method takes.
func (x *exchange) request() []byte {
	switch pick(paths(), x.path) {
	case rlsPath:
		return rlsRequest()
	case healthPath:
		return healthRequest()
	default:
		return checkRequest()
	}
}

const (
	bodyRequest     = "request"
	bodyNone        = "none"
	bodyEmpty       = "empty message"
	bodyPayload     = "payload"
	bodyTwice       = "two messages"
	bodyTooLarge    = "too large"
	bodyLargest     = "largest"
	bodyRaw         = "payload without prefix"
	bodyGzip        = "gzip"
	bodyGzipCut     = "cut gzip"
	bodyGzipBomb    = "gzip of too much"
	bodyGzipGarbage = "gzip and more"
	bodyAndMore     = "request and one byte"
	bodyUnknown     = "unknown domain"
	bodyGzipPayload = "gzip of payload"
)

func bodies() []string {
	return []string{
		bodyRequest, bodyNone, bodyEmpty, bodyPayload, bodyTwice, bodyTooLarge, bodyLargest, bodyRaw,
		bodyGzip, bodyGzipCut, bodyGzipBomb, bodyGzipGarbage, bodyAndMore, bodyUnknown, bodyGzipPayload,
	}
}

// flags are the compressed flag; −1 stands for what fits the body.
func flags() []int { return []int{-1, 0, 1, 2, 255} }

// lengths change a message's length prefix.
func lengths() []string { return []string{"right", "one more", "one less", "huge", "zero"} }

func splits() []string {
	return []string{"whole", "bytes", "prefix apart", "in the prefix", "halves", "empty frames between"}
}

// paddings are how much is added to each DATA frame; −1 leaves the flag out.
func paddings() []int { return []int{-1, 0, 10, 255} }

const (
	endData            = "on the last DATA"
	endEmptyData       = "on an empty DATA"
	endTrailers        = "on trailers"
	endHeaders         = "on HEADERS, no body"
	endReset           = "never: RST_STREAM"
	endPseudoTrailers  = "on trailers with a pseudo field"
	endTrailersBadBin  = "on trailers with bad base64"
	endTrailersUpper   = "on trailers with an upper-case name"
	endTrailersTooLong = "on trailers that are too long"
	endPaddedEmpty     = "on an empty padded DATA"
)

func ends() []string {
	return []string{
		endData, endEmptyData, endTrailers, endHeaders, endReset, endPseudoTrailers, endTrailersBadBin, endTrailersUpper, endTrailersTooLong, endPaddedEmpty,
	}
}

func blocks() []string {
	return []string{"one frame", "CONTINUATION", "empty first frame", "padded", "priority", "padded priority and CONTINUATION", "not indexed", "table size 0 first"}
}

const (
	aroundNothing      = "nothing"
	aroundPing         = "PING"
	aroundPriority     = "PRIORITY"
	aroundUnknown      = "an unknown frame"
	aroundWindow       = "WINDOW_UPDATE"
	aroundUnknownSet   = "an unknown setting"
	aroundSmallWindow  = "SETTINGS_INITIAL_WINDOW_SIZE 1"
	aroundNoTable      = "SETTINGS_HEADER_TABLE_SIZE 0"
	aroundStreamWindow = "WINDOW_UPDATE on the stream"
	aroundStreamPrio   = "PRIORITY on the stream"
)

func befores() []string {
	return []string{aroundNothing, aroundPing, aroundPriority, aroundUnknown, aroundWindow, aroundUnknownSet, aroundSmallWindow, aroundNoTable}
}

func afters() []string {
	return []string{aroundNothing, aroundPing, aroundStreamWindow, aroundStreamPrio, aroundUnknown}
}

// headers returns the request's fields.
func (x *exchange) headers() []field {
	f := []field{}
	f = append(f, pick(methods(), x.method)...)
	f = append(f, pick(schemes(), x.scheme)...)
	f = append(f, one(":path", pick(paths(), x.path))...)
	authority := pick(authorities(), x.authority)
	if len(authority) > 0 && authority[0].name != "host" {
		f = append(f, authority...)
		authority = nil
	}
	f = append(f, authority...)
	f = append(f, pick(contentTypes(), x.contentType)...)
	f = append(f, pick(tes(), x.te)...)
	f = append(f, pick(timeouts(), x.timeout)...)
	f = append(f, pick(encodings(), x.encoding)...)
	f = append(f, pick(metadata(), x.metadata)...)
	return append(f, pick(metadata(), x.more)...)
}

// content returns the body's bytes.
func (x *exchange) content() []byte {
	request := x.request()
	switch body := pick(bodies(), x.body); body {
	case bodyNone:
		return nil
	case bodyEmpty:
		return x.message(nil, false)
	case bodyPayload:
		return x.message(x.payload, false)
	case bodyTwice:
		return append(x.message(request, false), x.message(request, false)...)
	case bodyTooLarge:
		return x.message(make([]byte, messageBytesMax+1), false)
	case bodyLargest:
		return x.message(filler(request, messageBytesMax), false)
	case bodyRaw:
		return x.payload
	case bodyGzip:
		return x.message(zip(request), true)
	case bodyGzipCut:
		z := zip(request)
		return x.message(z[:len(z)-5], true)
	case bodyGzipBomb:
		return x.message(zip(make([]byte, 1<<20)), true)
	case bodyGzipGarbage:
		return x.message(append(zip(request), 1, 2, 3), true)
	case bodyAndMore:
		return append(x.message(request, false), 0)
	case bodyUnknown:
		return x.message([]byte("\x0a\x07nowhere"), false)
	case bodyGzipPayload:
		return x.message(zip(x.payload), true)
	default:
		return x.message(request, false)
	}
}

// filler makes a message of exactly n bytes that means the same: an unknown
// field is what is added.
func filler(message []byte, n int) []byte {
	const number = 1000 // of the field: a tag of two bytes, and two for the length
	rest := n - len(message) - 4
	b := append([]byte{}, message...)
	b = binary.AppendUvarint(b, number<<3|2)
	b = binary.AppendUvarint(b, uint64(rest))
	return append(b, make([]byte, rest)...)
}

func zip(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b) // to memory
	_ = w.Close()
	return out.Bytes()
}

// message puts gRPC's prefix before m.
func (x *exchange) message(m []byte, zipped bool) []byte {
	flag := pick(flags(), x.flag)
	if flag < 0 {
		flag = 0
		if zipped {
			flag = 1
		}
	}
	n := uint32(len(m))
	switch pick(lengths(), x.length) {
	case "one more":
		n++
	case "one less":
		n = max(n, 1) - 1
	case "huge":
		n = 1<<32 - 1
	case "zero":
		n = 0
	}
	b := append(make([]byte, 0, 5+len(m)), byte(flag))
	b = binary.BigEndian.AppendUint32(b, n)
	return append(b, m...)
}

// pieces cuts a body into what each DATA frame has.
func (x *exchange) pieces(body []byte) [][]byte {
	cut := func(at int) [][]byte {
		if at <= 0 || at >= len(body) {
			return [][]byte{body}
		}
		return [][]byte{body[:at], body[at:]}
	}
	switch pick(splits(), x.split) {
	case "bytes":
		pieces := [][]byte{}
		for ; len(body) > 0 && len(pieces) < 20; body = body[1:] {
			pieces = append(pieces, body[:1])
		}
		return append(pieces, body)
	case "prefix apart":
		return cut(5)
	case "in the prefix":
		return cut(3)
	case "halves":
		return cut(len(body) / 2)
	case "empty frames between":
		c := cut(7)
		return append([][]byte{nil, c[0], nil}, c[1:]...)
	default:
		return [][]byte{body}
	}
}

// cancelled says that the exchange is given up by its own RST_STREAM: whether an
// answer comes before is chance.
func (x *exchange) cancelled() bool { return pick(ends(), x.end) == endReset }

// String describes the exchange in one line, without what is ordinary.
func (x *exchange) String() string {
	var b strings.Builder
	for _, f := range x.headers() {
		v := f.value
		if len(v) > 80 {
			v = fmt.Sprintf("%.20s… (%d bytes)", v, len(v))
		}
		fmt.Fprintf(&b, "%s=%q ", f.name, v)
	}
	for _, name := range []string{":method", ":scheme", ":authority", "content-type"} {
		if !slices.ContainsFunc(x.headers(), func(f field) bool { return f.name == name }) {
			fmt.Fprintf(&b, "no %s ", name)
		}
	}
	fmt.Fprintf(&b, "body=%q ", pick(bodies(), x.body))
	for _, c := range []struct {
		name  string
		value any
		usual bool
	}{
		{"flag", pick(flags(), x.flag), pick(flags(), x.flag) < 0},
		{"length", pick(lengths(), x.length), pick(lengths(), x.length) == "right"},
		{"split", pick(splits(), x.split), pick(splits(), x.split) == "whole"},
		{"padding", pick(paddings(), x.padding), pick(paddings(), x.padding) < 0},
		{"end", pick(ends(), x.end), pick(ends(), x.end) == endData},
		{"block", pick(blocks(), x.block), pick(blocks(), x.block) == "one frame"},
		{"before", pick(befores(), x.before), pick(befores(), x.before) == aroundNothing},
		{"after", pick(afters(), x.after), pick(afters(), x.after) == aroundNothing},
	} {
		if !c.usual {
			fmt.Fprintf(&b, "%s=%q ", c.name, fmt.Sprint(c.value))
		}
	}
	if len(x.payload) > 0 {
		fmt.Fprintf(&b, "payload=%q", x.payload)
	}
	return strings.TrimSpace(b.String())
}
