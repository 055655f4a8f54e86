package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"golang.org/x/net/http2"
)

// encrypt shakes hands over nc, which it closes if that fails. HTTP/2 must be
// agreed on (ALPN).
func encrypt(ctx context.Context, nc net.Conn, c *tls.Config, target string) (net.Conn, error) {
	c = c.Clone()
	c.NextProtos = []string{http2.NextProtoTLS}
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(target) // Validate has looked
	}
	t := tls.Client(nc, c)
	err := t.HandshakeContext(ctx)
	if p := t.ConnectionState().NegotiatedProtocol; err == nil && p != http2.NextProtoTLS {
		err = fmt.Errorf("the server does not agree on h2 (ALPN) but on %q", p)
	}
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("bench: TLS with %s: %w", target, err)
	}
	return t, nil
}
