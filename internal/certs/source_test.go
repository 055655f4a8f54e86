package certs

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate/headgate/internal/certs/certstest"
)

// h2Config is that of a gRPC port.
func h2Config(f Files) Config {
	c := Config{Files: f, MinVersion: tls.VersionTLS12, Protocols: []string{"h2"}, ProtocolRequired: true, Now: time.Now}
	if f.ClientCA != "" {
		c.ClientAuth = ClientRequire
	}
	return c
}

func newSource(t *testing.T, c Config) *Source {
	t.Helper()
	s, warnings, err := New(&c)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	return s
}

// serve shakes hands with whoever comes and says the client's name, until the
// test ends.
func serve(t *testing.T, s *Source) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer raw.Close()
				_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
				c := tls.Server(raw, s.Server())
				defer c.Close() //nolint:errcheck // the client may have gone
				if c.Handshake() != nil {
					return
				}
				name := "-"
				if certs := c.ConnectionState().PeerCertificates; len(certs) > 0 {
					name = certs[0].Subject.CommonName
				}
				for line := make([]byte, 1); ; {
					if _, err := c.Write([]byte(name + "\n")); err != nil {
						return
					}
					if _, err := c.Read(line); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// A greeting is what a client learns.
type greeting struct {
	client string // the client's name, as the server read it
	server string // the server's
	state  tls.ConnectionState
}

// greet connects, shakes hands and reads what the server says.
func greet(addr string, c *tls.Config) (*greeting, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, c)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // only read from
	return ask(conn)
}

func ask(conn *tls.Conn) (*greeting, error) {
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if err != nil {
		return nil, err
	}
	state := conn.ConnectionState()
	return &greeting{client: strings.TrimSpace(string(b[:n])), server: state.PeerCertificates[0].Subject.CommonName, state: state}, nil
}

func trusting(ca *certstest.Authority, pairs ...certstest.Pair) *tls.Config {
	c := &tls.Config{RootCAs: ca.Pool(), NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
	for _, p := range pairs {
		pair, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			panic(err)
		}
		// Not Certificates: crypto/tls would not show what the server did not ask for.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return c
}

func TestAPortSpeaksOnlyWhatItsSettingsSay(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	pair := ca.Issue(t, certstest.Leaf{Name: "port"})
	grpc := func(*Config) {}
	web := func(c *Config) { c.Protocols, c.ProtocolRequired = []string{"h2", "http/1.1"}, false }
	tests := map[string]struct {
		port   func(*Config)
		client func(*tls.Config)
		want   string // of the error; "": none
		proto  string
	}{
		"gRPC":                    {grpc, func(*tls.Config) {}, "", "h2"},
		"gRPC to TLS 1.2":         {grpc, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "", "h2"},
		"gRPC to TLS 1.1":         {grpc, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }, "protocol version", ""},
		"TLS 1.3 only to TLS 1.2": {func(c *Config) { c.MinVersion = tls.VersionTLS13 }, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "protocol version", ""},
		"TLS 1.3 only":            {func(c *Config) { c.MinVersion = tls.VersionTLS13 }, func(*tls.Config) {}, "", "h2"},
		"gRPC to no ALPN":         {grpc, func(c *tls.Config) { c.NextProtos = nil }, "internal error", ""},
		"gRPC to HTTP/1.1":        {grpc, func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }, "internal error", ""},
		"gRPC to both":            {grpc, func(c *tls.Config) { c.NextProtos = []string{"http/1.1", "h2"} }, "", "h2"},
		"HTTP to both":            {web, func(c *tls.Config) { c.NextProtos = []string{"http/1.1", "h2"} }, "", "h2"},
		"HTTP to HTTP/1.1":        {web, func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }, "", "http/1.1"},
		"HTTP to no ALPN":         {web, func(c *tls.Config) { c.NextProtos = nil }, "", ""},
		"HTTP to something else":  {web, func(c *tls.Config) { c.NextProtos = []string{"smtp"} }, "no application protocol", ""},
		"a suite that HTTP/2 forbids": {grpc, func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}, "handshake failure", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := h2Config(write(t, t.TempDir(), pair.Cert, pair.Key, nil))
			test.port(&c)
			addr := serve(t, newSource(t, c))
			config := trusting(ca)
			test.client(config)
			g, err := greet(addr, config)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v, want it to say %q", err, test.want)
			case err == nil && g.state.NegotiatedProtocol != test.proto:
				t.Errorf("speaks %q", g.state.NegotiatedProtocol)
			}
		})
	}
}

func TestClientsAreAskedForWhatTheSettingSays(t *testing.T) {
	now := time.Now()
	ca, other := certstest.NewAuthority(t, "ca", now), certstest.NewAuthority(t, "other", now)
	port := ca.Issue(t, certstest.Leaf{Name: "port"})
	envoy := ca.Issue(t, certstest.Leaf{Name: "envoy", Client: true})
	none := []certstest.Pair(nil)
	shows := func(p certstest.Pair) []certstest.Pair { return []certstest.Pair{p} }
	tests := map[string]struct {
		auth ClientAuth
		show []certstest.Pair
		want string // the client's name; else what the error says
	}{
		"required, one is shown":        {ClientRequire, shows(envoy), "envoy"},
		"required, none is shown":       {ClientRequire, none, "certificate required"},
		"required, another authority's": {ClientRequire, shows(other.Issue(t, certstest.Leaf{Name: "envoy", Client: true})), "unknown certificate authority"},
		"required, an expired one": {
			ClientRequire, shows(ca.Issue(t, certstest.Leaf{Name: "envoy", Client: true, NotAfter: now.Add(-time.Second)})),
			"expired certificate",
		},
		"required, one to come": {
			ClientRequire, shows(ca.Issue(t, certstest.Leaf{Name: "envoy", Client: true, NotBefore: now.Add(time.Minute)})),
			"expired certificate",
		},
		"required, a server's":          {ClientRequire, shows(ca.Issue(t, certstest.Leaf{Name: "envoy"})), "bad certificate"},
		"optional, one is shown":        {ClientOptional, shows(envoy), "envoy"},
		"optional, none is shown":       {ClientOptional, none, "-"},
		"optional, another authority's": {ClientOptional, shows(other.Issue(t, certstest.Leaf{Name: "envoy", Client: true})), "unknown certificate authority"},
		"optional, an expired one": {
			ClientOptional, shows(ca.Issue(t, certstest.Leaf{Name: "envoy", Client: true, NotAfter: now.Add(-time.Second)})),
			"expired certificate",
		},
		"none asked for": {ClientNone, shows(envoy), "-"},
	}
	for name, test := range tests {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+", "+tls.VersionName(version), func(t *testing.T) {
				authorities := ca.PEM
				if test.auth == ClientNone {
					authorities = nil
				}
				c := h2Config(write(t, t.TempDir(), port.Cert, port.Key, authorities))
				c.ClientAuth = test.auth
				addr := serve(t, newSource(t, c))
				client := trusting(ca, test.show...)
				client.MaxVersion = version
				g, err := greet(addr, client)
				var got string
				if err != nil {
					got = err.Error()
				} else {
					got = g.client
				}
				want := test.want
				if version == tls.VersionTLS12 && want == "certificate required" {
					want = "handshake failure" // or bad certificate: there was no word for it
					if strings.Contains(got, "bad certificate") {
						want = "bad certificate"
					}
				}
				if err == nil && got != want || !strings.Contains(got, want) {
					t.Errorf("%q, want %q", got, want)
				}
			})
		}
	}
}

func TestNewHandshakesUseNewFilesAndOpenConnectionsStay(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	dir := t.TempDir()
	first := ca.Issue(t, certstest.Leaf{Name: "first"})
	s := newSource(t, h2Config(write(t, dir, first.Cert, first.Key, nil)))
	addr := serve(t, s)
	open, err := tls.Dial("tcp", addr, trusting(ca))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close() //nolint:errcheck // the test is over
	if g, err := ask(open); err != nil || g.server != "first" {
		t.Fatal(g, err)
	}
	reload(t, s, Unchanged)

	until := time.Now().Add(20 * time.Minute).Truncate(time.Second)
	second := ca.Issue(t, certstest.Leaf{Name: "second", NotAfter: until})
	second.Write(t, dir, "port")
	reload(t, s, Applied)
	shows(t, addr, ca, "second")
	if _, err := open.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if g, err := ask(open); err != nil || g.server != "first" {
		t.Errorf("the open connection: %v, %v", g, err)
	}
	if st := s.Stats(); !st.NotAfter.Equal(until) || st.Applied != 1 || st.Unchanged != 1 || st.Rejected != 0 {
		t.Errorf("%+v", st)
	}
	if s.About() != "CN=second" {
		t.Error(s.About())
	}
}

func TestBadFilesKeepTheOldOnes(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	dir := t.TempDir()
	first, second := ca.Issue(t, certstest.Leaf{Name: "first"}), ca.Issue(t, certstest.Leaf{Name: "second"})
	f := write(t, dir, first.Cert, first.Key, ca.PEM)
	s := newSource(t, h2Config(f))
	addr := serve(t, s)
	client := trusting(ca, ca.Issue(t, certstest.Leaf{Name: "envoy", Client: true}))
	steps := []struct {
		name, file string
		text       []byte // nil: removed
	}{
		{"the certificate before the key", f.Cert, second.Cert},
		{"half of a key", f.Key, second.Key[:50]},
		{"an emptied key", f.Key, []byte{}},
		{"no key", f.Key, nil},
		{"damaged authorities", f.ClientCA, []byte("hello")},
		{"no authorities", f.ClientCA, nil},
	}
	for _, step := range steps {
		if step.text == nil {
			if err := os.Remove(step.file); err != nil {
				t.Fatal(err)
			}
		} else {
			certstest.WriteFile(t, step.file, step.text)
		}
		if r, _, err := s.Reload(); r != Rejected || err == nil {
			t.Fatalf("%s: %v, %v", step.name, r, err)
		}
		if g, err := greet(addr, client); err != nil || g.server != "first" || g.client != "envoy" {
			t.Fatalf("%s: %+v, %v", step.name, g, err)
		}
	}
	if st := s.Stats(); st.Rejected != uint64(len(steps)) || st.Applied != 0 {
		t.Errorf("%+v", st)
	}
	second.Write(t, dir, "port")
	certstest.WriteFile(t, f.ClientCA, ca.PEM)
	reload(t, s, Applied)
	if g, err := greet(addr, client); err != nil || g.server != "second" {
		t.Fatal(g, err)
	}
	expired := ca.Issue(t, certstest.Leaf{NotAfter: time.Now().Add(-time.Second)})
	expired.Write(t, dir, "port")
	if r, warnings, err := s.Reload(); r != Applied || len(warnings) != 1 || err != nil {
		t.Errorf("an expired one: %v, %v, %v", r, warnings, err)
	}
}

func TestReloadUnderTrafficFailsNoHandshake(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	dir := t.TempDir()
	pairs := []certstest.Pair{ca.Issue(t, certstest.Leaf{Name: "0"}), ca.Issue(t, certstest.Leaf{Name: "1"})}
	s := newSource(t, h2Config(write(t, dir, pairs[0].Cert, pairs[0].Key, nil)))
	addr := serve(t, s)
	var stop atomic.Bool
	var seen [2]atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		client := trusting(ca)
		if i%2 == 0 {
			client.ClientSessionCache = tls.NewLRUClientSessionCache(4) // comes back by ticket
		}
		wg.Go(func() {
			for !stop.Load() {
				g, err := greet(addr, client)
				if err != nil {
					t.Error(err)
					return
				}
				seen[g.server[0]-'0'].Add(1)
			}
		})
	}
	for i := range 100 {
		p := pairs[(i+1)%2]
		certstest.WriteFile(t, filepath.Join(dir, "port.pem"), p.Cert)
		_, _, _ = s.Reload() // the key is the other's still: refused
		certstest.WriteFile(t, filepath.Join(dir, "port.key"), p.Key)
		reload(t, s, Applied)
	}
	stop.Store(true)
	wg.Wait()
	if st := s.Stats(); st.Applied != 100 || st.Rejected != 100 {
		t.Errorf("%+v", st)
	}
	if seen[0].Load() == 0 || seen[1].Load() == 0 {
		t.Errorf("handshakes by certificate: %d, %d", seen[0].Load(), seen[1].Load())
	}
}

// Tickets spare the client's certificate from being sent again, not from being
// checked against the authorities that are trusted now.
func TestAClientReturnsByTicketOnlyWhileItIsTrusted(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			now := time.Now()
			ca, next := certstest.NewAuthority(t, "ca", now), certstest.NewAuthority(t, "next", now)
			dir := t.TempDir()
			port := ca.Issue(t, certstest.Leaf{Name: "port"})
			f := write(t, dir, port.Cert, port.Key, ca.PEM)
			var clock atomic.Int64 // ns after now
			c := h2Config(f)
			c.Now = func() time.Time { return now.Add(time.Duration(clock.Load())) }
			s := newSource(t, c)
			addr := serve(t, s)
			client := trusting(ca, ca.Issue(t, certstest.Leaf{Name: "envoy", Client: true, NotAfter: now.Add(10 * time.Minute)}))
			client.ClientSessionCache, client.MaxVersion = tls.NewLRUClientSessionCache(4), version
			for i := range 3 {
				g, err := greet(addr, client)
				if err != nil || g.client != "envoy" || g.state.DidResume != (i > 0) {
					t.Fatalf("connection %d: %+v, %v", i, g, err)
				}
			}
			renewed := ca.Issue(t, certstest.Leaf{Name: "renewed"})
			renewed.Write(t, dir, "port")
			reload(t, s, Applied)
			if g, err := greet(addr, client); err != nil || !g.state.DidResume {
				t.Errorf("after a new certificate: %+v, %v", g, err)
			}
			clock.Store(int64(11 * time.Minute))
			if g, err := greet(addr, client); err == nil {
				t.Errorf("an expired client returned: %+v", g)
			}
			clock.Store(0)
			if g, err := greet(addr, client); err != nil {
				t.Errorf("%+v, %v", g, err)
			}
			certstest.WriteFile(t, f.ClientCA, next.PEM)
			reload(t, s, Applied)
			if g, err := greet(addr, client); err == nil {
				t.Errorf("a client that is trusted no longer returned: %+v", g)
			}
		})
	}
}

func TestConfigThatContradictsItselfIsRefused(t *testing.T) {
	_, _, err := New(&Config{ClientAuth: ClientRequire, MinVersion: tls.VersionTLS11})
	for _, want := range []string{"files", "client_auth", "min_version", "protocols", "now"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	c := h2Config(Files{Cert: "a", Key: "b"})
	c.ClientAuth = ClientRequire + 1
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "client_auth: unknown") {
		t.Error(err)
	}
	c = h2Config(Files{Cert: "nowhere", Key: "nowhere"})
	if _, _, err := New(&c); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestAHandshakeWithGarbageFailsCleanly(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	pair := ca.Issue(t, certstest.Leaf{Name: "port"})
	addr := serve(t, newSource(t, h2Config(write(t, t.TempDir(), pair.Cert, pair.Key, nil))))
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	shows(t, addr, ca, "port")
}

func reload(t *testing.T, s *Source, want Result) {
	t.Helper()
	if r, warnings, err := s.Reload(); r != want || len(warnings) > 0 || err != nil {
		t.Fatalf("reload: %v, %v, %v", r, warnings, err)
	}
}

func shows(t *testing.T, addr string, ca *certstest.Authority, want string) {
	t.Helper()
	g, err := greet(addr, trusting(ca))
	if err != nil || g.server != want {
		t.Errorf("%+v, %v, want %s", g, err, want)
	}
}
