package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// ClientFiles are the PEM files of a connection that this process opens.
type ClientFiles struct {
	CA         string // the authorities that the server's certificate may be of; "": the system's
	Cert, Key  string // shown to the server; both or none
	ServerName string // that the server's certificate must name; "": the host that is dialled
}

// Client reads files and returns the configuration of a client that speaks
// protocols, by their names for ALPN. It is read anew for each connection where
// changed files shall be used. Its error joins all that is wrong.
func Client(files *ClientFiles, now func() time.Time, protocols ...string) (*tls.Config, error) {
	c := &tls.Config{
		ServerName: files.ServerName, MinVersion: tls.VersionTLS12, NextProtos: protocols, Time: now,
	}
	var errs []error
	if files.CA != "" {
		file, err := readPEM(files.CA)
		if err == nil {
			var authorities []*x509.Certificate
			authorities, err = file.certificates()
			c.RootCAs = x509.NewCertPool()
			for _, a := range authorities {
				c.RootCAs.AddCert(a)
			}
		}
		errs = append(errs, err)
	}
	switch {
	case files.Cert == "" && files.Key == "":
	case files.Cert == "" || files.Key == "":
		errs = append(errs, fmt.Errorf("certs: certificate %q, key %q: one needs the other", files.Cert, files.Key))
	default:
		pair := Files{Cert: files.Cert, Key: files.Key}
		b, err := pair.read()
		if err == nil {
			// Not Certificates: where the server asks for one of other authorities,
			// its words are clearer than those for having shown none.
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &b.pair, nil }
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}
