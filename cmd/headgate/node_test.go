package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// A scriptNode is the `headgate serve` process that a script has running.
type scriptNode struct {
	cmd  *exec.Cmd
	logs sync.WaitGroup // its log is being read
}

// startNode runs `headgate serve ARGUMENT...` on free loopback ports until
// stopnode, or the script's end, and sets $GRPC, $HTTP and $ADMIN to where it listens.
func startNode(ts *testscript.TestScript, neg bool, args []string) {
	n := ts.Value(scriptNode{}).(*scriptNode)
	if neg || n.cmd != nil {
		ts.Fatalf("usage: node ARGUMENT..., while no node runs")
	}
	n.cmd = exec.Command(headgateOf(ts), append([]string{
		"serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir", "data",
	}, args...)...)
	n.cmd.Dir = ts.MkAbs(".")
	r, w, err := os.Pipe()
	ts.Check(err)
	n.cmd.Stderr = w
	ts.Check(n.cmd.Start())
	ts.Check(w.Close())
	ts.Defer(func() { n.stop() })

	ready := make(chan []string, 1)
	n.logs.Go(func() {
		defer r.Close() //nolint:errcheck // only read from
		re := regexp.MustCompile(`msg="headgate is ready" grpc=(\S+) http=(\S+) .*admin=(\S+)`)
		for scan := bufio.NewScanner(r); scan.Scan(); {
			if m := re.FindStringSubmatch(scan.Text()); m != nil {
				ready <- m[1:]
			}
		}
		close(ready)
		io.Copy(io.Discard, r) //nolint:errcheck // a line that was too long: keep the process from blocking
	})
	select {
	case addresses, ok := <-ready:
		if !ok {
			ts.Fatalf("the node ended: %v", n.stop())
		}
		ts.Setenv("GRPC", addresses[0])
		ts.Setenv("HTTP", addresses[1])
		ts.Setenv("ADMIN", addresses[2])
	case <-time.After(30 * time.Second):
		ts.Fatalf("the node was not ready within 30 s")
	}
}

// stopNode stops the node as a person at a terminal would. It must end with
// exit code 0.
func stopNode(ts *testscript.TestScript, neg bool, args []string) {
	n := ts.Value(scriptNode{}).(*scriptNode)
	if neg || len(args) > 0 || n.cmd == nil {
		ts.Fatalf("usage: stopnode, while a node runs")
	}
	if code := n.stop(); code != "0" {
		ts.Fatalf("the node ended with exit code %s", code)
	}
}

// stop interrupts the process, if there is one, and returns its exit code.
func (n *scriptNode) stop() string {
	if n.cmd == nil {
		return "0"
	}
	n.cmd.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
	n.cmd.Wait()                       //nolint:errcheck // the exit code says it
	n.logs.Wait()
	code := n.cmd.ProcessState.ExitCode()
	n.cmd = nil
	return strconv.Itoa(code)
}

// headgateOf finds the command that testscript made of this test binary.
func headgateOf(ts *testscript.TestScript) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		name := filepath.Join(dir, "headgate")
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	ts.Fatalf("no headgate in $PATH")
	return ""
}
