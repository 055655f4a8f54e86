package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/headgate/headgate/policy"
)

// TypeURL is the type of the resources that are asked for.
const TypeURL = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig"

const (
	// pingEvery is how often a silent connection is pinged: a control plane that
	// is made with grpc-go's defaults disconnects clients that ping more often
	// than every 5 minutes.
	pingEvery   = 6 * time.Minute
	pingTimeout = 20 * time.Second
	// connectMax bounds one attempt to connect, the TLS handshake included.
	connectMax = 20 * time.Second
	// rejectPauseMax bounds the pause before a rejection that follows another.
	// Meanwhile nothing newer is sent.
	rejectPauseMax = 10 * time.Second
	// detailBytesMax bounds the reason that a control plane is told.
	detailBytesMax = 4 << 10
)

// Config says whom to ask, and for whom.
type Config struct {
	// Server is host:port, or any target of gRPC's.
	Server string
	// NodeID is the name by which the control plane knows this client. Metadata
	// goes with it.
	NodeID   string
	Metadata map[string]string
	// Headers are sent with the stream. Their names are lower-case.
	Headers map[string]string
	// TLS is called for each connection, so that changed files are used. Nil:
	// cleartext.
	TLS func() (*tls.Config, error)
	// MessageBytes bounds one response, at least 1 KiB.
	MessageBytes int
	// BackoffMin and BackoffMax bound the pause before the next connection,
	// which doubles with each that brought nothing: at least 10 ms, and Max at
	// least Min. A pause is drawn from its upper half. They also say how long
	// rejections wait that follow each other, at most 10 s.
	BackoffMin, BackoffMax time.Duration

	// Apply puts all of configs in force, instead of those of the previous
	// call, or changes nothing and says why not. version is the control plane's.
	Apply func(version string, configs []policy.EnvoyConfig) error
	// Connected is told of each stream, before anything was received, and
	// Disconnected why it ended, or never began, and when the next one is tried.
	Connected    func()
	Disconnected func(err error, pause time.Duration)
}

// Validate reports everything that is missing or out of its bounds.
func (c *Config) Validate() error {
	var errs []error
	reject := func(path string, v any, bound string) {
		errs = append(errs, fmt.Errorf("xds: %s: %v: %s", path, v, bound))
	}
	if c.Server == "" {
		reject("server", `""`, "must be host:port")
	}
	if c.MessageBytes < 1<<10 {
		reject("message_bytes_max", c.MessageBytes, "must be at least 1 KiB")
	}
	if c.BackoffMin < 10*time.Millisecond {
		reject("backoff_min", c.BackoffMin, "must be at least 10ms")
	}
	if c.BackoffMax < c.BackoffMin {
		reject("backoff_max", c.BackoffMax, "must be at least backoff_min")
	}
	if c.Apply == nil || c.Connected == nil || c.Disconnected == nil {
		reject("functions", "nil", "must be given")
	}
	return errors.Join(errs...)
}

// A Client asks one control plane. Make one with New.
type Client struct {
	config Config
	node   *corev3.Node
}

// New returns a client that has not connected yet.
func New(c *Config) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	node := &corev3.Node{Id: c.NodeID, UserAgentName: "headgate", Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{}}}
	for k, v := range c.Metadata {
		node.Metadata.Fields[k] = structpb.NewStringValue(v)
	}
	return &Client{config: *c, node: node}, nil
}

// Run connects and follows until ctx ends.
func (c *Client) Run(ctx context.Context) {
	pause := c.config.BackoffMin
	for {
		received, err := c.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if received {
			pause = c.config.BackoffMin
		}
		wait := pause/2 + rand.N(pause/2+1) //nolint:gosec // spreads clients, hides nothing
		c.config.Disconnected(err, wait)
		if !sleep(ctx, wait) {
			return
		}
		pause = min(2*pause, c.config.BackoffMax)
	}
}

// sleep waits for d and reports whether it was not ended by ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// follow is one connection: it asks and answers until something ends it.
// received reports whether anything came.
func (c *Client) follow(ctx context.Context) (received bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := c.dial()
	if err != nil {
		return false, err
	}
	defer conn.Close() //nolint:errcheck // nothing is lost
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(
		metadata.NewOutgoingContext(ctx, metadata.New(c.config.Headers)))
	if err != nil {
		return false, fmt.Errorf("xds: connect: %w", err)
	}
	// No version: a control plane that has been restarted numbers anew, and would
	// take an old number for the present one and send nothing.
	if err := stream.Send(&discoveryv3.DiscoveryRequest{Node: c.node, TypeUrl: TypeURL}); err != nil {
		return false, fmt.Errorf("xds: subscribe: %w", endOf(stream, err))
	}
	c.config.Connected()
	accepted, pause := "", time.Duration(0)
	for {
		response, err := stream.Recv()
		if err != nil {
			return received, fmt.Errorf("xds: receive: %w", err)
		}
		if response.GetTypeUrl() != TypeURL {
			continue // not asked for: nothing to accept or reject
		}
		received = true
		request := c.answer(response, &accepted)
		if request.GetErrorDetail() == nil {
			pause = 0
		} else {
			// A control plane made with go-control-plane sends what was rejected
			// again at once. The first rejection is told at once, too.
			if !sleep(ctx, pause) {
				return received, ctx.Err()
			}
			pause = min(max(2*pause, c.config.BackoffMin), c.config.BackoffMax, rejectPauseMax)
		}
		if err := stream.Send(request); err != nil {
			return received, fmt.Errorf("xds: acknowledge: %w", endOf(stream, err))
		}
	}
}

// endOf returns why a stream can't be sent to: grpc-go tells it to who receives.
func endOf(stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient, err error) error {
	for errors.Is(err, io.EOF) {
		if _, err = stream.Recv(); err == nil {
			err = io.EOF // a response that came before the end
		}
	}
	return err
}

// answer applies a response and says what became of it. accepted is the version
// that was accepted last.
func (c *Client) answer(response *discoveryv3.DiscoveryResponse, accepted *string) *discoveryv3.DiscoveryRequest {
	request := &discoveryv3.DiscoveryRequest{Node: c.node, TypeUrl: TypeURL, ResponseNonce: response.GetNonce()}
	if err := c.apply(response); err != nil {
		detail := err.Error()
		detail = strings.ToValidUTF8(detail[:min(len(detail), detailBytesMax)], "")
		request.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: detail}
	} else {
		*accepted = response.GetVersionInfo()
	}
	request.VersionInfo = *accepted
	return request
}

// apply decodes all resources, then has them applied.
func (c *Client) apply(response *discoveryv3.DiscoveryResponse) error {
	configs := make([]policy.EnvoyConfig, 0, len(response.GetResources()))
	for i, r := range response.GetResources() {
		if r.GetTypeUrl() != TypeURL {
			return fmt.Errorf("xds: resource %d is a %q: expected %q", i, r.GetTypeUrl(), TypeURL)
		}
		config, err := Decode(r.GetValue())
		if err != nil {
			return fmt.Errorf("%w (resource %d, %q)", err, i, config.Name)
		}
		configs = append(configs, config)
	}
	return c.config.Apply(response.GetVersionInfo(), configs)
}

// dial prepares a connection. It is made anew after each failure, here and not
// inside grpc-go: the pause between attempts is ours, and so is reading the
// certificate files again.
func (c *Client) dial() (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if c.config.TLS != nil {
		secure, err := c.config.TLS()
		if err != nil {
			return nil, fmt.Errorf("xds: %w", err)
		}
		creds = credentials.NewTLS(secure)
	}
	conn, err := grpc.NewClient(c.config.Server,
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(c.config.MessageBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectMax}),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, fmt.Errorf("xds: %s: %w", c.config.Server, err)
	}
	return conn, nil
}
