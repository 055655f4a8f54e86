//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A headgate is one node, which can be stopped and started again.
type headgate struct {
	*process
	grpc, http string // host:port
	policy     string // path of its policy file
	dataDir    string
}

// startHeadgate runs the real binary with testdata/policy.yaml.tmpl.
func startHeadgate(t *testing.T) *headgate {
	t.Helper()
	dir := t.TempDir()
	h := &headgate{
		grpc: freeAddr(t), http: freeAddr(t),
		policy:  filepath.Join(dir, "policy.yaml"),
		dataDir: filepath.Join(dir, "data"),
	}
	h.writePolicy(t, string(render(t, "policy.yaml.tmpl", map[string]int{"Burst": 100})))
	h.start(t)
	return h
}

func (h *headgate) start(t *testing.T) {
	t.Helper()
	bin := os.Getenv("HEADGATE")
	if bin == "" {
		t.Fatal("HEADGATE is not set: run these tests with `make e2e`, which builds it")
	}
	cmd := exec.Command(bin, "serve",
		"--policy", h.policy, "--data-dir", h.dataDir,
		"--grpc", h.grpc, "--http", h.http, "--admin", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "HEADGATE_SHUTDOWN_DRAIN_DELAY=0s", "HEADGATE_POLICY_DEBOUNCE=20ms",
		// Gateways ask from there; the tests' clients have other loopback addresses.
		"HEADGATE_HTTP_TRUSTED_PROXIES=127.0.0.1")
	h.process = start(t, "headgate", cmd)
	h.await(t, func() error {
		_, err := get("http://" + h.http + "/readyz")
		return err
	})
}

// writePolicy replaces the policy file in one step, as an editor or a
// deployment does.
func (h *headgate) writePolicy(t *testing.T, text string) {
	t.Helper()
	next := h.policy + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, h.policy); err != nil {
		t.Fatal(err)
	}
}

// metric returns an error unless the node's metrics have the given line.
func (h *headgate) metric(line string) error {
	page, err := get("http://" + h.http + "/metrics")
	if err != nil {
		return err
	}
	if !strings.Contains(page, "\n"+line+"\n") {
		return fmt.Errorf("no %q in /metrics", line)
	}
	return nil
}

// freeAddr returns a loopback address that nobody listens on at the moment. Its
// port is below those that the system gives to connections, of which other tests
// open many at the same time.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 18_000+rand.IntN(14_000))
		if l, err := net.Listen("tcp", addr); err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return addr
		}
	}
	t.Fatal("no free port from 18000 to 31999")
	return ""
}

// A site is a whole installation: clients → Envoy → Headgate, and an upstream.
type site struct {
	envoy    *envoy
	headgate *headgate
	upstream *upstream
}

func startSite(t *testing.T) *site {
	t.Helper()
	return startSiteOver(t, "")
}

// startSiteOver starts one whose Envoy asks Headgate over the transport_socket
// that text is; "": in cleartext.
func startSiteOver(t *testing.T, text string) *site {
	t.Helper()
	s := &site{headgate: startHeadgate(t), upstream: startUpstream(t)}
	s.envoy = startEnvoy(t, "gateway.yaml.tmpl", map[string]any{
		"Listeners": map[string]bool{"open": false, "closed": true},
		"Upstream":  port(t, s.upstream.addr),
		"Headgate":  port(t, s.headgate.grpc),
		"Transport": text,
	})
	return s
}

// An upstream counts what reaches it and answers with upstreamBody.
type upstream struct {
	addr string
	mu   sync.Mutex
	seen map[string]int // guarded by mu; requests by path
}

func startUpstream(t *testing.T) *upstream {
	t.Helper()
	l := listen(t)
	u := &upstream{addr: l.Addr().String(), seen: map[string]int{}}
	go http.Serve(l, u) //nolint:errcheck // it ends with its listener
	return u
}

// ServeHTTP answers 200.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.seen[r.URL.Path]++
	u.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Seen", r.Method+" "+r.URL.RequestURI()+" "+string(body))
	_, _ = io.WriteString(w, upstreamBody)
}

func (u *upstream) count(path string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.seen[path]
}

// A client sends requests from one address.
type client struct{ http *http.Client }

// newClient returns a client whose connections come from 127.0.0.host.
func newClient(t *testing.T, host byte) *client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, host)}}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{&http.Client{Transport: transport, Timeout: startTimeout}}
}

// get sends one request and returns its status and headers.
func (c *client) get(ctx context.Context, url string, headers ...string) (int, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header, err
}

// mustGet is get for requests that must be answered.
func (c *client) mustGet(t *testing.T, url string, headers ...string) (int, http.Header) {
	t.Helper()
	code, h, err := c.get(t.Context(), url, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return code, h
}

// A crowd is clients that ask at once, each more often than its limit allows.
type crowd struct{ clients, requests, workers int }

// ask asks url: each client must be allowed exactly clientLimit times.
func (c crowd) ask(t *testing.T, url string) {
	t.Helper()
	var wg sync.WaitGroup
	tallies := make([]tally, c.clients)
	for i := range tallies {
		client := newClient(t, byte(10+i))
		work := make(chan struct{}, c.requests)
		for range c.requests {
			work <- struct{}{}
		}
		close(work)
		for range c.workers {
			wg.Go(func() {
				for range work {
					code, _, err := client.get(t.Context(), url)
					if err != nil {
						t.Error(err)
					}
					tallies[i].add(code)
				}
			})
		}
	}
	wg.Wait()
	for i := range tallies {
		if a, d := tallies[i].count(allowed), tallies[i].count(denied); a != clientLimit || d != c.requests-clientLimit {
			t.Errorf("client %d: %v, want %d × 200 and %d × 429", i, &tallies[i], clientLimit, c.requests-clientLimit)
		}
	}
}

// A tally counts answers by status. Safe for concurrent use.
type tally struct {
	mu     sync.Mutex
	counts map[int]int // guarded by mu
}

func (n *tally) add(code int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.counts == nil {
		n.counts = map[int]int{}
	}
	n.counts[code]++
}

func (n *tally) count(code int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts[code]
}

// mustBe requires that each of the codes was seen, and no other.
func (n *tally) mustBe(t *testing.T, who string, codes ...int) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, code := range codes {
		if n.counts[code] == 0 {
			t.Errorf("%s never got %d: %v", who, code, n.counts)
		}
	}
	if len(n.counts) != len(codes) {
		t.Errorf("%s got %v, want only %v", who, n.counts, codes)
	}
	t.Logf("%s: %v", who, n.counts)
}

// String returns the counts by status.
func (n *tally) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprint(n.counts)
}

// wait sleeps, or ends early with the test.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
