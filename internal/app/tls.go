package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/headgate/headgate/internal/certs"
	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/internal/obs"
)

// ErrCertificates means that a port can't be encrypted: a file of its
// certificate is missing, or what is in it does not fit.
var ErrCertificates = errors.New("certificates refused")

const (
	// certDebounce is how long certificate files must be quiet before a change is
	// read: a certificate and its key are two files.
	certDebounce = 200 * time.Millisecond
	// certPoll is how often they are looked at besides file notifications.
	certPoll = 10 * time.Second
)

// An encryptedPort is the certificate of one port and where it comes from.
type encryptedPort struct {
	name   string // grpc or http
	source *certs.Source
	paths  []string
	seen   string // signature of the files that were read at start
	log    *slog.Logger
}

// encrypt loads the certificates of the ports that have one. All problems of all
// ports are reported at once.
func (n *node) encrypt() error {
	grpc, grpcErr := n.encryptPort("grpc", &n.Config.GRPC.TLS, "h2")
	web, webErr := n.encryptPort("http", &n.Config.HTTP.TLS, "h2", "http/1.1")
	n.grpcTLS, n.webTLS = grpc, web
	return errors.Join(grpcErr, webErr)
}

// encryptPort returns nil for a port without a certificate.
func (n *node) encryptPort(name string, c *config.TLS, protocols ...string) (*encryptedPort, error) {
	if !c.On() {
		return nil, nil //nolint:nilnil // a port in cleartext
	}
	settings := certs.Config{
		Files:            certs.Files{Cert: c.CertFile, Key: c.KeyFile, ClientCA: c.ClientCAFile},
		MinVersion:       tls.VersionTLS12,
		Protocols:        protocols,
		ProtocolRequired: len(protocols) == 1,
		// Not the node's clock, which approaches a stepped wall clock slowly: a
		// certificate is valid by the wall clock.
		Now: time.Now,
	}
	if c.MinVersion == "1.3" {
		settings.MinVersion = tls.VersionTLS13
	}
	switch c.ClientAuth {
	case config.ClientAuthOptional:
		settings.ClientAuth = certs.ClientOptional
	case config.ClientAuthRequire:
		settings.ClientAuth = certs.ClientRequire
	}
	p := &encryptedPort{name: name, paths: []string{c.CertFile, c.KeyFile}, log: n.Log.With(slog.String("port", name))}
	if c.ClientCAFile != "" {
		p.paths = append(p.paths, c.ClientCAFile)
	}
	p.seen = signature(p.paths) // before they are read: a change meanwhile is one to come
	source, warnings, err := certs.New(&settings)
	if err != nil {
		return nil, fmt.Errorf("app: %w: %s.tls: %w", ErrCertificates, name, err)
	}
	p.source = source
	p.say(warnings)
	return p, nil
}

// say tells which certificate new connections are shown.
func (p *encryptedPort) say(warnings []string) {
	p.log.Info("certificate in use", slog.String("certificate", p.source.About()),
		slog.Time("not_after", p.source.Stats().NotAfter))
	for _, w := range warnings {
		p.log.Warn("certificate problem", slog.String("problem", w))
	}
}

// reload reads the files again. Wrong ones change nothing but what is said of
// them.
func (p *encryptedPort) reload() {
	result, warnings, err := p.source.Reload()
	switch result {
	case certs.Applied:
		p.say(warnings)
	case certs.Rejected:
		p.log.Error("certificate refused: the previous one stays in use",
			slog.String("certificate", p.source.About()), slog.Time("not_after", p.source.Stats().NotAfter))
		for line := range strings.SplitSeq(err.Error(), "\n") {
			p.log.Error("certificate problem", slog.String("problem", line))
		}
	case certs.Unchanged:
		p.log.Debug("certificate read again: nothing changed")
	}
}

// config returns how the port encrypts; nil: it does not.
func (p *encryptedPort) config() *tls.Config {
	if p == nil {
		return nil
	}
	return p.source.Server()
}

// encryptedPorts returns those that encrypt.
func (n *node) encryptedPorts() []*encryptedPort {
	var ports []*encryptedPort
	for _, p := range []*encryptedPort{n.grpcTLS, n.webTLS} {
		if p != nil {
			ports = append(ports, p)
		}
	}
	return ports
}

// tlsReadings are what the metrics say.
func (n *node) tlsReadings() []obs.TLSReading {
	var readings []obs.TLSReading
	for _, p := range n.encryptedPorts() {
		s := p.source.Stats()
		readings = append(readings, obs.TLSReading{
			Port: p.name, NotAfter: s.NotAfter, Applied: s.Applied, Unchanged: s.Unchanged, Rejected: s.Rejected,
		})
	}
	return readings
}
