package main

import (
	"context"
	"errors"
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

// A server is one of the two: a process, or several that are members of one cluster.
type server struct {
	name   string
	method string
	// message returns what the i-th key is asked with.
	message func(i int) []byte
	// done reports whether an answer says that it was done.
	done    func(answer []byte) bool
	members []*member
}

// A member is a process.
type member struct {
	addr string // of its gRPC API
	peer string // where other members reach it
	dir  string
	cmd  *exec.Cmd
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
	err := p.start(ctx, s, func(i int, m *member) ([]string, error) {
		file := filepath.Join(m.dir, "bench.yaml")
		if err := os.WriteFile(file, fmt.Appendf(nil, policy, s.mode), 0o600); err != nil {
			return nil, err
		}
		data := filepath.Join(m.dir, "data")
		if s.nodes > 1 { // headgate serve knows no other nodes yet
			return []string{
				s.voter, "-number", strconv.Itoa(i), "-members", strings.Join(p.peers(), ","),
				"-grpc", m.addr, "-policy", file, "-dir", data,
			}, nil
		}
		settings := filepath.Join(m.dir, "headgate.yaml")
		return []string{
			s.headgate, "serve", "-c", settings, "--policy", file, "--data-dir", data, "--grpc", m.addr,
			"--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "error",
		}, os.WriteFile(settings, []byte(config), 0o600)
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
	err := p.start(ctx, s, func(i int, m *member) ([]string, error) {
		client, peer := "http://"+m.addr, "http://"+m.peer
		var all []string
		for i, peer := range p.peers() {
			all = append(all, fmt.Sprintf("member%d=http://%s", i, peer))
		}
		return []string{
			s.etcd, "--name", fmt.Sprintf("member%d", i), "--data-dir", filepath.Join(m.dir, "data"), "--log-level", "fatal",
			"--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
			"--initial-advertise-peer-urls", peer, "--initial-cluster", strings.Join(all, ","),
		}, nil
	})
	return p, err
}

// peers returns where the members reach each other.
func (p *server) peers() []string {
	var all []string
	for _, m := range p.members {
		all = append(all, m.peer)
	}
	return all
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

// start runs the program that command returns, for each member, and waits until all do
// what they are asked. An error leaves nothing behind.
func (p *server) start(ctx context.Context, s *settings, command func(i int, m *member) ([]string, error)) error {
	for range s.nodes {
		m := &member{}
		dir, err := os.MkdirTemp(s.dir, "bench-"+strings.ToLower(p.name))
		m.dir = dir
		p.members = append(p.members, m)
		if err := errors.Join(err, freePort(&m.addr), freePort(&m.peer)); err != nil {
			p.stop()
			return err
		}
	}
	for i, m := range p.members {
		args, err := command(i, m)
		if err == nil {
			m.cmd = exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // whoever measures says what
			m.cmd.Stderr = os.Stderr
			err = m.cmd.Start()
		}
		if err != nil {
			m.cmd = nil
			p.stop()
			return err
		}
	}
	for _, m := range p.members {
		if err := p.ready(ctx, m); err != nil {
			p.stop()
			return err
		}
	}
	return nil
}

// ready waits until a member does what it is asked.
func (p *server) ready(ctx context.Context, m *member) error {
	var err error
	for range 300 {
		if err = p.try(m); err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("not ready: %w", err)
}

// try asks once.
func (p *server) try(m *member) error {
	c, err := dial(m.addr, p.method, 1)
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
	for _, m := range p.members {
		if m.cmd != nil {
			_ = m.cmd.Process.Signal(os.Interrupt) // it may have ended
		}
	}
	for _, m := range p.members {
		if m.cmd != nil {
			_ = m.cmd.Wait()
		}
		_ = os.RemoveAll(m.dir)
	}
}

// cpu returns the processor time that the server has used.
func (p *server) cpu() (all time.Duration, err error) {
	for _, m := range p.members {
		t, err := m.cpu()
		if err != nil {
			return 0, err
		}
		all += t
	}
	return all, nil
}

// cpu reads fields 14 and 15 of /proc/PID/stat, in hundredths of a second.
func (m *member) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.cmd.Process.Pid))
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
