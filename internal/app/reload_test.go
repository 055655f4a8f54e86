package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/headgate/headgate/api/admin"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/internal/clock"
	"github.com/headgate/headgate/internal/obs"
	"github.com/headgate/headgate/limiter"
)

func policyReport(t *testing.T, n *testNode) admin.Policy {
	t.Helper()
	var p admin.Policy
	_, body := get(t, "http://"+n.Admin+"/v1/policy")
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func inForce(t *testing.T, n *testNode, version uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("policy version %d is in force", version), func() bool {
		return policyReport(t, n).Version == version
	})
}

// replace puts a file in place in one step, as editors do.
func replace(t *testing.T, name, text string) {
	t.Helper()
	next := name + ".next"
	write(t, next, text)
	if err := os.Rename(next, name); err != nil {
		t.Fatal(err)
	}
}

func TestAChangedFileIsReadAndCountersStay(t *testing.T) {
	changes := map[string]func(t *testing.T, name, text string){
		"written in place":   write,
		"replaced by rename": replace,
		"removed and made anew": func(t *testing.T, name, text string) {
			t.Helper()
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond) // long enough to be noticed
			write(t, name, text)
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t, hourly(3))
			c.Policy.PollInterval = time.Hour
			n := startNode(t, c)
			allow(t, n, "alice", true, true)
			change(t, c.Policy.Paths[0], hourly(4))
			inForce(t, n, 2)
			allow(t, n, "alice", true, true, false)
			change(t, c.Policy.Paths[0], hourly(2)) // fewer than were used
			inForce(t, n, 3)
			allow(t, n, "alice", false)
			allow(t, n, "bob", true, true, false)
		})
	}
}

func TestDirectoriesAreWatched(t *testing.T) {
	c := testConfig(t, "")
	dir := t.TempDir()
	c.Policy.Paths, c.Policy.PollInterval = []string{dir}, time.Hour
	write(t, filepath.Join(dir, "a.yaml"), hourly(1))
	n := startNode(t, c)
	write(t, filepath.Join(dir, "b.yml"), strings.Replace(hourly(1), "shop", "other", 1))
	inForce(t, n, 2)
	if p := policyReport(t, n); len(p.Domains) != 2 || len(p.Files) != 2 {
		t.Errorf("%+v", p)
	}
	if err := os.Remove(filepath.Join(dir, "b.yml")); err != nil {
		t.Fatal(err)
	}
	inForce(t, n, 3)
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an emptied directory is refused", func() bool { return policyReport(t, n).Refused })
	if p := policyReport(t, n); p.Version != 3 || len(p.Domains) != 1 {
		t.Errorf("the previous policy is not in force: %+v", p)
	}
}

// A Kubernetes volume: file → ..data/file, ..data → a directory of the
// moment, and an update renames a new link over ..data.
func TestAKubernetesVolumeIsFollowed(t *testing.T) {
	volume := t.TempDir()
	publish := func(name, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(volume, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(volume, name, "shop.yaml"), text)
		if err := os.Symlink(name, filepath.Join(volume, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("..1", hourly(1))
	if err := os.Symlink("..data/shop.yaml", filepath.Join(volume, "shop.yaml")); err != nil {
		t.Fatal(err)
	}
	for kind, path := range map[string]string{"directory": volume, "file": filepath.Join(volume, "shop.yaml")} {
		t.Run(kind, func(t *testing.T) {
			c := testConfig(t, "")
			c.Policy.Paths, c.Policy.PollInterval = []string{path}, time.Hour
			n := startNode(t, c)
			if got := len(policyReport(t, n).Files); got != 1 {
				t.Fatalf("%d files", got)
			}
			allow(t, n, "alice", true, false)
			publish("..2"+kind, hourly(2))
			inForce(t, n, 2)
			allow(t, n, "alice", true, false)
			publish("..3"+kind, hourly(1))
			inForce(t, n, 3)
		})
	}
}

func TestABadFileKeepsTheOldPolicyAndSaysSo(t *testing.T) {
	c := testConfig(t, hourly(2))
	n := startNode(t, c)
	allow(t, n, "alice", true)
	replace(t, c.Policy.Paths[0], "domain: shop\nlimits:\n  - name: calls\n    rat: 1/s\n  - name: b\n    rate: fast\n")
	eventually(t, "the file is refused", func() bool { return policyReport(t, n).Refused })
	allow(t, n, "alice", true, false)
	p := policyReport(t, n)
	if p.Version != 1 || len(p.Problems) < 2 || !strings.Contains(p.Problems[0], "policy.yaml:") {
		t.Errorf("admin: %+v", p)
	}
	code, body := get(t, "http://"+n.HTTP+"/readyz")
	if code != 200 || !strings.Contains(body, `"policy_refused":true`) || !strings.Contains(body, "policy.yaml:") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	_, page := get(t, "http://"+n.HTTP+"/metrics")
	for _, line := range []string{"headgate_policy_rejected 1", `headgate_policy_reloads_total{result="applied"} 0`} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("no %q in /metrics", line)
		}
	}
	if !strings.Contains(n.log.String(), "policies refused") || strings.Count(n.log.String(), "policy problem") < 2 {
		t.Errorf("log:\n%s", n.log)
	}
	write(t, c.Policy.Paths[0], hourly(2)) // as it was
	eventually(t, "the file is fine again", func() bool { return !policyReport(t, n).Refused })
	if p := policyReport(t, n); p.Version != 1 {
		t.Errorf("version %d: nothing had changed", p.Version)
	}
}

// `serve --policy . 2>headgate.log`: the node's own log is no reason to read.
func TestNeighboursOfPoliciesAreNotRead(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(t, "")
	c.Policy.Paths, c.Policy.PollInterval = []string{dir}, 30*time.Millisecond
	write(t, filepath.Join(dir, "shop.yaml"), hourly(1))
	n := startNode(t, c)
	for i := range 20 {
		write(t, filepath.Join(dir, "headgate.log"), strings.Repeat("line\n", i))
		replace(t, filepath.Join(dir, "notes.txt"), fmt.Sprint(i))
		write(t, filepath.Join(dir, ".shop.yaml.swp"), fmt.Sprint(i))
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(2 * (c.Policy.Debounce + c.Policy.PollInterval))
	if _, page := get(t, "http://"+n.HTTP+"/metrics"); !strings.Contains(page, "\n"+`headgate_policy_reloads_total{result="unchanged"} 0`+"\n") {
		t.Errorf("policies were read:\n%s", n.log)
	}
	replace(t, filepath.Join(dir, "shop.yaml"), hourly(2))
	inForce(t, n, 2)
}

// Comments move lines: what explains a decision names those of the file as it is.
func TestCommentsMoveTheLinesThatAreNamed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "shop.yaml")
	write(t, name, hourly(1))
	p := &policies{
		paths: []string{name}, now: clock.New().Now, log: slog.New(slog.DiscardHandler),
		accept:  func([]*limiter.Limit) error { return nil },
		install: func(uint64, []*limiter.Limit) {}, reloaded: func(obs.ReloadResult) {},
	}
	if err := p.load(); err != nil {
		t.Fatal(err)
	}
	before := p.current.Load()
	replace(t, name, "# one\n# two\n"+hourly(1))
	p.reload()
	after := p.current.Load()
	if after == before || after.Version() != before.Version() || after.Hash() != before.Hash() {
		t.Errorf("version %d, then %d; swapped: %v", before.Version(), after.Version(), after != before)
	}
}

func TestSIGHUPReadsThePolicyAgain(t *testing.T) {
	c := testConfig(t, hourly(1))
	c.Policy.Debounce, c.Policy.PollInterval = time.Minute, time.Hour // only the signal is in time
	n := startNode(t, c)
	allow(t, n, "alice", true, false)
	write(t, c.Policy.Paths[0], hourly(2))
	n.signals <- syscall.SIGHUP
	inForce(t, n, 2)
	allow(t, n, "alice", true, false)
}

// What no notification told is found by looking.
func TestPollingFindsWhatWasNotNotified(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "deep", "current") // its directory is not watched
	for _, name := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "p.yaml"), name)
	}
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "one"), link); err != nil {
		t.Fatal(err)
	}
	var read atomic.Int64
	w := watch{
		paths: []string{link + "/"}, debounce: time.Hour, poll: 10 * time.Millisecond,
		changed: func() { read.Add(1) }, log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	seen := signature(w.paths)
	wg.Go(func() { w.run(ctx, seen) })
	time.Sleep(50 * time.Millisecond)
	if got := read.Load(); got != 0 {
		t.Errorf("read %d times before anything changed", got)
	}
	w2 := filepath.Join(filepath.Dir(filepath.Dir(link)), "moved")
	if err := os.Rename(filepath.Dir(link), w2); err != nil { // the whole directory is replaced
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "two"), link); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the change is found", func() bool { return read.Load() >= 1 })
	cancel()
	wg.Wait()
}

// Files that never rest are read after ten debounce spans.
func TestDebouncingIsBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "p.yaml")
	write(t, name, "0")
	var read atomic.Int64
	w := watch{
		paths: []string{name}, debounce: 200 * time.Millisecond, poll: time.Hour,
		changed: func() { read.Add(1) }, log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	seen := signature(w.paths)
	wg.Go(func() { w.run(ctx, seen) })
	time.Sleep(50 * time.Millisecond) // it watches
	began := time.Now()
	for i := 0; read.Load() == 0; i++ {
		if time.Since(began) > 30*time.Second {
			t.Fatal("never read")
		}
		write(t, name, fmt.Sprint(i))
		time.Sleep(5 * time.Millisecond)
	}
	if took := time.Since(began); took < debounceMax*w.debounce/2 {
		t.Errorf("read after %v of unrest", took)
	}
	cancel()
	wg.Wait()
}

// The amount of a limit goes up and down under traffic: no call fails, and at
// no time did more pass than the highest amount allows.
func TestReloadUnderTrafficKeepsWhatWasUsed(t *testing.T) {
	const low, high, users = 50, 80, 4
	// A window: a bucket that is lowered below what was used forgets the rest.
	window := func(amount int) string { return strings.Replace(hourly(amount), "rate:", "window:", 1) }
	c := testConfig(t, window(low))
	c.GRPC.BehindMax = 0 // on a busy machine some requests would be decided without their counter
	n := startNode(t, c)
	var passed [users]atomic.Int64
	var calls atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 2 * users {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := n.client.Check(context.Background(), &headgatev1.CheckRequest{
					Domain: "shop", Attributes: []*headgatev1.Attribute{{Key: "user", Value: fmt.Sprint(i % users)}},
				})
				if err != nil {
					t.Errorf("a call failed: %v", err)
					return
				}
				if calls.Add(1); r.GetVerdict() == headgatev1.Verdict_VERDICT_ALLOWED {
					passed[i%users].Add(1)
				}
			}
		})
	}
	amount := func(want int64) {
		t.Helper()
		for u := range passed {
			eventually(t, fmt.Sprintf("user %d has had %d calls", u, want), func() bool { return passed[u].Load() >= want })
		}
		after := calls.Load()
		eventually(t, "there were more calls", func() bool { return calls.Load() > after+100 })
		for u := range passed {
			if got := passed[u].Load(); got != want {
				t.Errorf("user %d: %d passed, want %d", u, got, want)
			}
		}
	}
	amount(low)
	version := uint64(1)
	for i := range 6 { // up and down: what was used counts every time
		replace(t, c.Policy.Paths[0], window([]int{high, low}[i%2]))
		version++
		inForce(t, n, version)
		amount(high)
	}
	close(stop)
	clients.Wait()
}

// Overrides for named values are limits of their own with the same identity.
func TestReloadKeepsWhatNamedValuesUsed(t *testing.T) {
	text := func(base, alice int) string {
		return hourly(base) + fmt.Sprintf("    overrides:\n      - {values: alice, amount: %d}\n      - {values: carol, amount: 9}\n", alice)
	}
	c := testConfig(t, text(2, 4))
	n := startNode(t, c)
	allow(t, n, "alice", true, true, true, true, false)
	allow(t, n, "bob", true, true, false)
	allow(t, n, "carol", true)
	write(t, c.Policy.Paths[0], text(3, 5))
	inForce(t, n, 2)
	time.Sleep(convertDelay + 200*time.Millisecond)
	allow(t, n, "alice", true, false)
	allow(t, n, "bob", true, false)
	write(t, c.Policy.Paths[0], hourly(6)) // no overrides any more
	inForce(t, n, 3)
	time.Sleep(convertDelay + 200*time.Millisecond)
	allow(t, n, "alice", true, false)
	allow(t, n, "bob", true, true, true, false)
	allow(t, n, "carol", true, true, true, true, true, false)
}
