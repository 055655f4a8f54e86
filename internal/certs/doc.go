// Package certs holds the certificate that a port shows, and whom it asks for
// one: it loads PEM files, checks them together, and takes over changed files
// without a restart.
//
// It is not a certificate authority, it obtains and renews nothing, and it does
// not watch files: internal/app calls [Source.Reload] when they may have
// changed. It listens nowhere and shakes no hands: crypto/tls does, by what
// [Source.Server] returns.
//
// The main type is [Source]. Files are read as a whole, and what is wrong with
// any of them changes nothing: the previous ones stay in use, for every new
// handshake. Connections that are open keep what they began with. A Source is
// safe for concurrent use.
//
// Errors name the file and what is wrong with it; all files are looked at
// before an error is returned. What only may be wrong, such as a certificate
// that has expired, is a warning.
//
// See docs/guides/tls.md.
package certs
