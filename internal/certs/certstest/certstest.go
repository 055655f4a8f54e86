package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An Authority signs certificates. Its own is valid for a day around the moment
// that it was made for.
type Authority struct {
	PEM []byte // its certificate

	now  time.Time
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority returns an authority with a key of its own.
func NewAuthority(tb testing.TB, name string, now time.Time) *Authority {
	tb.Helper()
	a := &Authority{now: now, key: newKey(tb)}
	a.cert = &x509.Certificate{
		SerialNumber:          serial(tb),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-12 * time.Hour),
		NotAfter:              now.Add(12 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, a.key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	a.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// Pool returns the authority as what a peer trusts.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.PEM)
	return pool
}

// A Leaf says what a certificate is for. The zero value is a server's for
// 127.0.0.1 and localhost, valid for two hours around the authority's moment.
type Leaf struct {
	Name                string
	Client              bool // for a client; else for a server
	Nameless            bool // names no host
	NotBefore, NotAfter time.Time
}

// A Pair is a certificate and its key.
type Pair struct{ Cert, Key []byte } // PEM

// Issue signs a certificate with a new key.
func (a *Authority) Issue(tb testing.TB, l Leaf) Pair {
	tb.Helper()
	key := newKey(tb)
	c := &x509.Certificate{
		SerialNumber: serial(tb),
		Subject:      pkix.Name{CommonName: l.Name},
		NotBefore:    l.NotBefore,
		NotAfter:     l.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if c.NotBefore.IsZero() {
		c.NotBefore = a.now.Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = a.now.Add(time.Hour)
	}
	switch {
	case l.Client:
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	case !l.Nameless:
		c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

// Load returns p as crypto/tls takes it.
func (p Pair) Load(tb testing.TB) tls.Certificate {
	tb.Helper()
	c, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// Write writes NAME.pem and NAME.key into dir, each in one step, and returns
// where they are.
func (p Pair) Write(tb testing.TB, dir, name string) (cert, key string) {
	tb.Helper()
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	WriteFile(tb, cert, p.Cert)
	WriteFile(tb, key, p.Key)
	return cert, key
}

// WriteFile replaces a file in one step.
func WriteFile(tb testing.TB, name string, text []byte) {
	tb.Helper()
	if err := os.WriteFile(name+".next", text, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(name+".next", name); err != nil {
		tb.Fatal(err)
	}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func serial(tb testing.TB) *big.Int {
	tb.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		tb.Fatal(err)
	}
	return n.Add(n, big.NewInt(1))
}
