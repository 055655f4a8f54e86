package app

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/headgate/headgate/internal/certs"
	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/internal/xds"
	"github.com/headgate/headgate/policy"
)

// A controlPlane is who publishes policies to this node.
type controlPlane struct {
	server    string
	client    *xds.Client
	connected atomic.Bool
}

// newControlPlane returns nil if the settings name none. It does not connect,
// but files that can't be used are an error: ErrCertificates.
func newControlPlane(c *config.XDS, n *node) (*controlPlane, error) {
	if c.Server == "" {
		return nil, nil //nolint:nilnil // none
	}
	p := &controlPlane{server: c.Server}
	settings := xds.Config{
		Server: c.Server, NodeID: c.NodeID, Metadata: pairs(c.NodeMetadata), Headers: lowerKeys(pairs(c.Headers)),
		MessageBytes: int(c.MessageBytesMax), BackoffMin: c.BackoffMin, BackoffMax: c.BackoffMax,
		Apply: func(version string, configs []policy.EnvoyConfig) error { return n.policies.publish(version, configs) },
		Connected: func() {
			p.connected.Store(true)
			n.Log.Info("connected to the control plane", slog.String("server", c.Server))
		},
		Disconnected: func(err error, pause time.Duration) {
			p.connected.Store(false)
			n.Log.Warn("control plane lost: what it published stays in force",
				slog.String("server", c.Server), slog.String("error", err.Error()), slog.Duration("next_attempt_in", pause))
		},
	}
	if c.TLS.Enabled {
		files := certs.ClientFiles{CA: c.TLS.CAFile, Cert: c.TLS.CertFile, Key: c.TLS.KeyFile, ServerName: c.TLS.ServerName}
		settings.TLS = func() (*tls.Config, error) { return certs.Client(&files, time.Now, "h2") }
		if _, err := settings.TLS(); err != nil {
			return nil, fmt.Errorf("app: %w: policy.xds.tls: %w", ErrCertificates, err)
		}
	}
	var err error
	if p.client, err = xds.New(&settings); err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	return p, nil
}

// controlPlaneReport is what /readyz says.
type controlPlaneReport struct {
	Server    string `json:"server"`
	Connected bool   `json:"connected"`
	Version   string `json:"version"` // that is in force, as it calls it; "": none yet
	Refused   bool   `json:"refused"` // its latest one is not in force
}

func (p *controlPlane) report(s *policyState) *controlPlaneReport {
	return &controlPlaneReport{
		Server: p.server, Connected: p.connected.Load(), Version: s.Published, Refused: s.NotPublished != nil,
	}
}

// pairs turns name=value texts, which the settings have checked, into a map.
func pairs(list []string) map[string]string {
	m := make(map[string]string, len(list))
	for _, pair := range list {
		name, value, _ := strings.Cut(pair, "=")
		m[name] = value
	}
	return m
}

func lowerKeys(m map[string]string) map[string]string {
	lower := make(map[string]string, len(m))
	for k, v := range m {
		lower[strings.ToLower(k)] = v
	}
	return lower
}

func envoyOptions(c *config.EnvoyImport) policy.EnvoyOptions {
	return policy.EnvoyOptions{
		MergeDomains: c.MergeDomains, Shadow: c.Shadow, AnyOf: c.AnyOf, StopWhenOver: c.StopWhenOver,
	}
}
