package dropin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Name is the name under which the binary stands in for the service.
const Name = "ratelimit"

// A Result is what variables mean here.
type Result struct {
	// Env are the variables of this server's settings, NAME=value.
	Env []string
	// Ignored are the variables that were given and mean nothing here, sorted.
	Ignored []string
}

// ignored are the prefixes and names of variables that mean nothing here.
func ignored() []string {
	return []string{
		"REDIS_*", "MEMCACHE_*", "TRACING_*", "STATSD_*", "USE_STATSD", "USE_DOG_STATSD", "USE_DOG_STATSD_MOGRIFIERS",
		"EXTRA_TAGS", "STATS_FLUSH_INTERVAL", "DISABLE_STATS", "PROMETHEUS_MAPPER_YAML",
		"PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS", "EXPIRATION_JITTER_MAX_SECONDS", "LOCAL_CACHE_SIZE_IN_BYTES",
		"NEAR_LIMIT_RATIO", "CACHE_KEY_PREFIX", "BACKEND_TYPE", "RESPONSE_DYNAMIC_METADATA",
		"CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL", "XDS_CLIENT_BACKOFF_RANDOM_FACTOR", "XDS_CLIENT_BACKOFF_JITTER",
		"GRPC_SERVER_TLS_CA_CERT", "GRPC_MAX_CONNECTION_AGE_GRACE", "RUNTIME_WATCH_ROOT",
	}
}

// refused are variables that must not be ignored, with the reason.
func refused() [][2]string {
	return [][2]string{
		{"GRPC_UDS", "unix sockets are not served: use GRPC_HOST and GRPC_PORT"},
		{"GRPC_CLIENT_TLS_SAN", "the name in a client's certificate is not checked here: leave it empty"},
	}
}

// A translator turns one set of variables into settings.
type translator struct {
	given map[string]string
	env   []string
	errs  []error
}

// Translate returns what env, NAME=value pairs, means here. Unset variables
// have the service's defaults. Its error joins everything that is wrong.
func Translate(env []string) (Result, error) {
	t := &translator{given: map[string]string{}}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		t.given[name] = value
	}
	t.listeners()
	t.log()
	t.encryption()
	t.limits()
	t.headers()
	if t.oneOf("CONFIG_TYPE", "FILE", "GRPC_XDS_SOTW") == "GRPC_XDS_SOTW" {
		t.controlPlane()
	} else {
		t.files()
	}
	for _, r := range refused() {
		if v := t.given[r[0]]; v != "" {
			t.problem(r[0], v, r[1])
		}
	}
	return Result{Env: t.env, Ignored: t.ignored()}, errors.Join(t.errs...)
}

func (t *translator) problem(name, value, bound string) {
	t.errs = append(t.errs, fmt.Errorf("%s: %q: %s", name, value, bound))
}

// set gives a setting, by its path, a value.
func (t *translator) set(setting, value string) {
	t.env = append(t.env, "HEADGATE_"+strings.ToUpper(strings.ReplaceAll(setting, ".", "_"))+"="+value)
}

func (t *translator) text(name, otherwise string) string {
	if v := t.given[name]; v != "" {
		return v
	}
	return otherwise
}

func (t *translator) oneOf(name string, values ...string) string {
	v := t.text(name, values[0])
	if !slices.Contains(values, v) {
		t.problem(name, v, "must be one of "+strings.Join(values, ", "))
	}
	return v
}

func (t *translator) boolean(name string) bool {
	v := t.text(name, "false")
	b, err := strconv.ParseBool(v)
	if err != nil {
		t.problem(name, v, "must be true or false")
	}
	return b
}

func (t *translator) port(name, otherwise string) string {
	v := t.text(name, otherwise)
	if n, err := strconv.ParseUint(v, 10, 16); err != nil || n == 0 {
		t.problem(name, v, "must be a port from 1 to 65535")
	}
	return v
}

// duration gives a setting, at least low, what a variable says; unset: nothing.
func (t *translator) duration(setting, name, otherwise string, low time.Duration) {
	v := t.text(name, otherwise)
	if v == "" {
		return
	}
	if d, err := time.ParseDuration(v); err != nil || d < low {
		t.problem(name, v, "must be a duration of at least "+low.String())
		return
	}
	t.set(setting, v)
}

func (t *translator) listeners() {
	t.set("http.addr", net.JoinHostPort(t.text("HOST", "0.0.0.0"), t.port("PORT", "8080")))
	t.set("grpc.addr", net.JoinHostPort(t.text("GRPC_HOST", "0.0.0.0"), t.port("GRPC_PORT", "8081")))
	host := t.text("DEBUG_HOST", "127.0.0.1")
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		host = "127.0.0.1" // there is no access control yet
	}
	t.set("admin.addr", net.JoinHostPort(host, t.port("DEBUG_PORT", "6070")))
	t.duration("grpc.connection_age_max", "GRPC_MAX_CONNECTION_AGE", "24h", time.Second)
	if t.boolean("USE_PROMETHEUS") {
		t.set("metrics.addr", t.text("PROMETHEUS_ADDR", ":9090"))
		p := t.text("PROMETHEUS_PATH", "/metrics")
		if !strings.HasPrefix(p, "/") {
			t.problem("PROMETHEUS_PATH", p, "must begin with /")
		}
		t.set("metrics.path", p)
	}
}

func (t *translator) log() {
	v := t.text("LOG_LEVEL", "warn")
	level := map[string]string{
		"panic": "error", "fatal": "error", "error": "error", "warn": "warn", "warning": "warn",
		"info": "info", "debug": "debug", "trace": "debug",
	}[strings.ToLower(v)]
	if level == "" {
		t.problem("LOG_LEVEL", v, "must be one of panic, fatal, error, warn, info, debug, trace")
		return
	}
	t.set("log.level", level)
	if strings.EqualFold(t.given["LOG_FORMAT"], "json") {
		t.set("log.format", "json")
	}
}

// encryption is that of the gRPC port.
func (t *translator) encryption() {
	if !t.boolean("GRPC_SERVER_USE_TLS") {
		return
	}
	for _, f := range [][2]string{{"GRPC_SERVER_TLS_CERT", "grpc.tls.cert_file"}, {"GRPC_SERVER_TLS_KEY", "grpc.tls.key_file"}} {
		if t.given[f[0]] == "" {
			t.problem(f[0], "", "must name a PEM file where GRPC_SERVER_USE_TLS is true")
		}
		t.set(f[1], t.given[f[0]])
	}
	if ca := t.given["GRPC_CLIENT_TLS_CACERT"]; ca != "" {
		t.set("grpc.tls.client_ca_file", ca)
		t.set("grpc.tls.client_auth", "require")
	}
}

// limits is how configuration is read, wherever it comes from.
func (t *translator) limits() {
	for _, f := range [][2]string{
		{"MERGE_DOMAIN_CONFIG", "policy.envoy.merge_domains"},
		{"SHADOW_MODE", "policy.envoy.shadow"},
		{"QUOTA_MODE", "policy.envoy.any_of"},
		{"STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT", "policy.envoy.stop_when_over"},
	} {
		t.set(f[1], strconv.FormatBool(t.boolean(f[0])))
	}
	// The service answers late, and has Envoy's timeout and failure_mode_deny say
	// what becomes of the request.
	t.set("grpc.behind_max", "0")
}

// headers are those that answers have Envoy add.
func (t *translator) headers() {
	// The service adds none of these.
	t.set("rls.retry_after_header", "")
	t.set("rls.limit_header", "")
	if !t.boolean("LIMIT_RESPONSE_HEADERS_ENABLED") {
		return
	}
	for _, f := range [][3]string{
		{"LIMIT_LIMIT_HEADER", "RateLimit-Limit", "rls.amount_header"},
		{"LIMIT_REMAINING_HEADER", "RateLimit-Remaining", "rls.remaining_header"},
		{"LIMIT_RESET_HEADER", "RateLimit-Reset", "rls.reset_header"},
	} {
		name := strings.ToLower(t.text(f[0], f[1])) // HTTP/2 has no other
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			t.problem(f[0], name, "must be a header name: letters, digits, '-', '_' and '.'")
			continue
		}
		t.set(f[2], name)
	}
}

func (t *translator) files() {
	root := t.text("RUNTIME_ROOT", "/srv/runtime_data/current")
	t.set("policy.envoy.root", root)
	t.set("policy.envoy.dir", path.Join(root, t.given["RUNTIME_SUBDIRECTORY"], t.text("RUNTIME_APPDIRECTORY", "config")))
	t.set("policy.envoy.dot_files", strconv.FormatBool(!t.boolean("RUNTIME_IGNOREDOTFILES")))
}

func (t *translator) controlPlane() {
	t.set("policy.xds.server", t.text("CONFIG_GRPC_XDS_SERVER_URL", "localhost:18000"))
	t.set("policy.xds.node_id", t.text("CONFIG_GRPC_XDS_NODE_ID", "default"))
	var pairs []string
	for pair := range strings.SplitSeq(t.given["CONFIG_GRPC_XDS_NODE_METADATA"], ",") {
		if name, _, ok := strings.Cut(pair, "="); ok && name != "" { // the service skips others
			pairs = append(pairs, pair)
		}
	}
	t.set("policy.xds.node_metadata", strings.Join(pairs, ","))
	var headers []string
	if all := t.given["CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS"]; all != "" {
		for pair := range strings.SplitSeq(all, ",") {
			name, value, ok := strings.Cut(pair, ":")
			if !ok || name == "" {
				t.problem("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", pair, "must be name:value")
			}
			headers = append(headers, name+"="+value)
		}
	}
	t.set("policy.xds.headers", strings.Join(headers, ","))
	t.set("policy.xds.await_initial", strconv.FormatBool(
		t.boolean("HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED") || !t.boolean("FORCE_START_WITHOUT_INITIAL_CONFIG")))
	t.duration("policy.xds.backoff_min", "XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", "", 10*time.Millisecond)
	t.duration("policy.xds.backoff_max", "XDS_CLIENT_BACKOFF_MAX_INTERVAL", "", 10*time.Millisecond)
	if v := t.given["XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES"]; v != "" && v != "0" {
		if n, err := strconv.ParseUint(v, 10, 28); err != nil || n < 1024 {
			t.problem("XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES", v, "must be a number of bytes from 1024 to 268435455")
		} else {
			t.set("policy.xds.message_bytes_max", v)
		}
	}
	if !t.boolean("CONFIG_GRPC_XDS_SERVER_USE_TLS") {
		return
	}
	t.set("policy.xds.tls.enabled", "true")
	for _, f := range [][2]string{
		{"CONFIG_GRPC_XDS_CLIENT_TLS_CERT", "cert_file"},
		{"CONFIG_GRPC_XDS_CLIENT_TLS_KEY", "key_file"},
		{"CONFIG_GRPC_XDS_SERVER_TLS_CACERT", "ca_file"},
		{"CONFIG_GRPC_XDS_SERVER_TLS_SAN", "server_name"},
	} {
		t.set("policy.xds.tls."+f[1], t.given[f[0]])
	}
}

// ignored returns which of the given variables mean nothing.
func (t *translator) ignored() []string {
	var names []string
	for name := range t.given {
		for _, pattern := range ignored() {
			prefix, isPrefix := strings.CutSuffix(pattern, "*")
			if name == pattern || isPrefix && strings.HasPrefix(name, prefix) {
				names = append(names, name)
				break
			}
		}
	}
	slices.Sort(names)
	return names
}
