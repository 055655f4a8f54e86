package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/headgate/headgate/bench"
)

// Bounds of the waits for a process.
const (
	startMax = 20 * time.Second
	stopMax  = 20 * time.Second
)

// A server is a process that is measured.
type server struct {
	addr string
	cmd  *exec.Cmd
	log  string // file
	done chan struct{}
}

// aim directs c at s.
func (s *server) aim(c bench.Config) bench.Config {
	c.Target, c.ServerPID = s.addr, s.cmd.Process.Pid
	return c
}

// startServer runs a binary that listens on addr, and waits until it does.
func startServer(ctx context.Context, log, addr, binary string, args ...string) (*server, error) {
	out, err := os.Create(filepath.Clean(log))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	defer func() { _ = out.Close() }()   // the process has its own
	cmd := exec.Command(binary, args...) //nolint:gosec,noctx // the measurement's own binaries; stop ends them
	cmd.Stdout, cmd.Stderr = out, out
	// The shell's settings of Go's runtime are for neither: each has its defaults.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "GO") || strings.HasPrefix(v, "HEADGATE_")
	})
	cmd.Env = append(cmd.Env, "HEADGATE_GRPC_CONNECTIONS_MAX=20000", "HEADGATE_SHUTDOWN_DRAIN_DELAY=0s")
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (make bench-front builds it): %w", binary, err)
	}
	s := &server{addr: addr, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // that it has ended is all that matters
		close(s.done)
	}()
	if err := s.await(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// await waits until s takes connections.
func (s *server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startMax)
	defer cancel()
	for {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", s.addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-s.done:
			return s.trouble("ended before it was ready")
		case <-ctx.Done():
			return s.trouble("is not ready")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// trouble is an error with the end of what s has said.
func (s *server) trouble(what string) error {
	b, _ := os.ReadFile(s.log)
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return fmt.Errorf("%s %s; it said:\n%s", s.cmd.Path, what, b)
}

// stop ends s, gracefully if it can.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-s.done:
	case <-time.After(stopMax):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// rss returns the resident bytes of s.
func (s *server) rss() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	_, rest, ok := strings.Cut(string(b), "VmRSS:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); !ok || err != nil {
		return 0, errors.New("read memory: no VmRSS")
	}
	return kib << 10, nil
}

// freeAddrs returns n addresses of this machine that nobody listens on.
func freeAddrs(ctx context.Context, n int) ([]string, error) {
	var addrs []string
	for range n {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a port: %w", err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
