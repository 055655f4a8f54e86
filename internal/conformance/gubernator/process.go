package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	guber "github.com/gubernator-io/gubernator/v2"
)

// policy takes what the load and the tests ask for.
const policy = `domain: services
gubernator: {max_limit: 1_000_000_000, max_duration: 1d}
`

// cacheKeys is how many keys Gubernator keeps; its default of 50,000 would do for
// the usual load, too.
const cacheKeys = 2_000_000

// A process is a server.
type process struct {
	name       string
	grpc, http string // addresses
	client     guber.V1Client
	cmd        *exec.Cmd
	dir        string // of its own; "": none
}

// freePorts sets addrs to addresses that nobody listens at.
func freePorts(addrs ...*string) error {
	for _, addr := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		*addr = l.Addr().String()
	}
	return nil
}

// startHeadgate serves until stop. An error leaves nothing behind but a directory.
func startHeadgate(ctx context.Context, binary string) (*process, error) {
	dir, err := os.MkdirTemp("", "gubernator")
	if err != nil {
		return nil, err
	}
	p := &process{name: "Headgate", dir: dir}
	file := filepath.Join(dir, "services.yaml")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		return nil, err
	}
	if err := freePorts(&p.grpc, &p.http); err != nil {
		return nil, err
	}
	p.cmd = exec.CommandContext(ctx, binary, "serve", "--policy", file, "--data-dir", filepath.Join(dir, "data"),
		"--grpc", p.grpc, "--http", p.http, "--admin", "127.0.0.1:0", "--log-level", "warn")
	return p, p.start(ctx)
}

// startGubernator serves until stop, alone.
func startGubernator(ctx context.Context, binary string) (*process, error) {
	p := &process{name: "Gubernator"}
	var gossip string
	if err := freePorts(&p.grpc, &p.http, &gossip); err != nil {
		return nil, err
	}
	p.cmd = exec.CommandContext(ctx, binary)
	p.cmd.Env = append(os.Environ(),
		"GUBER_GRPC_ADDRESS="+p.grpc, "GUBER_HTTP_ADDRESS="+p.http, "GUBER_ADVERTISE_ADDRESS="+p.grpc,
		"GUBER_PEER_DISCOVERY_TYPE=member-list", "GUBER_MEMBERLIST_ADDRESS="+gossip, "GUBER_MEMBERLIST_BIND_ADDRESS="+gossip,
		"GUBER_MEMBERLIST_KNOWN_NODES="+gossip, "GUBER_LOG_LEVEL=error", "OTEL_TRACES_EXPORTER=none",
		"GUBER_CACHE_SIZE="+strconv.Itoa(cacheKeys))
	return p, p.start(ctx)
}

// start runs the process and waits until it is healthy.
func (p *process) start(ctx context.Context) error {
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		return err
	}
	var err error
	if p.client, err = guber.DialV1Server(p.grpc, nil); err != nil {
		p.stop()
		return err
	}
	for range 1000 {
		if _, err = p.client.HealthCheck(ctx, &guber.HealthCheckReq{}); err == nil {
			return nil
		}
		time.Sleep(30 * time.Millisecond)
	}
	p.stop()
	return fmt.Errorf("not healthy: %w", err)
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
	_ = p.cmd.Wait()
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}

// cpu returns the processor time that the process has used: fields 14 and 15 of
// /proc/PID/stat, in hundredths of a second.
func (p *process) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat: %q", b)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
