//go:build e2e && clients

package e2e

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/headgate/headgate/internal/certs/certstest"
)

// clientCases are what both programs of testdata/clients do.
const clientCases = "allowed, denied, native allowed, native denied, metadata, large message, too large message, gzip, error, unknown method, stream, deadline, crowd"

// TestClientsOfOtherLanguages runs a program of Python's grpcio and one of
// Node's grpc-js against a node, without and with TLS.
func TestClientsOfOtherLanguages(t *testing.T) {
	for _, language := range []struct{ name, program, script string }{
		{"Python", toolPath(t, "CLIENT_PYTHON"), "testdata/clients/client.py"},
		{"Node", toolPath(t, "CLIENT_NODE"), "testdata/clients/client.js"},
	} {
		for _, secure := range []bool{false, true} {
			name := language.name
			if secure {
				name += " over TLS"
			}
			t.Run(name, func(t *testing.T) {
				h, authority := clientsNode(t, secure)
				args := []string{language.script, h.grpc}
				if secure {
					args = append(args, authority)
				}
				out, err := exec.CommandContext(t.Context(), language.program, args...).CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				for want := range strings.SplitSeq(clientCases, ", ") {
					if !strings.Contains(string(out), "ok "+want+"\n") {
						t.Errorf("no case %q in:\n%s", want, out)
					}
				}
			})
		}
	}
}

// TestGrpcurlAndH2loadOverEither asks with grpcurl, which has a proto file only
// from reflection, over TLS too, and loads the port with nghttp2's h2load.
func TestGrpcurlAndH2loadOverEither(t *testing.T) {
	h2load := toolPath(t, "CLIENT_H2LOAD")
	for _, secure := range []bool{false, true} {
		h, authority := clientsNode(t, secure)
		security, scheme := []string{"-plaintext"}, "http"
		if secure {
			security, scheme = []string{"-cacert", authority}, "https"
		}
		args := append([]string{"tool", "-modfile=../tools/go.mod", "grpcurl"}, security...)
		args = append(args, "-max-time", "10", "-H", "x-text: a", "-d", `{"domain": "edge", "attributes": [{"key": "user", "value": "mallory"}]}`,
			h.grpc, "headgate.v1.DecisionService/Check")
		out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "VERDICT_DENIED") {
			t.Errorf("grpcurl, TLS %v: %v: %s", secure, err, out)
		}
		loadWith(t, h2load, scheme+"://"+h.grpc)
	}
}

var (
	h2loadStatuses = regexp.MustCompile(`(?m)^requests: (\d+) total, .* (\d+) succeeded, (\d+) failed`)
	h2loadTraffic  = regexp.MustCompile(`(?m)^traffic: .* \((\d+)\) data$`)
)

// loadWith sends 20,000 requests on 4 connections, 50 at a time on each, and
// wants an answer with a message to every one.
func loadWith(t *testing.T, h2load, url string) {
	t.Helper()
	// The request of TestGrpcurlFindsAndCallsEverything on the wire, with gRPC's prefix.
	message := "\x0a\x04edge\x12\x11\x0a\x0f\x0a\x04user\x12\x07mallory"
	body := filepath.Join(t.TempDir(), "body")
	prefix := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	if err := os.WriteFile(body, append(prefix, message...), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), h2load, "-n", "20000", "-c", "4", "-m", "50", "-d", body,
		"-H", "content-type: application/grpc", "-H", "te: trailers",
		url+"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit").CombinedOutput()
	if err != nil {
		t.Fatalf("h2load: %v: %s", err, out)
	}
	m := h2loadStatuses.FindSubmatch(out)
	if m == nil || string(m[1]) != "20000" || string(m[2]) != "20000" || string(m[3]) != "0" {
		t.Errorf("h2load %s:\n%s", url, out)
	}
	// An error would have no message: the shortest answer is 5 bytes and a code.
	if d := h2loadTraffic.FindSubmatch(out); d == nil || len(d[1]) < len("140000") {
		t.Errorf("h2load %s got too little:\n%s", url, out)
	}
}

// clientsNode starts a node, and returns it and the authority of its
// certificate if secure.
func clientsNode(t *testing.T, secure bool) (h *headgate, authority string) {
	t.Helper()
	t.Setenv("HEADGATE_GRPC_BEHIND_MAX", "0s") // on a busy machine too, every call is counted
	if secure {
		dir := t.TempDir()
		ca := certstest.NewAuthority(t, "ca", time.Now())
		authority = filepath.Join(dir, "ca.pem")
		certstest.WriteFile(t, authority, ca.PEM)
		cert, key := ca.Issue(t, certstest.Leaf{Name: "node"}).Write(t, dir, "node")
		t.Setenv("HEADGATE_GRPC_TLS_CERT_FILE", cert)
		t.Setenv("HEADGATE_GRPC_TLS_KEY_FILE", key)
	}
	return startHeadgate(t), authority
}

// toolPath is what `make e2e-clients` has put in the environment.
func toolPath(t *testing.T, name string) string {
	t.Helper()
	path := os.Getenv(name)
	if path == "" {
		t.Fatalf("%s is not set: run these tests with `make e2e-clients`, which installs what they need", name)
	}
	return path
}
