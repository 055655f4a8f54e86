package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/headgate/headgate/internal/certs/certstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestWhatIsWrongWithFilesIsSaid(t *testing.T) {
	now := time.Now()
	ca := certstest.NewAuthority(t, "ca", now)
	good, other := ca.Issue(t, certstest.Leaf{Name: "good"}), ca.Issue(t, certstest.Leaf{Name: "other"})
	chain := slices.Concat(good.Cert, ca.PEM)
	tests := map[string]struct {
		cert, key, ca []byte // nil: there is no such file; ca: none is given
		want          []string
	}{
		"no files":                      {nil, nil, nil, []string{"port.pem: no such file", "port.key: no such file"}},
		"an empty certificate":          {[]byte(" \n"), good.Key, nil, []string{"port.pem: is empty"}},
		"an empty key":                  {good.Cert, []byte{}, nil, []string{"port.key: is empty"}},
		"no PEM":                        {[]byte("hello"), good.Key, nil, []string{"port.pem: is not PEM"}},
		"DER":                           {[]byte{0x30, 0x82, 1, 2, 3}, good.Key, nil, []string{"port.pem: is not PEM"}},
		"a key instead of certificates": {good.Key, good.Key, nil, []string{"port.pem: has no certificate, only PRIVATE KEY"}},
		"a certificate instead of keys": {good.Cert, good.Cert, nil, []string{"port.key: has no private key, only CERTIFICATE"}},
		"a chain that was cut short":    {chain[:len(chain)-40], good.Key, nil, []string{"port.pem: 2 PEM blocks begin but 1 are whole"}},
		"a key that was cut short":      {good.Cert, good.Key[:len(good.Key)/2], nil, []string{"port.key: 1 PEM blocks begin but 0 are whole"}},
		"letters changed":               {bytes.Replace(chain, []byte("A"), []byte("!"), 1), good.Key, nil, []string{"port.pem: 2 PEM blocks begin but 1 are whole"}},
		"a certificate that is none":    {encode("CERTIFICATE", []byte("hello")), good.Key, nil, []string{"port.pem: PEM block 1 is no certificate"}},
		"a key that is none":            {good.Cert, encode("PRIVATE KEY", []byte("hello")), nil, []string{"port.key: PEM block 1 is no usable key"}},
		"an EC key that is none":        {good.Cert, encode("EC PRIVATE KEY", nil), nil, []string{"port.key: PEM block 1 is no usable key"}},
		"an RSA key that is none":       {good.Cert, encode("RSA PRIVATE KEY", nil), nil, []string{"port.key: PEM block 1 is no usable key"}},
		"a key with a passphrase":       {good.Cert, encode("ENCRYPTED PRIVATE KEY", []byte("hello")), nil, []string{"port.key: the key needs a passphrase"}},
		"an old key with a passphrase": {
			good.Cert, []byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\naGVsbG8=\n-----END RSA PRIVATE KEY-----\n"),
			nil,
			[]string{"port.key: the key needs a passphrase"},
		},
		"a key that can't sign":     {good.Cert, x25519Key(t), nil, []string{"port.key: a key of type *ecdh.PrivateKey can't sign"}},
		"another certificate's key": {good.Cert, other.Key, nil, []string{"port.key: is not the key of the certificate in ", "(CN=good)"}},
		"the authority comes first": {slices.Concat(ca.PEM, good.Cert), good.Key, nil, []string{"port.pem: the key in ", "is that of certificate 2: its certificate must come first"}},
		"no authorities":            {good.Cert, good.Key, []byte(""), []string{"ca.pem: is empty"}},
		"a key as authority":        {good.Cert, good.Key, good.Key, []string{"ca.pem: has no certificate"}},
		"too large":                 {bytes.Repeat([]byte("a"), FileBytesMax+1), good.Key, nil, []string{"port.pem: is larger than 1048576 bytes"}},
		"too many blocks":           {bytes.Repeat([]byte("-----BEGIN A-----\n-----END A-----\n"), blocksMax+1), good.Key, nil, []string{"port.pem: has 1001 PEM blocks: at most 1000"}},
		"all at once":               {[]byte("x"), nil, []byte("y"), []string{"port.pem: is not PEM", "port.key: no such file", "ca.pem: is not PEM"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := write(t, t.TempDir(), test.cert, test.key, test.ca)
			b, err := f.read()
			if err == nil || b != nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
			if got := strings.Count(err.Error(), "\n") + 1; got > len(test.want) {
				t.Errorf("%d errors: %v", got, err)
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		f := write(t, t.TempDir(), good.Cert, good.Key, nil)
		f.Cert = t.TempDir()
		if _, err := f.read(); err == nil || !strings.Contains(err.Error(), f.Cert) {
			t.Error(err)
		}
	})
}

func TestAllUsualKeysAreRead(t *testing.T) {
	now := time.Now()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	self := func(public, private any) []byte {
		c := &x509.Certificate{SerialNumber: big.NewInt(7), DNSNames: []string{"localhost"}, NotAfter: now.Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, c, c, public, private)
		if err != nil {
			t.Fatal(err)
		}
		return encode("CERTIFICATE", der)
	}
	pkcs1 := encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))
	rsaCert := self(rsaKey.Public(), rsaKey)
	ecCert := self(ecKey.Public(), ecKey)
	ec := slices.Concat([]byte("-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n"), encode("EC PRIVATE KEY", ecDER))
	for name, pair := range map[string][2][]byte{
		"PKCS 1":                    {rsaCert, pkcs1},
		"SEC 1 behind parameters":   {ecCert, ec},
		"both in one file":          {slices.Concat(ec, ecCert), slices.Concat(ec, ecCert)},
		"text between":              {slices.Concat([]byte("subject: x\n"), ecCert, []byte("\nissuer: y\n")), ec},
		"line ends of other places": {bytes.ReplaceAll(ecCert, []byte("\n"), []byte("\r\n")), ec},
	} {
		t.Run(name, func(t *testing.T) {
			f := write(t, t.TempDir(), pair[0], pair[1], nil)
			if _, err := f.read(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatPeersMayRefuseIsWarnedOf(t *testing.T) {
	now := time.Now()
	ca := certstest.NewAuthority(t, "ca", now)
	old := certstest.NewAuthority(t, "old", now.Add(-100*time.Hour))
	tests := map[string]struct {
		leaf certstest.Leaf
		ca   []byte
		want []string
	}{
		"nothing is wrong":    {certstest.Leaf{}, ca.PEM, nil},
		"expired":             {certstest.Leaf{NotAfter: now.Add(-time.Minute)}, nil, []string{"port.pem: CN=x has expired on " + now.Add(-time.Minute).UTC().Format("2006-01-02T15")}},
		"not yet valid":       {certstest.Leaf{NotBefore: now.Add(time.Minute)}, nil, []string{"port.pem: CN=x is not valid before "}},
		"no host":             {certstest.Leaf{Nameless: true}, nil, []string{"names no host"}},
		"for clients":         {certstest.Leaf{Client: true}, nil, []string{"names no host", "not for servers"}},
		"an old authority":    {certstest.Leaf{}, old.PEM, []string{"ca.pem: CN=old has expired"}},
		"many old ones":       {certstest.Leaf{}, bytes.Repeat(old.PEM, 30), []string{"", "", "", "", "", "", "", "", "", "", "20 more like these"}},
		"one of two is fresh": {certstest.Leaf{}, slices.Concat(ca.PEM, old.PEM), []string{"ca.pem: CN=old has expired"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.leaf.Name = "x"
			pair := ca.Issue(t, test.leaf)
			f := write(t, t.TempDir(), pair.Cert, pair.Key, test.ca)
			b, err := f.read()
			if err != nil {
				t.Fatal(err)
			}
			got := b.warnings(&f, now)
			if len(got) != len(test.want) {
				t.Fatalf("%q, want %q", got, test.want)
			}
			for i := range got {
				if !strings.Contains(got[i], test.want[i]) {
					t.Errorf("%q lacks %q", got[i], test.want[i])
				}
			}
		})
	}
}

// Whatever a file holds, reading it ends with something usable or an error.
func FuzzParse(f *testing.F) {
	now := time.Now()
	ca := certstest.NewAuthority(f, "ca", now)
	pair := ca.Issue(f, certstest.Leaf{Name: "x"})
	f.Add(slices.Concat(pair.Cert, ca.PEM, pair.Key))
	f.Add(x25519Key(f))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := parsePEM("fuzz", text)
		if err != nil {
			return
		}
		chain, certErr := file.certificates()
		key, keyErr := file.privateKey()
		if certErr != nil || keyErr != nil {
			if len(chain) > 0 && certErr != nil {
				t.Fatal("certificates in spite of an error")
			}
			return
		}
		b := bundle{chain: chain, authority: chain}
		files := &Files{Cert: "fuzz", Key: "fuzz"}
		_ = files.match(chain, key)
		if list := b.warnings(files, now); len(list) > 20 {
			t.Fatalf("%d warnings", len(list))
		}
		if b.notAfter().After(chain[0].NotAfter) {
			t.Fatal("the chain outlives its first certificate")
		}
	})
}

func x25519Key(tb testing.TB) []byte {
	tb.Helper()
	// RFC 8410's private key for X25519: agreement only.
	return []byte("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIHCFRhMYAoQ9/Rc7x1YUhOaF8YFeN1FY6kZkeW1SqBFG\n-----END PRIVATE KEY-----\n")
}

// write writes the files of one port. Nil ones are missing.
func write(tb testing.TB, dir string, cert, key, ca []byte) Files {
	tb.Helper()
	f := Files{Cert: filepath.Join(dir, "port.pem"), Key: filepath.Join(dir, "port.key")}
	for name, text := range map[string][]byte{f.Cert: cert, f.Key: key} {
		if text != nil {
			certstest.WriteFile(tb, name, text)
		}
	}
	if ca != nil {
		f.ClientCA = filepath.Join(dir, "ca.pem")
		if err := os.WriteFile(f.ClientCA, ca, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return f
}
