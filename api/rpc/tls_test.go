package rpc_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/headgate/headgate/api/h2"
	"github.com/headgate/headgate/api/rpc"
	"github.com/headgate/headgate/internal/certs/certstest"
)

// startEncrypted serves with a certificate of ca.
func startEncrypted(t *testing.T, ca *certstest.Authority, change func(*setup)) (*rpc.Server, string) {
	t.Helper()
	return start(t, func(u *setup) {
		u.config.TLS = &tls.Config{
			Certificates: []tls.Certificate{ca.Issue(t, certstest.Leaf{}).Load(t)},
			NextProtos:   []string{"h2"}, MinVersion: tls.VersionTLS12,
		}
		if change != nil {
			change(u)
		}
	})
}

// ended waits until the peer ends the connection, and returns what it said.
func ended(t *testing.T, c net.Conn, within time.Duration) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(c)
	if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // net.Conn returns it as it is
		t.Errorf("the connection is still open after %v", within)
	}
	return string(said)
}

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestAnEncryptedPortServesAndKeepsItsBounds(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	s, addr := startEncrypted(t, ca, func(u *setup) { u.config.Connections = 1 })
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13})))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rlsv3.NewRateLimitServiceClient(cc).ShouldRateLimit(brief(t), rateLimitRequest("shop", "user", "u"))
	if err != nil || resp.GetOverallCode() != rlsv3.RateLimitResponse_OK {
		t.Fatal(resp, err)
	}
	if said := ended(t, dialTCP(t, addr), 5*time.Second); said != "" {
		t.Errorf("a connection beyond the bound is told %q, in cleartext", said)
	}
	if got := s.Stats().Front; got.Connections != 1 || got.Abuse[h2.AbuseConnections] != 1 {
		t.Errorf("%+v", got)
	}
	if err := cc.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return s.Stats().Front.Connections == 0 })
}

func TestAnEncryptedPortTakesNoCleartext(t *testing.T) {
	s, addr := startEncrypted(t, certstest.NewAuthority(t, "ca", time.Now()), nil)
	c := connect(t, addr)
	if resp, err := c.limits.ShouldRateLimit(brief(t), rateLimitRequest("shop", "user", "u")); err == nil {
		t.Error(resp)
	}
	if err := c.cc.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return s.Stats().Front.Connections == 0 })
}

// Whoever connects and does not shake hands is cut after 10 s, whatever it sent.
func TestAHandshakeThatDoesNotEndIsCut(t *testing.T) {
	t.Parallel()
	s, addr := startEncrypted(t, certstest.NewAuthority(t, "ca", time.Now()), func(u *setup) {
		u.config.HandshakeTimeout = 300 * time.Millisecond
	})
	began := time.Now()
	silent, half := dialTCP(t, addr), dialTCP(t, addr)
	if _, err := half.Write([]byte{22, 3, 1, 0, 200, 1}); err != nil { // the start of a ClientHello
		t.Fatal(err)
	}
	ended(t, silent, 15*time.Second)
	ended(t, half, 15*time.Second)
	if took := time.Since(began); took < 250*time.Millisecond {
		t.Errorf("cut after %v", took)
	}
	eventually(t, func() bool { return s.Stats().Front.Connections == 0 })
}

func TestADrainDoesNotWaitForHandshakes(t *testing.T) {
	s, addr := startEncrypted(t, certstest.NewAuthority(t, "ca", time.Now()), nil)
	silent := dialTCP(t, addr)
	eventually(t, func() bool { return s.Stats().Front.Connections == 1 })
	began := time.Now()
	if err := s.Drain(brief(t)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the drain took %v", took)
	}
	ended(t, silent, 5*time.Second)
}
