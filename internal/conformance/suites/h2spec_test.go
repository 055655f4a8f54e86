package suites_test

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	h2specv2 "github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

const (
	eventTimeout = 2 * time.Second // how long a case waits for one frame
	startTimeout = 20 * time.Second
)

var h2specAddr = flag.String("h2spec.addr", "", "`host:port` of a server to ask instead of a new headgate")

// TestH2spec runs every case of h2spec, and our own beside them, against a
// real `headgate serve`.
func TestH2spec(t *testing.T) {
	addr := *h2specAddr
	if addr == "" {
		addr = startHeadgate(t)
	}
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatal(err)
	}
	c := &config.Config{Host: host, Port: port, Path: "/", Timeout: eventTimeout, MaxHeaderLen: 4000}
	reasons := skipped(t)
	ran := 0
	for _, group := range []*spec.TestGroup{generic.Spec(), h2specv2.Spec(), hpack.Spec(), ours()} {
		ran += runGroup(t, c, group, reasons)
	}
	for id := range reasons {
		t.Errorf("testdata/h2spec-skipped.txt: %s is no case", id)
	}
	if ran < casesMin {
		t.Errorf("only %d cases ran: want at least %d", ran, casesMin)
	}
	t.Logf("%d cases ran", ran)
}

// casesMin is what h2spec v2.2.1 has, one strict case among them, and ours.
const casesMin = 146 + oursCount

// runGroup runs the cases of a group and of those in it, and returns how many.
// A case that is in reasons must not pass; it is deleted there.
func runGroup(t *testing.T, c *config.Config, group *spec.TestGroup, reasons map[string]string) (ran int) {
	t.Helper()
	for i, tc := range group.Tests {
		id := fmt.Sprintf("%s/%d", group.ID(), i+1)
		reason, skip := reasons[id]
		delete(reasons, id)
		ran++
		t.Run(id, func(t *testing.T) {
			err := runCase(c, tc)
			switch {
			case err == nil && skip:
				t.Errorf("%s passes: take it out of testdata/h2spec-skipped.txt", id)
			case err != nil && skip:
				t.Skipf("%s: %s", tc.Desc, reason)
			case errors.Is(err, spec.ErrSkipped):
				t.Errorf("%s: h2spec skips it, because the server's answer gives it nothing to look at", tc.Desc)
			case err != nil:
				t.Errorf("%s. %s\n%v", tc.Desc, tc.Requirement, err)
			}
		})
	}
	for _, g := range group.Groups {
		ran += runGroup(t, c, g, reasons)
	}
	return ran
}

// runCase runs one case on a connection of its own.
func runCase(c *config.Config, tc *spec.TestCase) error {
	conn, err := spec.Dial(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = tc.Run(c, conn)
	if failed := (*spec.TestError)(nil); errors.As(err, &failed) {
		if closedByReset(failed) {
			return nil
		}
		return fmt.Errorf("expected %s, got %s", strings.Join(failed.Expected, " or "), failed.Actual)
	}
	return err
}

// closedByReset reports whether a case wanted the connection closed and it was
// reset. This version of h2spec looks for the bare errno, which Go's net
// package has not returned for years; later ones count a reset as closed.
func closedByReset(err *spec.TestError) bool {
	for _, want := range err.Expected {
		if want == spec.ExpectedConnectionClosed {
			return strings.HasSuffix(err.Actual, syscall.ECONNRESET.Error())
		}
	}
	return false
}

// skipped returns the cases that need not pass, with the reasons.
func skipped(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/h2spec-skipped.txt")
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		id, reason, ok := strings.Cut(line, " ")
		if !ok {
			t.Fatalf("testdata/h2spec-skipped.txt: %q has no reason", line)
		}
		reasons[id] = reason
	}
	return reasons
}

// startHeadgate runs the binary that $HEADGATE names, or else one that it
// builds, until the test ends. It returns where it serves gRPC.
func startHeadgate(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	bin := os.Getenv("HEADGATE")
	if bin == "" {
		bin = filepath.Join(dir, "headgate")
		build := exec.Command("go", "build", "-o", bin, "./cmd/headgate")
		build.Dir = "../../.."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	addr := freeAddr(t)
	cmd := exec.Command(bin, "serve",
		"--policy", "../../../deploy/examples/shop.yaml", "--data-dir", filepath.Join(dir, "data"),
		"--grpc", addr, "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warn")
	cmd.Env = append(os.Environ(), "HEADGATE_SHUTDOWN_DRAIN_DELAY=0s")
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(startTimeout, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("headgate ended with %v", err)
		}
	})
	for end := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return addr
		}
		if time.Now().After(end) {
			t.Fatalf("headgate does not listen: %v", err)
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
