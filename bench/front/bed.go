package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/headgate/headgate/bench"
)

// A bed is where cases are measured: one headgate and one hello-world, which are
// idle while the other is measured.
type bed struct {
	settings        *settings
	dir             string
	started         int // servers
	headgate, hello *server
	notes           []string // reasons to doubt the case that is being measured
}

func newBed(ctx context.Context, s *settings, dir string) (*bed, error) {
	b := &bed{settings: s, dir: dir}
	var err error
	if b.headgate, err = b.startHeadgate(ctx); err != nil {
		return nil, err
	}
	if b.hello, err = b.startHello(ctx); err != nil {
		b.headgate.stop()
		return nil, err
	}
	return b, nil
}

func (b *bed) close() {
	b.headgate.stop()
	b.hello.stop()
}

// path returns a path for the next server's files.
func (b *bed) path(name string) string {
	return filepath.Join(b.dir, fmt.Sprintf("%d-%s", b.started, name))
}

func (b *bed) startHeadgate(ctx context.Context) (*server, error) { return b.startNode(ctx) }

func (b *bed) startNode(ctx context.Context, more ...string) (*server, error) {
	addrs, err := freeAddrs(ctx, 3)
	if err != nil {
		return nil, err
	}
	b.started++
	args := []string{
		"serve", "--grpc", addrs[0], "--http", addrs[1], "--admin", addrs[2],
		"--data-dir", b.path("data"), "--log-level", "warn",
	}
	for _, p := range b.settings.policies {
		args = append(args, "--policy", p)
	}
	return startServer(ctx, b.path("log"), addrs[0], b.settings.headgate, append(args, more...)...)
}

func (b *bed) startHello(ctx context.Context) (*server, error) {
	addrs, err := freeAddrs(ctx, 1)
	if err != nil {
		return nil, err
	}
	b.started++
	return startServer(ctx, b.path("log"), addrs[0], b.settings.hello, "--address", addrs[0])
}

func (b *bed) startStock(ctx context.Context) (*server, error) {
	addrs, err := freeAddrs(ctx, 1)
	if err != nil {
		return nil, err
	}
	b.started++
	return startServer(ctx, b.path("log"), addrs[0], b.settings.stock, "--address", addrs[0], "--policy", b.settings.policies[0])
}

// startTLS starts a headgate that speaks TLS, and returns what a client needs.
func (b *bed) startTLS(ctx context.Context) (*server, *tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode a key: %w", err)
	}
	certFile, keyFile := filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, text := range map[string][]byte{
		certFile: certPEM,
		keyFile:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			return nil, nil, fmt.Errorf("write a certificate: %w", err)
		}
	}
	node, err := b.startNode(ctx, "--grpc-tls-cert", certFile, "--grpc-tls-key", keyFile)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return node, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, nil
}

// alternate measures two loads in turn, every second round in the opposite order,
// so that a machine that drifts favours neither.
func (b *bed) alternate(ctx context.Context, loads ...bench.Config) ([]round, error) {
	var rounds []round
	for i := range b.settings.rounds {
		var r round
		for j := range r {
			which := (i + j) % 2
			report, err := b.measure(ctx, loads[which])
			if err != nil {
				return nil, err
			}
			r[which] = report
		}
		rounds = append(rounds, r)
	}
	return rounds, nil
}

// measure runs one load. What makes its figures doubtful is noted; a load without
// any decision is an error.
func (b *bed) measure(ctx context.Context, c bench.Config) (*bench.Report, error) {
	r, err := bench.Run(ctx, c, nil)
	switch {
	case err != nil:
		return nil, err
	case ctx.Err() != nil:
		return nil, fmt.Errorf("interrupted: %w", context.Cause(ctx))
	case r.DecisionsPerSecond == 0 || r.Server == nil:
		return nil, fmt.Errorf("no decision, or its CPU time is not known: errors %v, transport errors %v, %v", r.Errors, r.TransportErrors, r.Warnings)
	}
	if len(r.Errors)+len(r.TransportErrors) > 0 || r.Verdicts.Unknown > 0 {
		b.notes = append(b.notes, fmt.Sprintf("%s: errors %v, transport errors %v, %d unknown verdicts", c.Target, r.Errors, r.TransportErrors, r.Verdicts.Unknown))
	}
	for _, w := range r.Warnings {
		b.notes = append(b.notes, c.Target+": "+w)
	}
	fmt.Fprintf(b.settings.progress, "  %s  %9.0f decisions/s  p50 %.3f ms  p99 %.3f ms  CPU s/M: server %.2f, client %.2f\n", c.Target, r.DecisionsPerSecond,
		float64(r.LatencyNanoseconds.P50)/1e6, float64(r.LatencyNanoseconds.P99)/1e6, r.Server.CPUPerMillion, r.ClientCPUPerMillion)
	return r, nil
}

// takeNotes returns what has been noted since the last time.
func (b *bed) takeNotes() []string {
	n := b.notes
	b.notes = nil
	return n
}
