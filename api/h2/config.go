package h2

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Config says what to serve and within which bounds. Start from Default.
type Config struct {
	// Fast are the unary methods that are answered on the read loop, by full
	// method such as "/grpc.health.v1.Health/Check"; at most 1,000.
	Fast map[string]Unary
	// Rest answers all other methods, each call in a goroutine of its own; nil
	// answers UNIMPLEMENTED. Only well-formed gRPC requests reach it.
	Rest http.Handler

	// Now is the clock, in nanoseconds; it never goes back. Required. It is read
	// once for each batch of frames.
	Now func() int64
	// CPU is the processor time that the process has used, in nanoseconds. It
	// tells a wait for a processor that is the process's own doing. nil: calls are
	// Shed only where one connection sends more than its loop can take.
	CPU func() int64
	// Accept is asked about each connection; an error closes it. nil: all may.
	Accept func(net.Conn) error
	// Authorize is asked about each request, before its body is read. It must
	// not block. nil: all may.
	Authorize func(*Headers) Refusal
	// TLS makes the port speak TLS, with ALPN "h2". nil: cleartext with prior
	// knowledge.
	TLS *tls.Config
	// Panic is told of a panic of a Unary or of Rest. nil: nobody is.
	Panic func(method string, value any, stack []byte)

	// Connections is how many may be open at once, in [1, 1,000,000]. One more
	// is told so by GOAWAY and closed.
	Connections int
	// Streams is how many requests one connection may have in flight, in
	// [1, 1,000,000]; one more is refused, to be tried again.
	Streams int
	// StreamsTotal is what all connections share: each is allowed its part of
	// it, at most Streams and at least 8. In [Streams, 2³¹).
	StreamsTotal int
	// MessageBytes bounds a request's message, in [1, 64 MiB]; also of a gzipped
	// one when it is unpacked.
	MessageBytes int
	// HeaderBytes bounds a request's header list, each field 32 bytes longer
	// than its text, in [1 KiB, 1 MiB].
	HeaderBytes int
	// BufferBytes bounds what one connection keeps of request bodies that are
	// not whole yet and of answers that the peer has no room for, in
	// [MessageBytes, 1 GiB]. A request beyond it is refused.
	BufferBytes int

	// ReadAhead is how many bytes of a request's body Rest may have read that it
	// has not reported by Consumed, at least MessageBytes and a few; 0: what it
	// reads is consumed. grpc.Server reads bodies whether or not its handlers
	// want messages, so it must be bounded by this.
	ReadAhead int

	// HandshakeTimeout bounds TLS and the connection preface, RequestTimeout
	// from a request's headers to its last byte (Fast only), StallTimeout how
	// long a peer may not read, or give no room for, what it asked for.
	HandshakeTimeout, RequestTimeout, StallTimeout time.Duration
	// KeepaliveInterval is how long a connection is silent before it is pinged,
	// and KeepaliveTimeout how long it may then stay silent.
	KeepaliveInterval, KeepaliveTimeout time.Duration
	// KeepaliveClientMin: a client that pings more often, without anything else
	// going on, is sent away. 0 allows any.
	KeepaliveClientMin time.Duration
	// ConnectionAge is when a connection is asked to go away; 0 is never.
	// ConnectionGrace is how long its requests then have.
	ConnectionAge, ConnectionGrace time.Duration
	// BehindMax is how late a read loop may be before it marks new calls Shed; 0
	// is never.
	BehindMax time.Duration
}

// fastMax is how many methods fit a header's tag.
const fastMax = 1000

// Default returns a Config that lacks Fast, Rest and Now.
func Default() Config {
	return Config{
		Connections:        10_000,
		Streams:            1_000,
		StreamsTotal:       200_000,
		MessageBytes:       1 << 20,
		HeaderBytes:        16 << 10,
		BufferBytes:        8 << 20,
		HandshakeTimeout:   10 * time.Second,
		RequestTimeout:     10 * time.Second,
		StallTimeout:       20 * time.Second,
		KeepaliveInterval:  time.Minute,
		KeepaliveTimeout:   20 * time.Second,
		KeepaliveClientMin: 10 * time.Second,
		ConnectionGrace:    10 * time.Second,
		BehindMax:          10 * time.Millisecond,
	}
}

// ConnectionBytes is the most memory, in bytes, that a hostile client can make
// one connection hold between two collections of garbage. To it come, for each
// request, what the Unary or the handler keeps itself (and the stack of its
// goroutine), and twice the longest answer.
func (c *Config) ConnectionBytes() int {
	const (
		output  = 2 * 3 * outBytesMax / 2 // one is written, one collected; they grow by steps
		decoder = 8*tableBytes + 2048     // and 7 header lists: see hpack.Decoder
	)
	block := 2 * (2*c.HeaderBytes + frameBytesMax) // grows by doubling
	work := groupMax*callBytes + 2*c.HeaderBytes   // 56 bytes for a field that counts 32
	// Bodies grow by doubling, too, until they are as long as a message.
	return largeInBytes + output + decoder + 7*c.HeaderBytes + block + work +
		2*c.BufferBytes + c.Streams*streamBytes
}

const (
	callBytes   = 256
	streamBytes = 2 << 10 // an entry, and what a handler's request takes besides its headers
)

// Validate reports all settings that are out of their bounds.
func (c *Config) Validate() error {
	var errs []error
	if c.Now == nil {
		errs = append(errs, errors.New("h2: now: must be set"))
	}
	for _, f := range []struct {
		path         string
		v, low, high int
	}{
		{"fast", len(c.Fast), 0, fastMax},
		{"connections", c.Connections, 1, 1_000_000},
		{"streams", c.Streams, 1, 1_000_000},
		{"streams_total", c.StreamsTotal, c.Streams, 1<<31 - 1},
		{"message_bytes", c.MessageBytes, 1, 64 << 20},
		{"header_bytes", c.HeaderBytes, 1 << 10, 1 << 20},
		{"read_ahead", c.ReadAhead, 0, 1 << 30},
		{"buffer_bytes", c.BufferBytes, c.MessageBytes, 1 << 30},
	} {
		if f.v < f.low || f.v > f.high {
			errs = append(errs, fmt.Errorf("h2: %s: %d is not in [%d, %d]", f.path, f.v, f.low, f.high))
		}
	}
	for _, f := range []struct {
		path   string
		d, low time.Duration
	}{
		{"handshake_timeout", c.HandshakeTimeout, time.Millisecond},
		{"request_timeout", c.RequestTimeout, time.Millisecond},
		{"stall_timeout", c.StallTimeout, time.Millisecond},
		{"keepalive_interval", c.KeepaliveInterval, time.Millisecond},
		{"keepalive_timeout", c.KeepaliveTimeout, time.Millisecond},
		{"keepalive_client_min", c.KeepaliveClientMin, 0},
		{"connection_age", c.ConnectionAge, 0},
		{"connection_grace", c.ConnectionGrace, 1},
		{"behind_max", c.BehindMax, 0},
	} {
		if f.d < f.low {
			errs = append(errs, fmt.Errorf("h2: %s: %v: must be at least %v", f.path, f.d, f.low))
		}
	}
	return errors.Join(errs...)
}
