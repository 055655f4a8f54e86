package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ClientAuth says what is asked of clients.
type ClientAuth uint8

// What is asked of clients. One that shows a certificate which none of the
// authorities signed, or that has expired, is refused in both cases.
const (
	ClientNone     ClientAuth = iota // nothing
	ClientOptional                   // a certificate, if they have one
	ClientRequire                    // a certificate
)

// Config says what a port shows and asks for.
type Config struct {
	Files Files
	// ClientAuth needs Files.ClientCA unless it is ClientNone.
	ClientAuth ClientAuth
	// MinVersion is tls.VersionTLS12 or tls.VersionTLS13.
	MinVersion uint16
	// Protocols are what the port speaks, by their names for ALPN, the most
	// wanted first. At least one.
	Protocols []string
	// ProtocolRequired refuses clients that do not say that they speak one of
	// Protocols; else they are taken to speak what came before ALPN, HTTP/1.1.
	ProtocolRequired bool
	// Now is the wall clock, against which clients' certificates are checked.
	Now func() time.Time
}

// Validate reports all settings that contradict each other.
func (c *Config) Validate() error {
	var errs []error
	reject := func(path, bound string) { errs = append(errs, fmt.Errorf("certs: %s: %s", path, bound)) }
	if c.Files.Cert == "" || c.Files.Key == "" {
		reject("files", "a certificate and its key must be given")
	}
	if (c.ClientAuth == ClientNone) != (c.Files.ClientCA == "") {
		reject("client_auth", "goes with authorities, and they with it")
	}
	if c.ClientAuth > ClientRequire {
		reject("client_auth", "unknown")
	}
	if c.MinVersion != tls.VersionTLS12 && c.MinVersion != tls.VersionTLS13 {
		reject("min_version", "must be 1.2 or 1.3")
	}
	if len(c.Protocols) == 0 {
		reject("protocols", "must not be empty")
	}
	if c.Now == nil {
		reject("now", "must be given")
	}
	return errors.Join(errs...)
}

// A Result is how a reading of changed files ended.
type Result uint8

// The results.
const (
	Unchanged Result = iota // the same content
	Applied                 // new handshakes use it
	Rejected                // something is wrong: the previous content stays in use
)

// Stats say what is in use and how often files were read again.
type Stats struct {
	NotAfter                     time.Time // when the first certificate of the chain expires
	Applied, Unchanged, Rejected uint64    // calls of Reload
}

// A Source is the certificate of one port. Make one with New.
type Source struct {
	config Config
	server *tls.Config

	current atomic.Pointer[material]
	counts  [3]atomic.Uint64 // of results

	loading sync.Mutex // held while files are read
}

// material is what one reading of the files gave. It does not change.
type material struct {
	sums     [3][sha256.Size]byte
	server   *tls.Config
	notAfter time.Time
	about    string
}

// New returns a source that has read its files, and what clients may refuse
// about them. Its error joins all that is wrong.
func New(c *Config) (s *Source, warnings []string, err error) {
	if err := c.Validate(); err != nil {
		return nil, nil, err
	}
	s = &Source{config: *c}
	s.config.Protocols = slices.Clone(c.Protocols)
	b, err := s.config.Files.read()
	if err != nil {
		return nil, nil, err
	}
	// Tickets, by which clients come back with less work, are made with the keys
	// of this one for as long as the process lives; crypto/tls changes them daily,
	// and checks a client's certificate again, against the authorities of the day.
	s.server = s.base()
	s.server.GetConfigForClient = s.forClient
	s.current.Store(s.build(b))
	return s, b.warnings(&s.config.Files, c.Now()), nil
}

// Reload reads the files again. If anything is wrong with them, it says what,
// and the previous ones stay in use.
func (s *Source) Reload() (r Result, warnings []string, err error) {
	s.loading.Lock()
	defer s.loading.Unlock()
	defer func() { s.counts[r].Add(1) }()
	b, err := s.config.Files.read()
	if err != nil {
		return Rejected, nil, err
	}
	if b.sums == s.current.Load().sums {
		return Unchanged, nil, nil
	}
	s.current.Store(s.build(b))
	return Applied, b.warnings(&s.config.Files, s.config.Now()), nil
}

// Server returns the configuration of a server that uses, in each handshake,
// what was read last. It must not be changed; a clone works as well.
func (s *Source) Server() *tls.Config { return s.server }

// Files returns where s reads from.
func (s *Source) Files() Files { return s.config.Files }

// About names the certificate in use.
func (s *Source) About() string { return s.current.Load().about }

// Stats returns the present counts.
func (s *Source) Stats() Stats {
	return Stats{
		NotAfter:  s.current.Load().notAfter,
		Applied:   s.counts[Applied].Load(),
		Unchanged: s.counts[Unchanged].Load(),
		Rejected:  s.counts[Rejected].Load(),
	}
}

// base is what does not depend on the files.
func (s *Source) base() *tls.Config {
	return &tls.Config{
		MinVersion: s.config.MinVersion,
		NextProtos: s.config.Protocols,
		Time:       s.config.Now,
		// Of TLS 1.2's suites, those that HTTP/2 allows (RFC 9113, 9.2.2). Those
		// of TLS 1.3 are not configurable.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}

// build makes b ready for handshakes.
func (s *Source) build(b *bundle) *material {
	c := s.base()
	c.Certificates = []tls.Certificate{b.pair}
	if len(b.authority) > 0 {
		c.ClientCAs = x509.NewCertPool()
		for _, ca := range b.authority {
			c.ClientCAs.AddCert(ca)
		}
	}
	switch s.config.ClientAuth {
	case ClientOptional:
		c.ClientAuth = tls.VerifyClientCertIfGiven
	case ClientRequire:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	case ClientNone:
	}
	return &material{sums: b.sums, server: c, notAfter: b.notAfter(), about: about(b.chain[0])}
}

// forClient returns what a handshake that begins now uses.
func (s *Source) forClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if s.config.ProtocolRequired && !slices.ContainsFunc(s.config.Protocols, func(p string) bool {
		return slices.Contains(hello.SupportedProtos, p)
	}) {
		return nil, fmt.Errorf("certs: the client speaks none of %v (ALPN)", s.config.Protocols)
	}
	return s.current.Load().server, nil
}
