//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// startTimeout bounds every wait for a process to become ready or to end.
const startTimeout = 30 * time.Second

// An envoy is one running Envoy process.
type envoy struct {
	admin     string            // host:port of its admin interface
	listeners map[string]string // name → host:port
}

// startEnvoy renders testdata/tmpl with vars and runs Envoy with it until the
// test ends. Listeners bind port 0 and are found by name afterwards.
func startEnvoy(t *testing.T, tmpl string, vars any) *envoy {
	t.Helper()
	bin := os.Getenv("ENVOY")
	if bin == "" {
		t.Fatal("ENVOY is not set: run these tests with `make e2e`, which installs Envoy")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(config, render(t, tmpl, vars), 0o600); err != nil {
		t.Fatal(err)
	}
	adminFile := filepath.Join(dir, "admin")
	p := start(t, "envoy", exec.Command(bin,
		"--config-path", config,
		"--admin-address-path", adminFile,
		"--use-dynamic-base-id",
		"--concurrency", "2",
		"--log-level", "warning"))
	e := &envoy{}
	p.await(t, func() error {
		b, err := os.ReadFile(adminFile)
		if err != nil {
			return err
		}
		e.admin = strings.TrimSpace(string(b))
		_, err = get("http://" + e.admin + "/ready")
		return err
	})
	e.listeners = e.listenerAddrs(t)
	return e
}

// listenerAddrs asks Envoy where its listeners ended up.
func (e *envoy) listenerAddrs(t *testing.T) map[string]string {
	t.Helper()
	body, err := get("http://" + e.admin + "/listeners?format=json")
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	addrs := map[string]string{}
	for _, s := range answer.Statuses {
		addrs[s.Name] = fmt.Sprintf("%s:%d", s.Local.Socket.Address, s.Local.Socket.Port)
	}
	return addrs
}

// counter returns the value of one of Envoy's counters; Envoy makes most of
// them when they first count.
func (e *envoy) counter(t *testing.T, name string) int {
	t.Helper()
	body, err := get("http://" + e.admin + "/stats?filter=^" + name + "$")
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		return 0
	}
	var n int
	if _, err := fmt.Sscanf(body, name+": %d", &n); err != nil {
		t.Fatalf("counter %s: %q: %v", name, body, err)
	}
	return n
}

// render fills in a template of testdata/.
func render(t *testing.T, tmpl string, vars any) []byte {
	t.Helper()
	parsed, err := template.New(tmpl).Option("missingkey=error").ParseFiles(filepath.Join("testdata", tmpl))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := parsed.Execute(&out, vars); err != nil {
		t.Fatal(err)
	}
	return []byte(out.String())
}

// A process is a child of the test.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; valid once done is closed
}

// start runs cmd; its output becomes part of the test's if the test fails. The
// process ends with the test at the latest.
func start(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	logs := filepath.Join(t.TempDir(), name+".log")
	out, err := os.Create(logs)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended: that is what stop is for
		select {
		case <-p.done:
		case <-time.After(startTimeout):
			t.Errorf("%s outlives SIGKILL", name)
		}
		_ = out.Close()
		if t.Failed() {
			b, _ := os.ReadFile(logs)
			t.Logf("%s said:\n%s", name, b)
		}
	})
	return p
}

// await retries until p is ready, or has ended.
func (p *process) await(t *testing.T, ready func() error) {
	t.Helper()
	eventually(t, p.name+" to be ready", func() error {
		select {
		case <-p.done:
			t.Fatalf("%s ended before it was ready: %v", p.name, p.err)
		default:
		}
		return ready()
	})
}

// stop asks p to end and requires exit code 0.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("stop %s: %v", p.name, err)
	}
	select {
	case <-p.done:
		if p.err != nil {
			t.Fatalf("%s ended with %v after SIGTERM", p.name, p.err)
		}
	case <-time.After(startTimeout):
		t.Fatalf("%s did not end within %v of SIGTERM", p.name, startTimeout)
	}
}

// eventually retries until ok returns nil.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s: %v", startTimeout, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// get returns the body of a 200 answer.
func get(url string) (string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s: %s", url, resp.Status, b)
	}
	return string(b), nil
}

// listen opens a loopback listener on a free port.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// port returns the port of an address as Envoy's configuration wants it.
func port(t *testing.T, addr string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
