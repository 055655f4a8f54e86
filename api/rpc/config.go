package rpc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/rls"
)

// Config says how to serve.
type Config struct {
	Bounds  api.Bounds
	Headers rls.Headers

	// Reflection serves grpc.reflection.v1, and v1alpha for older clients.
	Reflection bool
	// DecideTimeout is how long a decision takes at most, in [1 ms, 1 min].
	// Then on_unavailable decides.
	DecideTimeout time.Duration
	// Connections is how many may be open at once, in [1, 1,000,000]. One more
	// is told so by GOAWAY and closed.
	Connections int
	// Streams is how many requests one connection may have in flight, in
	// [1, 1,000,000]. Clients queue the others.
	Streams int
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
		Connections:        10_000,
		Streams:            1_000,
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
		path string
		n    int
	}{{"connections_max", c.Connections}, {"streams_max", c.Streams}} {
		if f.n < 1 || f.n > 1_000_000 {
			reject(f.path, f.n, "must be in [1, 1000000]")
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
