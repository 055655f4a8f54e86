package bench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// A Protocol says which call is made.
type Protocol string

// The protocols.
const (
	RLS    Protocol = "rls"    // envoy.service.ratelimit.v3 ShouldRateLimit
	Native Protocol = "native" // headgate.v1 Check
	Batch  Protocol = "batch"  // headgate.v1 CheckBatch, Config.Batch checks a request
	Stream Protocol = "stream" // headgate.v1 CheckStream, one a connection, Config.Batch checks a message
	HTTP   Protocol = "http"   // POST /v1/check over HTTP/1.1, one request at a time on a connection
)

// A Distribution says which of the keys are asked for how often.
type Distribution string

// The distributions.
const (
	Uniform Distribution = "uniform"
	Zipf    Distribution = "zipf" // the k-th key's share is proportional to 1/k^ZipfS
)

// Bounds of a Config.
const (
	keysMax        = 1_000_000_000
	connectionsMax = 4_096
	inFlightMax    = 65_536
	batchMax       = 1_000
	rateMax        = 100_000_000
	backlogMax     = 10_000_000
	descriptorsMax = 32
	durationMax    = 24 * time.Hour
	roundsMax      = 1_000
	zipfSMax       = 10
)

// A Config says what to ask, how fast and for how long. Start from Default.
type Config struct {
	// Target is the server's host:port. Required.
	Target string
	// Protocol is the call that is made.
	Protocol Protocol
	// Domain is the policy domain that is asked. Required.
	Domain string
	// Descriptors are what is asked about: each "key=value[,key=value…]", where
	// every %d in a value stands for the key's number, as many decimal digits as
	// Keys−1 has. 1 to 32 for RLS; the other calls take exactly one, whose
	// entries are the attributes. Without any %d there is one key.
	Descriptors []string
	// Keys is how many different keys are asked for, 1 to 10⁹.
	Keys int
	// Distribution says how often each key is asked for.
	Distribution Distribution
	// ZipfS is the exponent of Zipf, above 0 and at most 10.
	ZipfS float64
	// Hits is the cost of each check in units, ≥ 1.
	Hits uint32
	// Headers says whose headers requests have. Stream and HTTP take minimal ones
	// only: Envoy has no such call.
	Headers HeaderStyle
	// Batch is how many checks one request carries, or one message of a stream,
	// 1 to 1,000. Batch and Stream only.
	Batch int

	// Connections is how many connections are kept open, 1 to 4,096.
	Connections int
	// InFlight is how many requests, or messages of a stream, may be unanswered on
	// a connection, 1 to 65,536. The server's SETTINGS_MAX_CONCURRENT_STREAMS may
	// lower it, and over HTTP it is 1.
	InFlight int
	// Rate is how many requests are made a second over all connections. 0 is the
	// closed loop: a new request as soon as one is answered.
	Rate float64
	// Backlog is how many requests that are due may wait for a free place in
	// flight over all connections, up to 10⁷ (and at least one a connection); the
	// oldest beyond are dropped and counted. Open loop only.
	Backlog int
	// Warmup is how long to run before measuring, 0 to 24 h.
	Warmup time.Duration
	// Duration is how long to measure, 10 ms to 24 h.
	Duration time.Duration
	// ConnectTimeout bounds a dial and what comes before the first request.
	ConnectTimeout time.Duration
	// DrainTimeout bounds the wait at the end for answers that are outstanding.
	DrainTimeout time.Duration
	// Seed makes the sequence of keys repeatable.
	Seed uint64

	// TLS is how connections are encrypted. Without ServerName the target's host
	// is it. Nil: they are not.
	TLS *tls.Config

	// ServerPID is the target's process on this machine, whose CPU time and
	// memory are reported. 0: not reported. Linux only.
	ServerPID int

	// Versus is the other target of Compare. VersusPID is its process.
	Versus    string
	VersusPID int
	// Rounds is how often Compare measures each target, 1 to 1,000.
	Rounds int
}

// Default returns a Config that lacks only its Target.
func Default() Config {
	return Config{
		Protocol:       RLS,
		Domain:         "bench",
		Descriptors:    []string{"key=%d"},
		Keys:           10_000,
		Distribution:   Uniform,
		ZipfS:          1.1,
		Hits:           1,
		Headers:        MinimalHeaders,
		Batch:          100,
		Connections:    8,
		InFlight:       32,
		Backlog:        100_000,
		Warmup:         time.Second,
		Duration:       5 * time.Second,
		ConnectTimeout: 5 * time.Second,
		DrainTimeout:   5 * time.Second,
		Rounds:         5,
	}
}

// Validate reports every problem of c, joined.
func (c *Config) Validate() error {
	errs := []error{
		address("target", c.Target, true),
		address("versus", c.Versus, false),
		between("keys", c.Keys, 1, keysMax),
		between("hits", c.Hits, 1, 1<<32-1),
		between("connections", c.Connections, 1, connectionsMax),
		between("in_flight", c.InFlight, 1, inFlightMax),
		between("rate", c.Rate, 0, rateMax),
		between("backlog", c.Backlog, 0, backlogMax),
		between("warmup", c.Warmup, 0, durationMax),
		between("duration", c.Duration, 10*time.Millisecond, durationMax),
		between("connect_timeout", c.ConnectTimeout, time.Millisecond, time.Hour),
		between("drain_timeout", c.DrainTimeout, 0, time.Hour),
		between("server_pid", c.ServerPID, 0, 1<<31-1),
		between("versus_pid", c.VersusPID, 0, 1<<31-1),
		between("rounds", c.Rounds, 1, roundsMax),
	}
	if c.Domain == "" {
		errs = append(errs, errors.New("domain: must not be empty"))
	}
	switch c.Distribution {
	case Uniform:
	case Zipf:
		// Not between: NaN must be refused too.
		if !(c.ZipfS > 0 && c.ZipfS <= zipfSMax) {
			errs = append(errs, fmt.Errorf("zipf_s: %v is not above 0 and at most %d", c.ZipfS, zipfSMax))
		}
	default:
		errs = append(errs, fmt.Errorf("distribution: %q is not one of uniform, zipf", c.Distribution))
	}
	switch c.Headers {
	case MinimalHeaders, EnvoyHeaders:
	default:
		errs = append(errs, fmt.Errorf("headers: %q is not one of minimal, envoy", c.Headers))
	}
	errs = append(errs, c.validateProtocol()...)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("bench: config: %w", err)
	}
	return nil
}

func (c *Config) validateProtocol() (errs []error) {
	descriptors := 1
	switch c.Protocol {
	case RLS:
		descriptors = descriptorsMax
	case Native, HTTP:
	case Batch, Stream:
		errs = append(errs, between("batch", c.Batch, 1, batchMax))
	default:
		errs = append(errs, fmt.Errorf("protocol: %q is not one of rls, native, batch, stream, http", c.Protocol))
	}
	if (c.Protocol == Stream || c.Protocol == HTTP) && c.Headers == EnvoyHeaders {
		errs = append(errs, fmt.Errorf("headers: envoy is not for protocol %s, which Envoy does not speak", c.Protocol))
	}
	errs = append(errs, between("descriptors", len(c.Descriptors), 1, descriptors))
	for i, d := range c.Descriptors {
		if _, err := parseDescriptor(d); err != nil {
			errs = append(errs, fmt.Errorf("descriptors[%d]: %w", i, err))
		}
	}
	return errs
}

func address(path, s string, required bool) error {
	if s == "" && !required {
		return nil
	}
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		return fmt.Errorf("%s: %q is not host:port", path, s)
	}
	return nil
}

func between[T int | uint32 | float64 | time.Duration](path string, v, low, high T) error {
	if ok := v >= low && v <= high; !ok { // NaN is neither
		return fmt.Errorf("%s: %v is not between %v and %v", path, v, low, high)
	}
	return nil
}

// inFlight returns how many requests may be unanswered on a connection.
func (c *Config) inFlight() int {
	if c.Protocol == HTTP {
		return 1
	}
	return c.InFlight
}

// checks returns how many checks one request carries.
func (c *Config) checks() int {
	if c.Protocol == Batch || c.Protocol == Stream {
		return c.Batch
	}
	return 1
}
