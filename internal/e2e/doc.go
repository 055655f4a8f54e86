// Package e2e holds the end-to-end tests: a real gateway in front of a tiny
// upstream asks a real `headgate serve` whether each call may pass. The gateways are
// Envoy and, with the recipes of docs/guides, nginx, HAProxy and Caddy.
//
// It is not part of the product and exports nothing. Its tests carry the build
// tag e2e, because they need an Envoy binary, which `make e2e` installs; `make
// test` does not run them. Everything listens on loopback, on free ports.
//
// The Envoy configurations are templates in testdata/. The tests also record
// what Envoy sends (see api/rls/testdata/envoy-recorded).
//
// Errors: a test that cannot start a gateway fails; it never skips.
//
// See docs/adr/0001-non-blocking-decider.md for the path that they exercise.
package e2e
