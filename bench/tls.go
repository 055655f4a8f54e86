package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"golang.org/x/net/http2"
)

// encrypt shakes hands over nc, which it closes if that fails. HTTP/2 must be
// agreed on (ALPN) where it is spoken; HTTP/1.1 is what a server speaks that agrees
// on nothing.
func encrypt(ctx context.Context, nc net.Conn, c *Config, target string) (net.Conn, error) {
	want := http2.NextProtoTLS
	if c.Protocol == HTTP {
		want = "http/1.1"
	}
	secure := c.TLS.Clone()
	secure.NextProtos = []string{want}
	if secure.ServerName == "" {
		secure.ServerName, _, _ = net.SplitHostPort(target) // Validate has looked
	}
	t := tls.Client(nc, secure)
	err := t.HandshakeContext(ctx)
	p := t.ConnectionState().NegotiatedProtocol
	if err == nil && p != want && (p != "" || want == http2.NextProtoTLS) {
		err = fmt.Errorf("the server does not agree on %s (ALPN) but on %q", want, p)
	}
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("bench: TLS with %s: %w", target, err)
	}
	return t, nil
}
