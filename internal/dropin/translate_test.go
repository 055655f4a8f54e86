package dropin

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/headgate/headgate/internal/config"
)

// envoyGateway is the environment that Envoy Gateway 1.9 gives its pod.
func envoyGateway() []string {
	return []string{
		"RUNTIME_ROOT=/data", "RUNTIME_SUBDIRECTORY=ratelimit", "RUNTIME_IGNOREDOTFILES=true", "RUNTIME_WATCH_ROOT=false",
		"LOG_LEVEL=info", "USE_STATSD=false", "CONFIG_TYPE=GRPC_XDS_SOTW", "CONFIG_GRPC_XDS_SERVER_URL=envoy-gateway:18001",
		"CONFIG_GRPC_XDS_NODE_ID=envoy-ratelimit", "GRPC_SERVER_USE_TLS=true", "GRPC_SERVER_TLS_CERT=/certs/tls.crt",
		"GRPC_SERVER_TLS_KEY=/certs/tls.key", "GRPC_SERVER_TLS_CA_CERT=/certs/ca.crt", "CONFIG_GRPC_XDS_SERVER_USE_TLS=true",
		"CONFIG_GRPC_XDS_CLIENT_TLS_CERT=/certs/tls.crt", "CONFIG_GRPC_XDS_CLIENT_TLS_KEY=/certs/tls.key",
		"CONFIG_GRPC_XDS_SERVER_TLS_CACERT=/certs/ca.crt", "FORCE_START_WITHOUT_INITIAL_CONFIG=true",
		"REDIS_SOCKET_TYPE=tcp", "REDIS_URL=redis.redis.svc:6379", "USE_PROMETHEUS=true", "PROMETHEUS_ADDR=:19001",
		"PROMETHEUS_MAPPER_YAML=/etc/statsd-exporter/conf.yaml",
	}
}

func settings(t *testing.T, env ...string) (config.Config, Result) {
	t.Helper()
	r, err := Translate(env)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Sources{Env: append(r.Env, "HEADGATE_DATA_DIR=/d")})
	if err != nil {
		t.Fatal(err)
	}
	return c, r
}

func TestEnvoyGatewaysEnvironment(t *testing.T) {
	got, r := settings(t, envoyGateway()...)
	want := config.Default()
	want.DataDir = "/d"
	want.GRPC.Addr, want.HTTP.Addr, want.Admin.Addr = "0.0.0.0:8081", "0.0.0.0:8080", "127.0.0.1:6070"
	want.GRPC.ConnectionAgeMax = 24 * 60 * 60 * 1e9
	want.GRPC.TLS.CertFile, want.GRPC.TLS.KeyFile = "/certs/tls.crt", "/certs/tls.key"
	want.Metrics.Addr = ":19001"
	want.RLS.RetryAfterHeader, want.RLS.LimitHeader = "", ""
	want.GRPC.BehindMax = 0
	x := &want.Policy.XDS
	x.Server, x.NodeID, x.AwaitInitial = "envoy-gateway:18001", "envoy-ratelimit", false
	x.NodeMetadata, x.Headers = []string{}, []string{}
	x.TLS = config.XDSTLS{Enabled: true, CAFile: "/certs/ca.crt", CertFile: "/certs/tls.crt", KeyFile: "/certs/tls.key"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got.YAML(), want.YAML())
	}
	ignored := []string{"GRPC_SERVER_TLS_CA_CERT", "PROMETHEUS_MAPPER_YAML", "REDIS_SOCKET_TYPE", "REDIS_URL", "RUNTIME_WATCH_ROOT", "USE_STATSD"}
	if !reflect.DeepEqual(r.Ignored, ignored) {
		t.Errorf("ignored %v", r.Ignored)
	}
}

func TestOthersEnvironments(t *testing.T) {
	c, _ := settings(t, "RUNTIME_ROOT=/data", "RUNTIME_SUBDIRECTORY=ratelimit", "RUNTIME_WATCH_ROOT=false",
		"RUNTIME_IGNOREDOTFILES=true", "HOST=::", "GRPC_HOST=::", "SHADOW_MODE=true", "MERGE_DOMAIN_CONFIG=1") // Istio's sample
	if c.Policy.Envoy.Dir != "/data/ratelimit/config" || c.Policy.Envoy.Root != "/data" || c.Policy.Envoy.DotFiles ||
		!c.Policy.Envoy.Shadow || !c.Policy.Envoy.MergeDomains || c.HTTP.Addr != "[::]:8080" || c.GRPC.Addr != "[::]:8081" {
		t.Errorf("%s", c.YAML())
	}
	c, _ = settings(t)
	if c.Policy.Envoy.Dir != "/srv/runtime_data/current/config" || !c.Policy.Envoy.DotFiles || c.Log.Level != "warn" {
		t.Errorf("%s", c.YAML())
	}
	c, _ = settings(t, "CONFIG_TYPE=GRPC_XDS_SOTW", "CONFIG_GRPC_XDS_NODE_METADATA=a=b,nonsense,c=d=e",
		"CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS=x-key:v:w,y:", "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES=2048",
		"XDS_CLIENT_BACKOFF_INITIAL_INTERVAL=2s", "GRPC_SERVER_USE_TLS=true", "GRPC_SERVER_TLS_CERT=c", "GRPC_SERVER_TLS_KEY=k",
		"GRPC_CLIENT_TLS_CACERT=ca", "DEBUG_HOST=::1", "DEBUG_PORT=6071")
	x := c.Policy.XDS
	if !reflect.DeepEqual(x.NodeMetadata, []string{"a=b", "c=d=e"}) || !reflect.DeepEqual(x.Headers, []string{"x-key=v:w", "y="}) ||
		x.MessageBytesMax != 2048 || !x.AwaitInitial || x.BackoffMin != 2e9 || c.GRPC.TLS.ClientAuth != "require" || c.Admin.Addr != "[::1]:6071" {
		t.Errorf("%s", c.YAML())
	}
}

func TestTheServicesHeadersAreAddedIfAsked(t *testing.T) {
	for _, tc := range []struct {
		env  []string
		want [3]string
	}{
		{nil, [3]string{}},
		{[]string{"LIMIT_LIMIT_HEADER=X-Limit"}, [3]string{}},
		{[]string{"LIMIT_RESPONSE_HEADERS_ENABLED=true"}, [3]string{"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"}},
		{
			[]string{"LIMIT_RESPONSE_HEADERS_ENABLED=1", "LIMIT_LIMIT_HEADER=X-RateLimit-Limit", "LIMIT_RESET_HEADER=x_reset"},
			[3]string{"x-ratelimit-limit", "ratelimit-remaining", "x_reset"},
		},
	} {
		c, r := settings(t, tc.env...)
		if got := [3]string{c.RLS.AmountHeader, c.RLS.RemainingHeader, c.RLS.ResetHeader}; got != tc.want || len(r.Ignored) > 0 {
			t.Errorf("%v: %q, ignored %v", tc.env, got, r.Ignored)
		}
	}
	_, err := Translate([]string{"LIMIT_RESPONSE_HEADERS_ENABLED=true", "LIMIT_RESET_HEADER=re set"})
	if err == nil || !strings.Contains(err.Error(), `LIMIT_RESET_HEADER: "re set": must be a header name`) {
		t.Error(err)
	}
}

func TestWrongValuesAreNamedWithTheirBounds(t *testing.T) {
	_, err := Translate([]string{
		"PORT=0", "GRPC_PORT=x", "LOG_LEVEL=loud", "CONFIG_TYPE=HTTP", "SHADOW_MODE=maybe", "GRPC_MAX_CONNECTION_AGE=1",
		"GRPC_SERVER_USE_TLS=true", "GRPC_UDS=/s", "GRPC_CLIENT_TLS_SAN=a", "USE_PROMETHEUS=true", "PROMETHEUS_PATH=m",
	})
	for _, want := range []string{
		`PORT: "0": must be a port`, `GRPC_PORT: "x": must be a port`, `LOG_LEVEL: "loud": must be one of panic`,
		`CONFIG_TYPE: "HTTP": must be one of FILE, GRPC_XDS_SOTW`, `SHADOW_MODE: "maybe": must be true or false`,
		`GRPC_MAX_CONNECTION_AGE: "1": must be a duration`, `GRPC_SERVER_TLS_KEY: "": must name a PEM file`,
		`GRPC_UDS: "/s": unix sockets`, `GRPC_CLIENT_TLS_SAN: "a": the name`, `PROMETHEUS_PATH: "m": must begin with /`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in\n%v", want, err)
		}
	}
	_, err = Translate([]string{"CONFIG_TYPE=GRPC_XDS_SOTW", "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES=9", "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS=x"})
	if err == nil || !strings.Contains(err.Error(), "from 1024") || !strings.Contains(err.Error(), `"x": must be name:value`) {
		t.Error(err)
	}
}

func TestEveryVariableIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/dropin.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("translate.go")
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsFuncSeq(string(source), func(r rune) bool {
		return (r < 'A' || r > 'Z') && r != '_' && (r < '0' || r > '9') && r != '*'
	}) {
		if strings.Contains(word, "_") && len(word) > 3 && word == strings.ToUpper(word) && word != "HEADGATE_" && !strings.HasPrefix(word, "_") &&
			!strings.Contains(string(page), "`"+word+"`") && word != "GRPC_XDS_SOTW" {
			t.Errorf("%s is not documented", word)
		}
	}
}
