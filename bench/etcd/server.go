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

	"google.golang.org/protobuf/encoding/protowire"
)

// A server is one of the two, in a process of its own.
type server struct {
	name   string
	addr   string // of its gRPC API
	method string
	// message returns what the i-th key is asked with.
	message func(i int) []byte
	// done reports whether an answer says that it was done.
	done func(answer []byte) bool
	cmd  *exec.Cmd
	dir  string
}

// policy has a quota that does not run out. Of mode exact, each decision is an entry.
const policy = `domain: bench
limits:
  - {name: put, by: [key], quota: 36000000000000000/month, mode: %s}
`

// Requests wait as long as etcd's do, instead of 15 ms.
const config = `grpc: {decide_timeout: 5s, behind_max: 0s}
`

func startHeadgate(ctx context.Context, s *settings) (*server, error) {
	p := &server{name: "Headgate", method: "/headgate.v1.DecisionService/Check"}
	p.message = func(i int) []byte {
		var pair []byte
		pair = protowire.AppendString(protowire.AppendTag(pair, 1, protowire.BytesType), "key")
		pair = protowire.AppendString(protowire.AppendTag(pair, 2, protowire.BytesType), strconv.Itoa(i))
		b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "bench")
		return protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), pair)
	}
	p.done = func(answer []byte) bool { // verdict = VERDICT_ALLOWED comes first
		return len(answer) > 1 && answer[0] == 8 && answer[1] == 1
	}
	err := p.start(ctx, s, func(dir string) ([]string, error) {
		err := os.WriteFile(filepath.Join(dir, "bench.yaml"), fmt.Appendf(nil, policy, s.mode), 0o600)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "headgate.yaml"), []byte(config), 0o600)
		}
		return []string{
			s.headgate, "serve", "-c", filepath.Join(dir, "headgate.yaml"), "--policy", filepath.Join(dir, "bench.yaml"),
			"--data-dir", filepath.Join(dir, "data"), "--grpc", p.addr, "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "error",
		}, err
	})
	return p, err
}

func startEtcd(ctx context.Context, s *settings) (*server, error) {
	p := &server{name: "etcd", method: "/etcdserverpb.KV/Put"}
	p.message = func(i int) []byte {
		b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), fmt.Sprintf("key%d", i))
		return protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), "8 bytes.")
	}
	p.done = func(answer []byte) bool { return len(answer) > 0 && answer[0] == 10 } // it has a header
	var peer string
	err := freePort(&peer)
	if err != nil {
		return nil, err
	}
	err = p.start(ctx, s, func(dir string) ([]string, error) {
		client, peer := "http://"+p.addr, "http://"+peer
		return []string{
			s.etcd, "--data-dir", filepath.Join(dir, "data"), "--log-level", "fatal",
			"--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
			"--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
		}, nil
	})
	return p, err
}

// freePort sets addr to an address that nobody listens at.
func freePort(addr *string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	*addr = l.Addr().String()
	return l.Close()
}

// start runs the program that command returns and waits until it does what it is
// asked. An error leaves nothing behind.
func (p *server) start(ctx context.Context, s *settings, command func(dir string) ([]string, error)) error {
	if err := freePort(&p.addr); err != nil {
		return err
	}
	var err error
	if p.dir, err = os.MkdirTemp(s.dir, "bench-"+strings.ToLower(p.name)); err != nil {
		return err
	}
	args, err := command(p.dir)
	if err == nil {
		p.cmd = exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // whoever measures says what
		p.cmd.Stderr = os.Stderr
		err = p.cmd.Start()
	}
	if err != nil {
		_ = os.RemoveAll(p.dir)
		return err
	}
	if err := p.ready(ctx); err != nil {
		p.stop()
		return err
	}
	return nil
}

// ready waits until the server does what it is asked.
func (p *server) ready(ctx context.Context) error {
	var err error
	for range 300 {
		if err = p.try(); err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("not ready: %w", err)
}

// try asks once.
func (p *server) try() error {
	c, err := dial(p, 1)
	if err != nil {
		return err
	}
	defer c.close()
	answer, err := c.once(p.message(0))
	if err == nil && !p.done(answer) {
		err = fmt.Errorf("the answer is %x", answer)
	}
	return err
}

func (p *server) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
	_ = p.cmd.Wait()
	_ = os.RemoveAll(p.dir)
}

// cpu returns the processor time that the server has used: fields 14 and 15 of
// /proc/PID/stat, in hundredths of a second.
func (p *server) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat: %q", b)
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("stat: %q", b)
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}
