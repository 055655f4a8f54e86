package app

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A logBuffer is what a node logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// testConfig returns settings of a node that listens on free loopback ports
// and reads the given policy.
func testConfig(t *testing.T, policyText string) config.Config {
	t.Helper()
	dir := t.TempDir()
	c := config.Default()
	c.DataDir = filepath.Join(dir, "data")
	c.GRPC.Addr, c.HTTP.Addr, c.Admin.Addr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.Shutdown.DrainDelay = 0
	c.Policy.Debounce = 20 * time.Millisecond
	if policyText != "" {
		c.Policy.Paths = []string{filepath.Join(dir, "policy.yaml")}
		write(t, c.Policy.Paths[0], policyText)
	}
	return c
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A testNode is a node that runs in this process.
type testNode struct {
	Addrs
	t       *testing.T
	log     *logBuffer
	signals chan os.Signal
	stopped chan error
	cancel  context.CancelFunc
	conn    *grpc.ClientConn
	client  headgatev1.DecisionServiceClient
}

func startNode(t *testing.T, c config.Config) *testNode {
	t.Helper()
	n, err := tryStart(t, c)
	if err != nil {
		t.Fatalf("the node did not start: %v\n%s", err, n.log)
	}
	return n
}

// tryStart is startNode for one that may not start.
func tryStart(t *testing.T, c config.Config) (*testNode, error) {
	t.Helper()
	return tryStartWith(t, Options{Config: c})
}

// tryStartWith is tryStart with more than settings.
func tryStartWith(t *testing.T, o Options) (*testNode, error) {
	t.Helper()
	n := &testNode{t: t, log: &logBuffer{}, signals: make(chan os.Signal, 4), stopped: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	started := make(chan Addrs, 1)
	o.Signals, o.Started = n.signals, func(a Addrs) { started <- a }
	o.Log = slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() { n.stopped <- Run(ctx, o) }()
	select {
	case n.Addrs = <-started:
	case err := <-n.stopped:
		cancel()
		return n, err
	}
	var err error
	if n.conn, err = grpc.NewClient(n.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	n.client = headgatev1.NewDecisionServiceClient(n.conn)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := n.conn.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		if n.stopped == nil {
			return
		}
		if err := <-n.stopped; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return n, nil
}

// stop stops the node as SIGTERM does and returns what Run returned.
func (n *testNode) stop() error {
	n.t.Helper()
	n.signals <- syscall.SIGTERM
	return n.end()
}

func (n *testNode) end() error {
	n.t.Helper()
	select {
	case err := <-n.stopped:
		n.stopped = nil
		return err
	case <-time.After(20 * time.Second):
		n.t.Fatalf("the node did not stop\n%s", n.log)
		return nil
	}
}

// get returns the status and body of an HTTP answer.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen that %s", what)
		}
	}
}
