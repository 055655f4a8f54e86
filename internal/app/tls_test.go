package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/internal/certs/certstest"
	"github.com/headgate/headgate/internal/config"
)

// encryptedConfig returns settings of a node whose gRPC and HTTP ports show the
// certificate NAME of ca, from files in dir.
func encryptedConfig(t *testing.T, ca *certstest.Authority, dir, name string) config.Config {
	t.Helper()
	c := testConfig(t, hourly(1_000_000))
	cert, key := ca.Issue(t, certstest.Leaf{Name: name}).Write(t, dir, "port")
	c.GRPC.TLS.CertFile, c.GRPC.TLS.KeyFile = cert, key
	c.HTTP.TLS.CertFile, c.HTTP.TLS.KeyFile = cert, key
	return c
}

// asks makes one call on a connection of its own and returns the name of the
// certificate that it was shown.
func asks(n *testNode, c *tls.Config) (server string, err error) {
	c = c.Clone()
	c.MinVersion = tls.VersionTLS12
	c.VerifyConnection = func(s tls.ConnectionState) error {
		server = s.PeerCertificates[0].Subject.CommonName
		return nil
	}
	cc, err := grpc.NewClient(n.GRPC, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = headgatev1.NewDecisionServiceClient(cc).Check(ctx, &headgatev1.CheckRequest{
		Domain: "shop", Attributes: []*headgatev1.Attribute{{Key: "user", Value: "u"}},
	})
	return server, errors.Join(err, cc.Close())
}

// fetch gets a page over a connection of its own.
func fetch(t *testing.T, url string, c *tls.Config, h2 bool) (proto, body string, err error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: c.Clone(), ForceAttemptHTTP2: h2}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get(url)
	if err != nil {
		return "", "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r.Proto, string(b), err
}

func metrics(t *testing.T, n *testNode, ca *certstest.Authority) string {
	t.Helper()
	_, body, err := fetch(t, "https://"+n.HTTP+"/metrics", &tls.Config{RootCAs: ca.Pool()}, true)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestEncryptedPortsServe(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	n := startNode(t, encryptedConfig(t, ca, t.TempDir(), "node"))
	trust := &tls.Config{RootCAs: ca.Pool()}
	if server, err := asks(n, trust); err != nil || server != "node" {
		t.Errorf("gRPC: %q, %v", server, err)
	}
	for want, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		if proto, body, err := fetch(t, "https://"+n.HTTP+"/readyz", trust, h2); err != nil || proto != want || !strings.Contains(body, `"ready":true`) {
			t.Errorf("%s: %s, %s, %v", want, proto, body, err)
		}
	}
	if code, _ := get(t, "http://"+n.HTTP+"/metrics"); code != http.StatusBadRequest {
		t.Errorf("cleartext on the HTTP port: %d", code)
	}
	if code, _ := get(t, "http://"+n.Admin+"/v1/status"); code != http.StatusOK {
		t.Errorf("the admin port: %d", code)
	}
	got := metrics(t, n, ca)
	for _, want := range []string{
		`headgate_tls_certificate_not_after_seconds{port="grpc"} 1.`, `headgate_tls_certificate_not_after_seconds{port="http"} 1.`,
		`headgate_tls_reloads_total{port="grpc",result="applied"} 0`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no metric %s", want)
		}
	}
}

func TestPortsInCleartextHaveNoCertificateMetrics(t *testing.T) {
	n := startNode(t, testConfig(t, hourly(1)))
	if _, body := get(t, "http://"+n.HTTP+"/metrics"); strings.Contains(body, "headgate_tls") {
		t.Error("there are")
	}
}

func TestOnlyKnownClientsAreServedWhereTheyMustShowWhoTheyAre(t *testing.T) {
	now := time.Now()
	ca, clients := certstest.NewAuthority(t, "ca", now), certstest.NewAuthority(t, "clients", now)
	dir := t.TempDir()
	c := encryptedConfig(t, ca, dir, "node")
	authorities := filepath.Join(dir, "clients.pem")
	certstest.WriteFile(t, authorities, clients.PEM)
	c.GRPC.TLS.ClientCAFile, c.GRPC.TLS.ClientAuth = authorities, config.ClientAuthRequire
	c.HTTP.TLS.ClientCAFile, c.HTTP.TLS.ClientAuth = authorities, config.ClientAuthOptional
	n := startNode(t, c)
	showing := func(a *certstest.Authority) *tls.Config {
		pair := a.Issue(t, certstest.Leaf{Name: "envoy", Client: true}).Load(t)
		return &tls.Config{RootCAs: ca.Pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }}
	}
	for name, test := range map[string]struct {
		config    *tls.Config
		grpc, web bool
	}{
		"known":                  {showing(clients), true, true},
		"none":                   {&tls.Config{RootCAs: ca.Pool()}, false, true},
		"of another authority's": {showing(ca), false, false},
	} {
		if _, err := asks(n, test.config); (err == nil) != test.grpc {
			t.Errorf("gRPC, a certificate %s: %v", name, err)
		}
		if _, _, err := fetch(t, "https://"+n.HTTP+"/healthz", test.config, true); (err == nil) != test.web {
			t.Errorf("HTTP, a certificate %s: %v", name, err)
		}
	}
	// Who may come is taken over as well.
	certstest.WriteFile(t, authorities, ca.PEM)
	eventually(t, "the new authority's clients are served", func() bool { _, err := asks(n, showing(ca)); return err == nil })
	if _, err := asks(n, showing(clients)); err == nil {
		t.Error("the old authority's clients still are")
	}
}

func TestARenewedCertificateIsTakenOverUnderTraffic(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	dir := t.TempDir()
	n := startNode(t, encryptedConfig(t, ca, dir, "0"))
	var stop atomic.Bool
	var last atomic.Value
	var wg sync.WaitGroup
	for i := range 3 {
		trust := &tls.Config{RootCAs: ca.Pool()}
		if i > 0 { // it comes back by ticket, and is shown no certificate again
			trust.ClientSessionCache = tls.NewLRUClientSessionCache(2)
		}
		wg.Go(func() {
			for !stop.Load() {
				server, err := asks(n, trust)
				if err != nil {
					t.Error(err)
					return
				}
				if i == 0 {
					last.Store(server)
				}
			}
		})
	}
	for i := 1; i <= 5; i++ {
		name := fmt.Sprint(i)
		ca.Issue(t, certstest.Leaf{Name: name}).Write(t, dir, "port") // the certificate first, then the key
		eventually(t, "certificate "+name+" is shown", func() bool { return last.Load() == name || t.Failed() })
	}
	stop.Store(true)
	wg.Wait()
	if got := metrics(t, n, ca); !strings.Contains(got, `headgate_tls_reloads_total{port="grpc",result="applied"} 5`) {
		t.Errorf("%s", got)
	}
}

func TestABadCertificateKeepsTheOldOneAndSaysSo(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	dir := t.TempDir()
	c := encryptedConfig(t, ca, dir, "old")
	n := startNode(t, c)
	trust := &tls.Config{RootCAs: ca.Pool()}
	next := ca.Issue(t, certstest.Leaf{Name: "new", NotAfter: time.Now().Add(30 * time.Minute)})
	certstest.WriteFile(t, c.GRPC.TLS.CertFile, next.Cert)
	eventually(t, "it is refused", func() bool {
		got := metrics(t, n, ca)
		return strings.Contains(got, `tls_reloads_total{port="grpc",result="rejected"} 1`) && strings.Contains(got, `tls_reloads_total{port="http",result="rejected"} 1`)
	})
	for _, want := range []string{
		`level=ERROR msg="certificate refused: the previous one stays in use" port=grpc certificate="CN=old"`,
		`is not the key of the certificate in ` + c.GRPC.TLS.CertFile + ` (CN=new)`,
	} {
		if log := n.log.String(); !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if server, err := asks(n, trust); err != nil || server != "old" {
		t.Errorf("%q, %v", server, err)
	}
	certstest.WriteFile(t, c.GRPC.TLS.KeyFile, next.Key)
	eventually(t, "the new one is shown", func() bool { server, err := asks(n, trust); return err == nil && server == "new" })
}

func TestACertificateOfAKubernetesVolumeIsFollowed(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	volume := t.TempDir()
	publish := func(version, name string) {
		t.Helper()
		dir := filepath.Join(volume, version)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		ca.Issue(t, certstest.Leaf{Name: name}).Write(t, dir, "tls")
		if err := os.Symlink(version, filepath.Join(volume, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("..1", "first")
	c := testConfig(t, hourly(1_000_000))
	for setting, file := range map[*string]string{&c.GRPC.TLS.CertFile: "tls.pem", &c.GRPC.TLS.KeyFile: "tls.key"} {
		*setting = filepath.Join(volume, file)
		if err := os.Symlink(filepath.Join("..data", file), *setting); err != nil {
			t.Fatal(err)
		}
	}
	n := startNode(t, c)
	for i, name := range []string{"second", "third"} {
		publish(fmt.Sprintf("..%d", i+2), name)
		eventually(t, name+" is shown", func() bool {
			server, err := asks(n, &tls.Config{RootCAs: ca.Pool()})
			return err == nil && server == name
		})
	}
	if log := n.log.String(); strings.Contains(log, "refused") {
		t.Errorf("a step was not atomic:\n%s", log)
	}
}

func TestSIGHUPReadsCertificatesAgain(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	n := startNode(t, encryptedConfig(t, ca, t.TempDir(), "node"))
	n.signals <- syscall.SIGHUP
	eventually(t, "both ports' files are read", func() bool {
		got := metrics(t, n, ca)
		return strings.Contains(got, `tls_reloads_total{port="grpc",result="unchanged"} 1`) && strings.Contains(got, `tls_reloads_total{port="http",result="unchanged"} 1`)
	})
}

func TestBadCertificatesAtStartAreAnErrorWithAllProblems(t *testing.T) {
	c := testConfig(t, hourly(1))
	dir := t.TempDir()
	c.GRPC.TLS.CertFile, c.GRPC.TLS.KeyFile = filepath.Join(dir, "a.pem"), filepath.Join(dir, "a.key")
	c.HTTP.TLS.CertFile, c.HTTP.TLS.KeyFile = filepath.Join(dir, "b.pem"), filepath.Join(dir, "b.key")
	write(t, c.HTTP.TLS.CertFile, "hello")
	err := Run(t.Context(), Options{Config: c})
	if !errors.Is(err, ErrCertificates) {
		t.Fatal(err)
	}
	for _, want := range []string{"grpc.tls: ", "a.pem: no such file", "a.key: no such file", "http.tls: ", "b.pem: is not PEM", "b.key: no such file"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
}

func TestAnExpiredCertificateIsServedWithAWarning(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	dir := t.TempDir()
	c := encryptedConfig(t, ca, dir, "node")
	ca.Issue(t, certstest.Leaf{Name: "late", NotAfter: time.Now().Add(-time.Minute)}).Write(t, dir, "port")
	n := startNode(t, c)
	if log := n.log.String(); !strings.Contains(log, `level=WARN msg="certificate problem" port=grpc`) || !strings.Contains(log, "CN=late has expired on ") {
		t.Error(log)
	}
	if _, err := asks(n, &tls.Config{RootCAs: ca.Pool()}); err == nil {
		t.Error("a client trusts it")
	}
}

// Whoever connects and does not shake hands holds up neither others nor the stop.
func TestAStopDoesNotWaitForHandshakes(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	n := startNode(t, encryptedConfig(t, ca, t.TempDir(), "node"))
	for range 3 {
		conn, err := net.Dial("tcp", n.GRPC)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if _, err := asks(n, &tls.Config{RootCAs: ca.Pool()}); err != nil {
		t.Error(err)
	}
	began := time.Now()
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %v", took)
	}
}
