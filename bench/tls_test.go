package bench

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/headgate/headgate/internal/certs/certstest"
)

func TestAnEncryptedServerIsMeasured(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	f := &fake{}
	target := start(t, f, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{ca.Issue(t, certstest.Leaf{}).Load(t)},
		ClientCAs:    ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	})))
	c := small(target)
	c.TLS = &tls.Config{
		RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{ca.Issue(t, certstest.Leaf{Client: true}).Load(t)},
	}
	r := mustRun(t, c)
	checkClean(t, r)
	if r.Verdicts.OK != uint64(f.ok.Load()) {
		t.Errorf("reported %+v, the server answered %d", r.Verdicts, f.ok.Load())
	}
}

func TestAnEncryptedServerThatCannotBeTrustedIsNotMeasured(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	encrypted := func(protocols ...string) string {
		l := tls.NewListener(listen(t), &tls.Config{
			Certificates: []tls.Certificate{ca.Issue(t, certstest.Leaf{}).Load(t)},
			NextProtos:   protocols, MinVersion: tls.VersionTLS12,
		})
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				go func(c *tls.Conn) {
					_ = c.Handshake()
					_ = c.Close()
				}(nc.(*tls.Conn))
			}
		}()
		t.Cleanup(func() { _ = l.Close() })
		return l.Addr().String()
	}
	silent := listen(t)
	t.Cleanup(func() { _ = silent.Close() })
	for name, test := range map[string]struct {
		target, want string
		config       *tls.Config
	}{
		"another authority":     {encrypted("h2"), "unknown authority", &tls.Config{RootCAs: certstest.NewAuthority(t, "other", time.Now()).Pool()}},
		"another name":          {encrypted("h2"), "elsewhere", &tls.Config{RootCAs: ca.Pool(), ServerName: "elsewhere"}},
		"no h2":                 {encrypted(), "does not agree on h2", &tls.Config{RootCAs: ca.Pool()}},
		"cleartext":             {start(t, &fake{}), "does not look like a TLS handshake", &tls.Config{RootCAs: ca.Pool()}},
		"nothing is ever heard": {silent.Addr().String(), "deadline exceeded", &tls.Config{RootCAs: ca.Pool()}},
	} {
		t.Run(name, func(t *testing.T) {
			c := small(test.target)
			c.TLS, c.ConnectTimeout, c.Connections = test.config, time.Second, 1
			c.TLS.MinVersion = tls.VersionTLS12
			_, err := Run(t.Context(), c, nil)
			if !errors.Is(err, ErrConnect) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want it to say %q", err, test.want)
			}
		})
	}
}
