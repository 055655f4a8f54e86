// Package suites runs the conformance suites that others wrote against
// Headgate: h2spec for HTTP/2, and grpc-go's interoperability cases for gRPC.
//
// It is a module of its own, because what the suites need must not enter the
// product's module graph. It exports nothing, and only tests use it: `make
// h2spec` and `make interop` run them. h2spec asks the real binary; the
// interoperability cases need grpc's test service, so they ask the front that
// the product serves with, in the test's process.
//
// Errors: a case that fails fails the test. What is left out is listed with a
// reason in testdata/h2spec-skipped.txt; an entry that would pass, or that
// names no case, fails too.
//
// See docs/reference/conformance.md.
package suites
