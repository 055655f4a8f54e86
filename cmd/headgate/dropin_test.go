package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/goccy/go-yaml"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/headgate/headgate/internal/certs/certstest"
	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/internal/dropin"
	"github.com/headgate/headgate/internal/xds/xdstest"
)

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestUnderItsOtherNameItServesEnvoyGateway runs a process through a link named
// ratelimit, with Envoy Gateway's environment but for paths and ports.
func TestUnderItsOtherNameItServesEnvoyGateway(t *testing.T) {
	authority := certstest.NewAuthority(t, "envoy-gateway", time.Now())
	s := xdstest.Start(t, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{authority.Issue(t, certstest.Leaf{}).Load(t)},
		ClientAuth: tls.RequestClientCert,
	})
	dir := t.TempDir()
	cert, key := authority.Issue(t, certstest.Leaf{Name: "envoy-ratelimit"}).Write(t, dir, "tls")
	ca := filepath.Join(dir, "ca.crt")
	certstest.WriteFile(t, ca, authority.PEM)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, dropin.Name)
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	web, rpc, metrics, debug := freePort(t), freePort(t), freePort(t), freePort(t)
	cmd := exec.Command(link)
	cmd.Env = []string{
		"RUNTIME_ROOT=/data", "RUNTIME_SUBDIRECTORY=ratelimit", "RUNTIME_IGNOREDOTFILES=true", "RUNTIME_WATCH_ROOT=false",
		"LOG_LEVEL=info", "USE_STATSD=false", "CONFIG_TYPE=GRPC_XDS_SOTW", "CONFIG_GRPC_XDS_SERVER_URL=" + s.Addr,
		"CONFIG_GRPC_XDS_NODE_ID=envoy-ratelimit", "GRPC_SERVER_USE_TLS=true", "GRPC_SERVER_TLS_CERT=" + cert,
		"GRPC_SERVER_TLS_KEY=" + key, "GRPC_SERVER_TLS_CA_CERT=" + ca, "CONFIG_GRPC_XDS_SERVER_USE_TLS=true",
		"CONFIG_GRPC_XDS_CLIENT_TLS_CERT=" + cert, "CONFIG_GRPC_XDS_CLIENT_TLS_KEY=" + key,
		"CONFIG_GRPC_XDS_SERVER_TLS_CACERT=" + ca, "FORCE_START_WITHOUT_INITIAL_CONFIG=true",
		"REDIS_SOCKET_TYPE=tcp", "REDIS_URL=redis.redis.svc:6379", "USE_PROMETHEUS=true", "PROMETHEUS_ADDR=127.0.0.1:" + metrics,
		"PROMETHEUS_MAPPER_YAML=/etc/statsd-exporter/conf.yaml",
		"HOST=127.0.0.1", "PORT=" + web, "GRPC_HOST=127.0.0.1", "GRPC_PORT=" + rpc, "DEBUG_PORT=" + debug,
		"HEADGATE_DATA_DIR=" + filepath.Join(dir, "data"),
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended: %v", err)
		}
		if text, _ := os.ReadFile(log.Name()); strings.Count(string(text), "level=WARN") != 1 || !strings.Contains(string(text), "REDIS_URL RUNTIME_WATCH_ROOT") {
			t.Errorf("log:\n%s", text)
		}
	})
	webGet := func(url string) (int, string) {
		for range 1000 {
			if r, err := http.Get(url); err == nil {
				b, _ := io.ReadAll(r.Body)
				_ = r.Body.Close()
				if r.StatusCode != http.StatusInternalServerError { // it listens, and is not ready yet
					return r.StatusCode, string(b)
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("%s does not answer", url)
		return 0, ""
	}
	if status, body := webGet("http://127.0.0.1:" + web + "/healthcheck"); status != 200 || body != "OK" {
		t.Errorf("/healthcheck: %d %q", status, body)
	}
	s.Set(t, xdstest.EnvoyGatewayNode, "1", xdstest.EnvoyGateway()...)
	s.Await(t, xdstest.Accepted("1"))

	conn, err := grpc.NewClient("127.0.0.1:"+rpc, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: authority.Pool()})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is lost
	for _, name := range []string{"", "ratelimit"} {
		h, err := healthv1.NewHealthClient(conn).Check(context.Background(), &healthv1.HealthCheckRequest{Service: name})
		if err != nil || h.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", name, h, err)
		}
	}
	for i := range 7 {
		resp, err := rlsv3.NewRateLimitServiceClient(conn).ShouldRateLimit(context.Background(), &rlsv3.RateLimitRequest{
			Domain: "default/eg/http", Descriptors: []*ratelimitv3.RateLimitDescriptor{{Entries: []*ratelimitv3.RateLimitDescriptor_Entry{
				{Key: "first-route", Value: "first-route"}, {Key: "rule-0-match-0", Value: "ann"},
			}}},
		})
		want := rlsv3.RateLimitResponse_OK
		if i >= 5 {
			want = rlsv3.RateLimitResponse_OVER_LIMIT
		}
		if err != nil || resp.GetOverallCode() != want || len(resp.GetResponseHeadersToAdd()) > 0 {
			t.Errorf("request %d: %v, %v", i+1, resp, err)
		}
	}
	if status, body := webGet("http://127.0.0.1:" + debug + "/rlconfig"); status != 200 ||
		!strings.Contains(body, "default/eg/http.first-route_first-route.rule-0-match-0: unit=HOUR requests_per_unit=5, shadow_mode: false, quota_mode: false\n") {
		t.Errorf("/rlconfig: %d\n%s", status, body)
	}
	const request = `{"domain":"default/eg/http","descriptors":[{"entries":[{"key":"first-route","value":"first-route"},{"key":"rule-0-match-0","value":"ann"}]}]}`
	r, err := http.Post("http://127.0.0.1:"+web+"/json", "application/json", strings.NewReader(request))
	if err != nil || r.StatusCode != http.StatusTooManyRequests {
		t.Errorf("/json: %v, %v", r, err)
	}
	_ = r.Body.Close()
	if status, body := webGet("http://127.0.0.1:" + metrics + "/metrics"); status != 200 || !strings.Contains(body, "headgate_decisions_total") {
		t.Errorf("metrics: %d", status)
	}
}

// TestTheImageHasBothNames checks what can be checked of the Dockerfile without
// a container engine.
func TestTheImageHasBothNames(t *testing.T) {
	text, err := os.ReadFile("../../deploy/container/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"-o /out/bin/headgate ./cmd/headgate", "ln -s headgate /out/bin/" + dropin.Name, "COPY --from=build /out/ /",
		`ENTRYPOINT ["/bin/headgate"]`, `CMD ["serve"]`, "USER 65534:65534", "HEADGATE_DATA_DIR=/var/lib/headgate",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s", want)
		}
	}
}

// TestTheEnvoyGatewayGuide parses the guide's YAML and loads its settings.
func TestTheEnvoyGatewayGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guides/envoy-gateway.md")
	if err != nil {
		t.Fatal(err)
	}
	parsed := 0
	for block := range strings.SplitSeq(string(text), "\n```") {
		kind, body, _ := strings.Cut(block, "\n")
		switch kind {
		case "yaml":
			parsed++
			var doc map[string]any
			if err := yaml.Unmarshal([]byte(body), &doc); err != nil {
				t.Errorf("%v in\n%s", err, body)
			}
			if doc["policy"] != nil {
				name := filepath.Join(t.TempDir(), "headgate.yaml")
				if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := config.Load(config.Sources{File: name}); err != nil {
					t.Errorf("%v in\n%s", err, body)
				}
			}
		case "sh":
			parsed++
			r, err := dropin.Translate(strings.Fields(body))
			if err == nil {
				_, err = config.Load(config.Sources{Env: r.Env})
			}
			if err != nil || len(r.Ignored) > 0 {
				t.Errorf("%v, ignored %v in\n%s", err, r.Ignored, body)
			}
		}
	}
	if parsed != 4 {
		t.Error(fmt.Sprint(parsed, " blocks"))
	}
}
