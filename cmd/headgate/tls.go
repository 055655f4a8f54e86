package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
)

// pemBytesMax is how large a PEM file of a client may be.
const pemBytesMax = 1 << 20

// tlsOptions are the flags of a client that may talk to an encrypted port.
type tlsOptions struct {
	on                        bool
	ca, cert, key, serverName string
}

func addTLS(f *pflag.FlagSet, o *tlsOptions) {
	f.BoolVar(&o.on, "tls", false, "encrypt; any other --tls flag says so, too")
	f.StringVar(&o.ca, "tls-ca", "", "PEM `file` of the authorities that the server's certificate may be of; none: the system's")
	f.StringVar(&o.cert, "tls-cert", "", "PEM `file` of the certificate to show the server")
	f.StringVar(&o.key, "tls-key", "", "PEM `file` of its key")
	f.StringVar(&o.serverName, "tls-server-name", "", "`host` that the server's certificate must name; none: that of its address")
}

// config returns how to encrypt; nil: not. Its error is the command line's.
func (o *tlsOptions) config() (*tls.Config, error) {
	if *o == (tlsOptions{}) {
		return nil, nil //nolint:nilnil // cleartext
	}
	c := &tls.Config{ServerName: o.serverName, MinVersion: tls.VersionTLS12}
	if o.ca != "" {
		text, err := readPEM(o.ca)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--tls-ca: %s: has no certificate in PEM", o.ca)
		}
	}
	switch {
	case o.cert == "" && o.key == "":
		return c, nil
	case o.cert == "" || o.key == "":
		return nil, errors.New("--tls-cert and --tls-key: one needs the other")
	}
	pair, err := loadPair(o.cert, o.key)
	if err != nil {
		return nil, err
	}
	// Not Certificates: where the server asks for one of other authorities, the
	// server's words are clearer than those for having shown none.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	return c, nil
}

func loadPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := readPEM(certFile)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	key, err := readPEM(keyFile)
	if err != nil {
		return nil, fmt.Errorf("--tls-key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s, --tls-key %s: %w", certFile, keyFile, err)
	}
	return &pair, nil
}

func readPEM(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the user names the file
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	defer f.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(f, pemBytesMax+1))
	if err == nil && len(text) > pemBytesMax {
		err = fmt.Errorf("%s: is larger than %d bytes", name, pemBytesMax)
	}
	return text, err
}
