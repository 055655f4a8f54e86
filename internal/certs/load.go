package certs

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// FileBytesMax is how large a PEM file may be, and blocksMax how many blocks
	// it may have: a bundle of the public authorities has some 150.
	FileBytesMax = 1 << 20
	blocksMax    = 1_000
)

// Files are the PEM files of one port.
type Files struct {
	Cert     string // the port's certificate first, then those that lead to its authority
	Key      string // of the first certificate, without a passphrase; may be the same file
	ClientCA string // the authorities whose clients may connect; "": none is asked for
}

// A pemFile is what a file holds.
type pemFile struct {
	name   string
	sum    [sha256.Size]byte // of its text
	blocks []*pem.Block
}

// A bundle is what Files say, checked.
type bundle struct {
	sums      [3][sha256.Size]byte // of the texts: certificate, key, authorities
	pair      tls.Certificate
	chain     []*x509.Certificate
	authority []*x509.Certificate
}

// read reads and checks all files. Its error joins what is wrong.
func (f *Files) read() (*bundle, error) {
	var b bundle
	cert, certErr := readPEM(f.Cert)
	if certErr == nil {
		b.chain, certErr = cert.certificates()
	}
	key, keyErr := readPEM(f.Key)
	var private crypto.Signer
	if keyErr == nil {
		private, keyErr = key.privateKey()
	}
	errs := []error{certErr, keyErr}
	if certErr == nil && keyErr == nil {
		errs = append(errs, f.match(b.chain, private))
		b.pair = tls.Certificate{PrivateKey: private, Leaf: b.chain[0]}
		for _, c := range b.chain {
			b.pair.Certificate = append(b.pair.Certificate, c.Raw)
		}
		b.sums[0], b.sums[1] = cert.sum, key.sum
	}
	if f.ClientCA != "" {
		ca, err := readPEM(f.ClientCA)
		if err == nil {
			b.sums[2] = ca.sum
			b.authority, err = ca.certificates()
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &b, nil
}

// match reports an error unless private is the key of chain's first certificate.
func (f *Files) match(chain []*x509.Certificate, private crypto.Signer) error {
	for i, c := range chain {
		public, ok := c.PublicKey.(interface {
			Equal(other crypto.PublicKey) bool
		})
		switch {
		case !ok || !public.Equal(private.Public()):
		case i == 0:
			return nil
		default:
			return fmt.Errorf("certs: %s: the key in %s is that of certificate %d: its certificate must come first", f.Cert, f.Key, i+1)
		}
	}
	return fmt.Errorf("certs: %s: is not the key of the certificate in %s (%s)", f.Key, f.Cert, about(chain[0]))
}

// readPEM reads a file that has nothing but whole PEM blocks, and text between
// them.
func readPEM(name string) (*pemFile, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(f, FileBytesMax+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("certs: %w", err)
	case len(text) > FileBytesMax:
		return nil, fmt.Errorf("certs: %s: is larger than %d bytes", name, FileBytesMax)
	}
	return parsePEM(name, text)
}

// parsePEM is readPEM for a text. pem.Decode steps over what it can't decode:
// a chain that was cut short would go unnoticed.
func parsePEM(name string, text []byte) (*pemFile, error) {
	file := &pemFile{name: name, sum: sha256.Sum256(text)}
	begun := bytes.Count(text, []byte("-----BEGIN "))
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, fmt.Errorf("certs: %s: is empty", name)
	case begun == 0:
		return nil, fmt.Errorf("certs: %s: is not PEM: there is no line -----BEGIN …-----", name)
	case begun > blocksMax:
		return nil, fmt.Errorf("certs: %s: has %d PEM blocks: at most %d", name, begun, blocksMax)
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		file.blocks = append(file.blocks, block)
	}
	if len(file.blocks) != begun {
		return nil, fmt.Errorf("certs: %s: %d PEM blocks begin but %d are whole: one is damaged or cut short", name, begun, len(file.blocks))
	}
	return file, nil
}

// certificates returns the file's certificates, at least one. Keys beside them
// are stepped over.
func (f *pemFile) certificates() ([]*x509.Certificate, error) {
	var found []*x509.Certificate
	for i, b := range f.blocks {
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certs: %s: PEM block %d is no certificate: %w", f.name, i+1, err)
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("certs: %s: has no certificate, only %s", f.name, f.types())
	}
	return found, nil
}

// privateKey returns the file's first private key.
func (f *pemFile) privateKey() (crypto.Signer, error) {
	for i, b := range f.blocks {
		var key any
		var err error
		switch {
		case b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "":
			return nil, fmt.Errorf("certs: %s: the key needs a passphrase: store it without one", f.name)
		case b.Type == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		case b.Type == "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(b.Bytes)
		case b.Type == "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("certs: %s: PEM block %d is no usable key: %w", f.name, i+1, err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("certs: %s: a key of type %T can't sign", f.name, key)
		}
		return signer, nil
	}
	return nil, fmt.Errorf("certs: %s: has no private key, only %s", f.name, f.types())
}

// types names the kinds of f's blocks.
func (f *pemFile) types() string {
	const few = 3
	var types []string
	for _, b := range f.blocks {
		if !slices.Contains(types, b.Type) && len(types) < few {
			types = append(types, b.Type)
		}
	}
	return strings.Join(types, ", ")
}

// notAfter is when the first certificate of the chain expires.
func (b *bundle) notAfter() time.Time {
	first := b.chain[0].NotAfter
	for _, c := range b.chain[1:] {
		if c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}

// warnings says what peers may refuse.
func (b *bundle) warnings(f *Files, now time.Time) []string {
	var list []string
	for _, set := range []struct {
		file  string
		certs []*x509.Certificate
	}{{f.Cert, b.chain}, {f.ClientCA, b.authority}} {
		for _, c := range set.certs {
			switch {
			case now.After(c.NotAfter):
				list = append(list, fmt.Sprintf("%s: %s has expired on %s", set.file, about(c), c.NotAfter.UTC().Format(time.RFC3339)))
			case now.Before(c.NotBefore):
				list = append(list, fmt.Sprintf("%s: %s is not valid before %s", set.file, about(c), c.NotBefore.UTC().Format(time.RFC3339)))
			}
		}
	}
	leaf := b.chain[0]
	if len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.URIs) == 0 {
		list = append(list, fmt.Sprintf("%s: %s names no host (subject alternative name): most clients refuse it", f.Cert, about(leaf)))
	}
	if use := leaf.ExtKeyUsage; len(use) > 0 && !slices.Contains(use, x509.ExtKeyUsageServerAuth) && !slices.Contains(use, x509.ExtKeyUsageAny) {
		list = append(list, fmt.Sprintf("%s: %s is not for servers (extended key usage): most clients refuse it", f.Cert, about(leaf)))
	}
	const shown = 10
	if more := len(list) - shown; more > 0 {
		list = append(list[:shown], fmt.Sprintf("%d more like these", more))
	}
	return list
}

// about names a certificate.
func about(c *x509.Certificate) string {
	if name := c.Subject.String(); name != "" {
		return name
	}
	return "serial number " + c.SerialNumber.Text(16)
}
