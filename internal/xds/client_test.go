package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/headgate/headgate/internal/certs"
	"github.com/headgate/headgate/internal/certs/certstest"
	"github.com/headgate/headgate/internal/xds/xdstest"
	"github.com/headgate/headgate/policy"
)

const node = xdstest.EnvoyGatewayNode

// A follower applies what a client brings.
type follower struct {
	mu       sync.Mutex
	applied  []string // versions
	configs  []policy.EnvoyConfig
	refuse   error
	failures []error
	pauses   []time.Duration
	streams  int
}

func (f *follower) apply(version string, configs []policy.EnvoyConfig) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return f.refuse
	}
	f.applied, f.configs = append(f.applied, version), configs
	return nil
}

func (f *follower) set(refuse error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

func (f *follower) last() []policy.EnvoyConfig {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.configs
}

// follow runs a client of s until the test ends.
func follow(t *testing.T, s *xdstest.Server, more func(*Config)) *follower {
	t.Helper()
	f := &follower{}
	c := Config{
		Server: s.Addr, NodeID: node, MessageBytes: 4 << 20,
		BackoffMin: 10 * time.Millisecond, BackoffMax: 50 * time.Millisecond,
		Apply: f.apply,
		Connected: func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.streams++
		},
		Disconnected: func(err error, pause time.Duration) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.failures, f.pauses = append(f.failures, err), append(f.pauses, pause)
		},
	}
	if more != nil {
		more(&c)
	}
	client, err := New(&c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { client.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return f
}

// eventually fails unless ok becomes true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestASnapshotIsAppliedAndAccepted(t *testing.T) {
	s := xdstest.Start(t, nil)
	s.Set(t, node, "1", xdstest.EnvoyGateway()...)
	f := follow(t, s, func(c *Config) {
		c.Metadata = map[string]string{"zone": "a"}
		c.Headers = map[string]string{"authorization": "Bearer x"}
	})
	s.Await(t, xdstest.Accepted("1"))
	byName := map[string]policy.EnvoyConfig{}
	for _, c := range f.last() {
		byName[c.Name] = c
	}
	for _, want := range xdstest.EnvoyGateway() {
		if !reflect.DeepEqual(byName[want.Name], want) {
			t.Errorf("got %+v, want %+v", byName[want.Name], want)
		}
	}
	first := s.Requests()[0]
	if first.Node.GetId() != node || first.Node.GetMetadata().AsMap()["zone"] != "a" || first.Type != TypeURL || first.Version != "" {
		t.Errorf("first request %+v", first)
	}
	if got := s.Headers()[0].Get("authorization"); !reflect.DeepEqual(got, []string{"Bearer x"}) {
		t.Errorf("headers %v", got)
	}
	s.Set(t, node, "2")
	s.Await(t, xdstest.Accepted("2"))
	if len(f.last()) != 0 {
		t.Errorf("an empty snapshot left %v", f.last())
	}
}

func TestWhatIsNotAppliedIsRejectedByNonceWithTheReason(t *testing.T) {
	s := xdstest.Start(t, nil)
	s.Set(t, node, "1", xdstest.EnvoyGateway()...)
	f := follow(t, s, nil)
	s.Await(t, xdstest.Accepted("1"))
	f.set(errors.New("route_r / rule-0-match-0: " + strings.Repeat("é", detailBytesMax)))
	s.Set(t, node, "2", xdstest.EnvoyAIGateway()...)
	r := s.Await(t, xdstest.Rejected)
	if r.Version != "1" || r.Nonce == "" || len(r.Detail) > detailBytesMax || !strings.HasPrefix(r.Detail, "route_r / rule-0-match-0: é") {
		t.Errorf("version %q, nonce %q, %d bytes of detail", r.Version, r.Nonce, len(r.Detail))
	}
	if f.last()[0].Domain == "ai-gateway-quota" {
		t.Error("the refused configuration was taken")
	}
	f.set(nil)
	s.Set(t, node, "3", xdstest.EnvoyAIGateway()...)
	s.Await(t, xdstest.Accepted("3"))
	if f.last()[0].Domain != "ai-gateway-quota" {
		t.Error("the next configuration was not taken")
	}
}

func TestALostControlPlaneIsFoundAgain(t *testing.T) {
	s := xdstest.Start(t, nil)
	s.Set(t, node, "1", xdstest.EnvoyGateway()...)
	f := follow(t, s, nil)
	s.Await(t, xdstest.Accepted("1"))
	s.Stop()
	eventually(t, "several attempts", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.failures) > 4 })
	if len(f.last()) == 0 {
		t.Error("the last good configuration is gone")
	}
	f.mu.Lock()
	for i, pause := range f.pauses {
		if pause < 5*time.Millisecond || pause > 50*time.Millisecond {
			t.Errorf("pause %d is %v", i, pause)
		}
	}
	f.mu.Unlock()
	s.Forget()
	// A control plane that was restarted numbers its versions anew.
	s.Set(t, node, "1", xdstest.EnvoyAIGateway()...)
	s.Restart(t)
	s.Await(t, xdstest.Accepted("1"))
	if f.last()[0].Domain != "ai-gateway-quota" {
		t.Error("what changed meanwhile was not taken")
	}
	if first := s.Requests()[0]; first.Version != "" || first.Nonce != "" {
		t.Errorf("first request of the second stream: %+v", first)
	}
}

func TestAResponseBeyondTheBoundIsNotTaken(t *testing.T) {
	s := xdstest.Start(t, nil)
	s.Set(t, node, "1", policy.EnvoyConfig{Name: "n", Domain: strings.Repeat("x", 4<<10)})
	f := follow(t, s, func(c *Config) { c.MessageBytes = 1 << 10 })
	eventually(t, "a failure", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.failures) > 0 })
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.applied) > 0 || !strings.Contains(f.failures[0].Error(), "larger than max") {
		t.Errorf("applied %v, failures %v", f.applied, f.failures[0])
	}
}

func TestMutualTLS(t *testing.T) {
	now := time.Now()
	authority := certstest.NewAuthority(t, "the control plane's", now)
	other := certstest.NewAuthority(t, "somebody else's", now)
	server := authority.Issue(t, certstest.Leaf{Name: "envoy-gateway"}).Load(t)
	s := xdstest.Start(t, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool(),
	})
	s.Set(t, node, "1", xdstest.EnvoyGateway()...)
	dir := t.TempDir()
	files := certs.ClientFiles{CA: filepath.Join(dir, "ca.crt")}
	certstest.WriteFile(t, files.CA, authority.PEM)
	files.Cert, files.Key = other.Issue(t, certstest.Leaf{Name: "a stranger"}).Write(t, dir, "tls")
	secure := func(c *Config) {
		c.TLS = func() (*tls.Config, error) { return certs.Client(&files, time.Now, "h2") }
	}
	f := follow(t, s, secure)
	eventually(t, "a refusal", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.failures) > 0 })
	if len(s.Requests()) > 0 {
		t.Fatal("a stranger's request was taken")
	}
	// The files change: the next connection uses them.
	authority.Issue(t, certstest.Leaf{Name: "envoy-ratelimit", Client: true}).Write(t, dir, "tls")
	s.Await(t, xdstest.Accepted("1"))

	wrong := files
	wrong.ServerName = "another-host"
	g := follow(t, s, func(c *Config) {
		c.TLS = func() (*tls.Config, error) { return certs.Client(&wrong, time.Now, "h2") }
	})
	eventually(t, "a refusal", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return len(g.failures) > 0 })
	g.mu.Lock()
	defer g.mu.Unlock()
	if !strings.Contains(g.failures[0].Error(), "another-host") || g.streams > 0 {
		t.Errorf("failure %v, %d streams", g.failures[0], g.streams)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	_, err := New(&Config{BackoffMin: time.Second, BackoffMax: time.Millisecond})
	for _, want := range []string{"server", "message_bytes_max", "backoff_max", "functions"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}
