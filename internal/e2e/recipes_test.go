//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A recipe is a configuration of docs/guides and what it promises. The table in
// docs/guides/gateways.md says the same.
type recipe struct {
	name  string
	guide string
	start func(*testing.T, *kitchen) // runs the gateway at k.gateway
	// away is what clients get with Headgate stopped.
	away int
	// told: allowed answers carry RateLimit, too.
	told bool
	// body is what a denial's body has.
	body string
}

const (
	headgateBody = `denied by limit \"per-client\"` // Headgate's own
	nginxBody    = `"title":"Quota exceeded","status":429}`
)

func recipes() []recipe {
	return []recipe{
		{"nginx auth_request", "docs/guides/nginx.md", nginx("headgate.conf", true), allowed, true, nginxBody},
		{"nginx auth_request, fail closed", "docs/guides/nginx.md", nginx("headgate.conf", false), http.StatusServiceUnavailable, true, nginxBody},
		{"nginx Lua", "docs/guides/nginx.md", nginx("headgate-lua.conf", true, "ndk", "lua"), allowed, true, headgateBody},
		{"nginx Lua, fail closed", "docs/guides/nginx.md", nginx("headgate-lua.conf", false, "ndk", "lua"), http.StatusServiceUnavailable, true, headgateBody},
		{"HAProxy", "docs/guides/haproxy.md", haproxy, allowed, true, headgateBody},
		{"HAProxy, fail closed", "docs/guides/haproxy.md", haproxyClosed, http.StatusServiceUnavailable, true, headgateBody},
		{"Caddy", "docs/guides/caddy.md", caddy, http.StatusBadGateway, false, headgateBody},
		{"Envoy ext_authz, gRPC", "docs/guides/envoy-ext-authz.md", extAuthz("envoy.yaml, gRPC", true), allowed, true, headgateBody},
		{"Envoy ext_authz, gRPC, fail closed", "docs/guides/envoy-ext-authz.md", extAuthz("envoy.yaml, gRPC", false), http.StatusForbidden, true, headgateBody},
		{"Envoy ext_authz, HTTP", "docs/guides/envoy-ext-authz.md", extAuthz("envoy.yaml, HTTP", true), allowed, true, headgateBody},
		{"Envoy ext_authz, HTTP, fail closed", "docs/guides/envoy-ext-authz.md", extAuthz("envoy.yaml, HTTP", false), http.StatusForbidden, true, headgateBody},
		{"Caddy, fail open", "docs/guides/caddy.md", caddyOpen, allowed, false, headgateBody},
	}
}

// A kitchen is where a recipe is tried: clients → a gateway → Headgate, and an
// upstream.
type kitchen struct {
	recipe   recipe
	headgate *headgate
	upstream *upstream
	gateway  string // host:port where the gateway listens
	dir      string // its files
}

// TestRecipesWorkAsWritten runs each gateway with the configuration that its
// guide shows.
func TestRecipesWorkAsWritten(t *testing.T) {
	t.Parallel()
	for _, r := range recipes() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			k := &kitchen{
				recipe: r, headgate: startHeadgate(t), upstream: startUpstream(t),
				gateway: freeAddr(t), dir: t.TempDir(),
			}
			r.start(t, k)
			k.countsExactly(t)
			k.tellsTheClient(t)
			k.describesTheRequest(t)
			k.believesNoClient(t)
			k.outlivesHeadgate(t)
		})
	}
}

func (k *kitchen) url(path string) string { return "http://" + k.gateway + path }

// countsExactly sends more than the limit from several clients at once.
func (k *kitchen) countsExactly(t *testing.T) {
	t.Helper()
	crowd{clients: 4, requests: 150, workers: 8}.ask(t, k.url("/counted"))
	if n := k.upstream.count("/counted"); n != 4*clientLimit {
		t.Errorf("%d requests reached the upstream, want %d", n, 4*clientLimit)
	}
}

var (
	ratelimitField = regexp.MustCompile(`^"per-client";r=(\d+);t=\d+$`)
	policyField    = regexp.MustCompile(`^"per-client";q=100;w=\d+$`)
)

// tellsTheClient looks at what an allowed and a denied client can see. Client 10
// has used up its limit, 20 has not begun.
func (k *kitchen) tellsTheClient(t *testing.T) {
	t.Helper()
	a := k.ask(t, 20, http.MethodGet, "/", "")
	told := a.header.Get("Ratelimit") != "" && a.header.Get("Ratelimit-Policy") != ""
	if a.code != allowed || told != k.recipe.told || a.body != upstreamBody {
		t.Errorf("allowed: %+v; RateLimit told: %v, want %v", a, told, k.recipe.told)
	}
	if m := ratelimitField.FindStringSubmatch(a.header.Get("Ratelimit")); told && (m == nil || m[1] != "99") {
		t.Errorf("allowed: RateLimit: %q", a.header.Get("Ratelimit"))
	}
	if s := a.header.Get("Retry-After"); s != "" {
		t.Errorf("allowed with Retry-After %q", s)
	}
	d := k.ask(t, 10, http.MethodGet, "/", "")
	if d.code != denied || headerSeconds(t, d.header, "Retry-After") < 1 {
		t.Errorf("denied: %+v", d)
	}
	if m := ratelimitField.FindStringSubmatch(d.header.Get("Ratelimit")); m == nil || m[1] != "0" {
		t.Errorf("denied: RateLimit: %q", d.header.Get("Ratelimit"))
	}
	if s := d.header.Get("Ratelimit-Policy"); !policyField.MatchString(s) {
		t.Errorf("denied: RateLimit-Policy: %q", s)
	}
	for name, want := range map[string]string{"Content-Type": "application/problem+json", "Cache-Control": "no-store"} {
		if got := d.header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("denied: %s: %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(d.body, k.recipe.body) {
		t.Errorf("denied: the body is %q, want one with %q", d.body, k.recipe.body)
	}
}

// describesTheRequest meets a limit that only counts requests of one method,
// path, host and scheme, and looks at what reaches the upstream.
func (k *kitchen) describesTheRequest(t *testing.T) {
	t.Helper()
	for i, want := range []int{allowed, allowed, denied} {
		target := fmt.Sprintf("/upload?n=%d&path=/x", i)
		a := k.ask(t, 21, http.MethodPost, target, "a body")
		if a.code != want {
			t.Errorf("upload %d: %+v, want %d", i, a, want)
		}
		if seen := a.header.Get("X-Seen"); want == allowed && seen != "POST "+target+" a body" {
			t.Errorf("upload %d: the upstream saw %q", i, seen)
		}
	}
	if a := k.ask(t, 21, http.MethodPut, "/upload", ""); a.code != allowed {
		t.Errorf("another method: %+v", a)
	}
}

// believesNoClient sends what could get a client around its limit.
func (k *kitchen) believesNoClient(t *testing.T) {
	t.Helper()
	for _, field := range [][2]string{
		{"X-Forwarded-For", "192.0.2.1"},
		{"X-Real-IP", "192.0.2.1"},
		{"Forwarded", "for=192.0.2.1"},
		{"X-RateLimit-Domain", "nowhere"},
		{"X-RateLimit-Cost", "0"},
		{"X-RateLimit-Attributes", "remote_address=192.0.2.1"},
		{"X-RateLimit-Descriptor", "remote_address=192.0.2.1"},
		{"X-RateLimit-Deny-Status", "403"},
		{"X-Envoy-External-Address", "192.0.2.1"},
	} {
		if a := k.ask(t, 10, http.MethodGet, "/", "", field[0], field[1]); a.code != denied {
			t.Errorf("with %s: %s: status %d, want 429", field[0], field[1], a.code)
		}
	}
	// Beyond a bound nothing is decided, and failing open would let it pass.
	if a := k.ask(t, 10, http.MethodGet, "/"+strings.Repeat("x", 5000), ""); a.code != http.StatusBadRequest {
		t.Errorf("with a path of 5 KB: %+v, want 400", a)
	}
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method", "X-Forwarded-Uri", "X-Original-URI", "X-Original-URL", "X-Envoy-Original-Path", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if a := k.ask(t, 21, http.MethodPost, "/upload", "", name, "/other"); a.code != denied {
			t.Errorf("upload with %s: /other: status %d, want 429", name, a.code)
		}
	}
}

// outlivesHeadgate stops Headgate and starts it again.
func (k *kitchen) outlivesHeadgate(t *testing.T) {
	t.Helper()
	k.headgate.stop(t)
	for range 3 {
		if a := k.ask(t, 10, http.MethodGet, "/", ""); a.code != k.recipe.away {
			t.Errorf("Headgate stopped: %+v, want %d", a, k.recipe.away)
		}
	}
	k.headgate.start(t)
	eventually(t, "the gateway to reach Headgate again", func() error {
		if a := k.ask(t, 10, http.MethodGet, "/", ""); a.code != denied {
			return fmt.Errorf("status %d, want 429", a.code)
		}
		return nil
	})
}

// An answer is what a client sees.
type answer struct {
	code   int
	header http.Header
	body   string
}

// ask sends one request from 127.0.0.host, to shop.example.
func (k *kitchen) ask(t *testing.T, host byte, method, target, body string, fields ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, k.url(target), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "shop.example"
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := newClient(t, host).http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// block returns the block of the recipe's guide whose first line is a comment that
// ends with name, with the ports and paths of the test instead of the guide's.
func (k *kitchen) block(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("../..", k.recipe.guide))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^```[a-z]+\n(?:#|--) [^\n]*" + regexp.QuoteMeta(name) + "\n(.*?)^```$").FindSubmatch(page)
	if found == nil {
		t.Fatalf("%s has no block that begins with a comment that ends with %s", k.recipe.guide, name)
	}
	text := string(found[1])
	upstream, grpc, http := k.upstream.addr, k.headgate.grpc, k.headgate.http
	for from, to := range map[string]string{"8000": k.gateway, "9000": upstream, "8080": http, "8081": grpc} {
		text = strings.ReplaceAll(text, "127.0.0.1:"+from, to)
		text = strings.ReplaceAll(text, "port_value: "+from, "port_value: "+port(t, to))
		text = strings.ReplaceAll(text, "http://:"+from, "http://:"+port(t, to))
	}
	// A test that counts exactly on a busy machine has more patience.
	for from, to := range map[string]string{"100ms": "5s", "timeout = 100,": "timeout = 5000,", "timeout: 0.2s": "timeout: 5s"} {
		text = strings.ReplaceAll(text, from, to)
	}
	for _, dir := range []string{"/etc/nginx/", "/etc/haproxy/"} {
		text = strings.ReplaceAll(text, dir, k.dir+"/")
	}
	return text
}

// write puts text into a file of the gateway's and returns its path.
func (k *kitchen) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(k.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// run starts the gateway, which Debian's package pkg has, and waits until it
// listens.
func (k *kitchen) run(t *testing.T, pkg, program string, args ...string) {
	t.Helper()
	bin, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", program, pkg)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+k.dir, "XDG_CONFIG_HOME="+k.dir)
	p := start(t, filepath.Base(program), cmd)
	t.Cleanup(func() { // nginx's workers outlive its SIGKILL
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(startTimeout):
		}
	})
	p.await(t, func() error {
		c, err := net.Dial("tcp", k.gateway)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// nginx returns a start with the configuration of a name and the modules. To fail
// closed it changes the line that the guide says.
func nginx(name string, open bool, modules ...string) func(*testing.T, *kitchen) {
	return func(t *testing.T, k *kitchen) {
		t.Helper()
		config := k.block(t, "/"+name)
		if !open {
			line := regexp.MustCompile("(?m)(?:include [^;]*;|return) (?:#|--) .*fail open; `(.*)` fails closed$")
			if len(line.FindAllString(config, -1)) != 1 {
				t.Fatal("the guide does not say how to fail closed")
			}
			config = line.ReplaceAllString(config, "$1")
		}
		var main strings.Builder
		for _, m := range modules {
			file := "/usr/share/nginx/modules-available/mod-http-" + m + ".conf"
			if _, err := os.Stat(file); err != nil {
				t.Fatalf("nginx's module %s is not installed: apt-get install libnginx-mod-http-%s: %v", m, m, err)
			}
			fmt.Fprintf(&main, "include %s;\n", file)
		}
		fmt.Fprintf(&main, "daemon off; worker_processes 2; error_log stderr; pid %s/nginx.pid; events {}\nhttp { access_log off;\n", k.dir)
		for _, temp := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			fmt.Fprintf(&main, "%s_temp_path %s/%s;\n", temp, k.dir, temp)
		}
		fmt.Fprintf(&main, "include %s;\n}\n", k.write(t, name, config))
		for _, part := range []string{"headgate_request", "headgate_application"} {
			k.write(t, part, k.block(t, part))
		}
		k.run(t, "nginx", "nginx", "-c", k.write(t, "nginx.conf", main.String()))
	}
}

func haproxy(t *testing.T, k *kitchen) {
	t.Helper()
	haproxyWith(t, k, k.block(t, "haproxy.cfg"))
}

// haproxyClosed takes the comment sign away from the line that the guide says.
func haproxyClosed(t *testing.T, k *kitchen) {
	t.Helper()
	open := k.block(t, "haproxy.cfg")
	closed := strings.Replace(open, "# http-request return", "http-request return", 1)
	if closed == open {
		t.Fatal("the guide does not say how to fail closed")
	}
	haproxyWith(t, k, closed)
}

func haproxyWith(t *testing.T, k *kitchen, config string) {
	t.Helper()
	k.write(t, "headgate.lua", k.block(t, "headgate.lua"))
	k.run(t, "haproxy", "haproxy", "-db", "-f", k.write(t, "haproxy.cfg", config))
}

func caddy(t *testing.T, k *kitchen) {
	t.Helper()
	caddyWith(t, k, k.block(t, "Caddyfile"))
}

// caddyOpen adds the block that the guide says to the end of the site.
func caddyOpen(t *testing.T, k *kitchen) {
	t.Helper()
	closed := strings.TrimSpace(k.block(t, "Caddyfile"))
	caddyWith(t, k, strings.TrimSuffix(closed, "}")+k.block(t, "after reverse_proxy")+"}\n")
}

func caddyWith(t *testing.T, k *kitchen, config string) {
	t.Helper()
	k.run(t, "caddy", "caddy", "run", "--adapter", "caddyfile", "--config", k.write(t, "Caddyfile", config))
}

// extAuthz returns a start with the configuration of a name. To fail closed it
// changes the line that the guide says.
func extAuthz(name string, open bool) func(*testing.T, *kitchen) {
	return func(t *testing.T, k *kitchen) {
		t.Helper()
		config := k.block(t, name)
		if !open {
			config = strings.Replace(config, "failure_mode_allow: true", "failure_mode_allow: false", 1)
		}
		bin := os.Getenv("ENVOY")
		if bin == "" {
			t.Fatal("ENVOY is not set: run these tests with `make e2e`, which installs Envoy")
		}
		k.run(t, "envoy", bin, "--config-path", k.write(t, "envoy.yaml", config), "--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning")
	}
}
