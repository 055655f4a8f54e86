package rpc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/decision"
	"github.com/headgate/headgate/api/h2"
	"github.com/headgate/headgate/api/rls"
)

// Config says how to serve.
type Config struct {
	Bounds  api.Bounds
	Headers rls.Headers
	// ExtAuthzDomain is the domain of ext_authz requests whose route names none; "":
	// they are refused.
	ExtAuthzDomain string

	// Reservations keeps those of the native API; nil: it has none. See
	// decision.Service.
	Reservations decision.Reserver

	// Reflection serves grpc.reflection.v1, and v1alpha for older clients.
	Reflection bool
	// DecideTimeout is how long a decision takes at most, in [1 ms, 1 min].
	// Then on_unavailable decides.
	DecideTimeout time.Duration
	// HeldMax is how many calls are held until their turn at once, in
	// [0, 1,000,000]; see api.Desk.
	HeldMax int
	// Alarm makes the timers of those calls; nil: none is held. See api.Desk.
	Alarm func(ring func()) (set func(time.Duration), stop func() bool)
	// Connections is how many may be open at once, in [1, 1,000,000]. One more
	// is told so by GOAWAY and closed.
	Connections int
	// Streams is how many requests one connection may have in flight, in
	// [1, 1,000,000]. Clients queue the others.
	Streams int
	// StreamsTotal is what all connections share of that, at least Streams: as
	// connections grow, each is told that it may have fewer in flight, at least 8.
	StreamsTotal int
	// BufferBytes bounds what one connection makes us keep of requests that are
	// not complete and of answers that it does not take, in [message_bytes_max,
	// 1 GiB]. What is beyond is refused.
	BufferBytes int
	// HandshakeTimeout bounds TLS and the connection preface, at least 10 ms.
	HandshakeTimeout time.Duration
	// RequestTimeout bounds a unary request from its headers to its last byte,
	// and StallTimeout how long a client may leave an answer untaken before it is
	// disconnected; both at least 10 ms.
	RequestTimeout, StallTimeout time.Duration
	// BehindMax is how late a connection's loop may be before it decides new
	// requests by on_unavailable, at least 0, which is never.
	BehindMax time.Duration
	// CPU is the processor time that the process has used, in nanoseconds, by
	// which the node tells its own load from others'; nil: it can't.
	CPU func() int64
	// Authorize is asked about each request's headers; nil allows all.
	Authorize func(*h2.Headers) h2.Refusal
	// KeepaliveInterval is how long a connection is silent before it is pinged,
	// and KeepaliveTimeout how long that ping may take before the connection is
	// closed; at least 1 s and 100 ms.
	KeepaliveInterval, KeepaliveTimeout time.Duration
	// KeepaliveClientMin: a client that pings more often is disconnected. 0
	// allows any.
	KeepaliveClientMin time.Duration
	// ConnectionAge is when a connection is asked to go away, so that clients
	// spread over new nodes; 0 is never, else at least 1 s. ConnectionGrace,
	// positive, is how long its requests then have.
	ConnectionAge, ConnectionGrace time.Duration
	// TLS encrypts connections; its handshake counts as a connection's. Nil:
	// cleartext, HTTP/2 with prior knowledge.
	TLS *tls.Config
}

// Default returns the documented defaults.
func Default() Config {
	return Config{
		Bounds:             api.DefaultBounds(),
		Headers:            rls.DefaultHeaders(),
		Reflection:         true,
		DecideTimeout:      15 * time.Millisecond,
		HeldMax:            api.HeldDefault,
		Connections:        10_000,
		Streams:            1_000,
		StreamsTotal:       200_000,
		BufferBytes:        8 << 20,
		HandshakeTimeout:   10 * time.Second,
		RequestTimeout:     10 * time.Second,
		StallTimeout:       20 * time.Second,
		BehindMax:          10 * time.Millisecond,
		KeepaliveInterval:  time.Minute,
		KeepaliveTimeout:   20 * time.Second,
		KeepaliveClientMin: 10 * time.Second,
		ConnectionAge:      0,
		ConnectionGrace:    10 * time.Second,
	}
}

// Validate reports all settings that are out of their bounds.
func (c *Config) Validate() error {
	errs := []error{c.Bounds.Validate(), c.Headers.Validate()}
	reject := func(path string, v any, bound string) {
		errs = append(errs, fmt.Errorf("rpc: %s: %v: %s", path, v, bound))
	}
	if c.DecideTimeout < time.Millisecond || c.DecideTimeout > time.Minute {
		reject("decide_timeout", c.DecideTimeout, "must be in [1ms, 1m]")
	}
	for _, f := range []struct {
		path         string
		n, low, high int
	}{
		{"held_max", c.HeldMax, 0, 1_000_000},
		{"connections_max", c.Connections, 1, 1_000_000},
		{"streams_max", c.Streams, 1, 1_000_000},
		{"streams_total_max", c.StreamsTotal, max(c.Streams, 1), 1<<31 - 1},
		{"connection_buffer_max", c.BufferBytes, c.Bounds.MessageBytes, 1 << 30},
	} {
		if f.n < f.low || f.n > f.high {
			reject(f.path, f.n, fmt.Sprintf("must be in [%d, %d]", f.low, f.high))
		}
	}
	for _, f := range []struct {
		path   string
		d, low time.Duration
	}{
		{"keepalive_interval", c.KeepaliveInterval, time.Second},
		{"keepalive_timeout", c.KeepaliveTimeout, 100 * time.Millisecond},
		{"keepalive_client_min", c.KeepaliveClientMin, 0},
		{"connection_grace", c.ConnectionGrace, time.Nanosecond},
		{"handshake_timeout", c.HandshakeTimeout, 10 * time.Millisecond},
		{"request_timeout", c.RequestTimeout, 10 * time.Millisecond},
		{"stall_timeout", c.StallTimeout, 10 * time.Millisecond},
		{"behind_max", c.BehindMax, 0},
	} {
		if f.d < f.low {
			reject(f.path, f.d, "must be at least "+f.low.String())
		}
	}
	if c.ConnectionAge != 0 && c.ConnectionAge < time.Second {
		reject("connection_age_max", c.ConnectionAge, "must be 0 or at least 1s")
	}
	return errors.Join(errs...)
}
