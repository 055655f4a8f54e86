//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/headgate/headgate/internal/certs/certstest"
)

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(transport_socket:.*?)^```$")

// TestEnvoyAsksOverMutualTLS uses what docs/guides/tls.md tells of Envoy, and
// renews the node's certificate meanwhile.
func TestEnvoyAsksOverMutualTLS(t *testing.T) {
	dir := t.TempDir()
	ca := certstest.NewAuthority(t, "ca", time.Now())
	authority := filepath.Join(dir, "ca.pem")
	certstest.WriteFile(t, authority, ca.PEM)
	cert, key := ca.Issue(t, certstest.Leaf{Name: "node"}).Write(t, dir, "node")
	ca.Issue(t, certstest.Leaf{Name: "envoy", Client: true}).Write(t, dir, "envoy")
	t.Setenv("HEADGATE_GRPC_TLS_CERT_FILE", cert)
	t.Setenv("HEADGATE_GRPC_TLS_KEY_FILE", key)
	t.Setenv("HEADGATE_GRPC_TLS_CLIENT_CA_FILE", authority)
	t.Setenv("HEADGATE_GRPC_TLS_CLIENT_AUTH", "require")

	page, err := os.ReadFile("../../docs/guides/tls.md")
	if err != nil {
		t.Fatal(err)
	}
	block := yamlBlock.FindSubmatch(page)
	if block == nil {
		t.Fatal("the guide has no transport_socket")
	}
	var text strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(string(block[1]), "tmp/tls", dir)) {
		text.WriteString("      " + line)
	}
	s := startSiteOver(t, text.String())
	c := newClient(t, 2)
	overLimit := 0
	for i := range 2 * clientLimit {
		if i == clientLimit/2 {
			ca.Issue(t, certstest.Leaf{Name: "renewed"}).Write(t, dir, "node")
			s.headgate.await(t, func() error {
				return s.headgate.metric(`headgate_tls_reloads_total{port="grpc",result="applied"} 1`)
			})
		}
		switch code, _ := c.mustGet(t, s.url("closed", "/client")); {
		case code == denied:
			overLimit++
		case code != allowed: // what a failing service leads to
			t.Fatalf("request %d: status %d", i, code)
		}
	}
	// A node that gets no processor in time decides without counters, and counts
	// that: to the unit, the rest is denied.
	shed := clientLimit - overLimit
	if err := s.headgate.metric(fmt.Sprintf(`headgate_degraded_total{reason="overload"} %d`, shed)); err != nil {
		t.Errorf("%d of %d requests are over the limit of %d: %v", overLimit, 2*clientLimit, clientLimit, err)
	}
	if n := s.envoy.counter(t, "cluster.upstream.ratelimit.error"); n != 0 {
		t.Errorf("Envoy counts %d errors of the rate limit service", n)
	}
	if n := s.envoy.counter(t, "cluster.headgate.ssl.handshake"); n == 0 {
		t.Error("Envoy counts no TLS handshake")
	}
}
