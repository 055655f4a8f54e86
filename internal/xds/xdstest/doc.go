// Package xdstest is a control plane for tests: a server of the aggregated
// discovery service made with go-control-plane, as Envoy Gateway's is, and the
// snapshots that Envoy Gateway and Envoy AI Gateway publish.
//
// It is not for production, and it is the only package that imports
// go-control-plane's server. The main type is [Server], safe for concurrent use.
// Errors end the test.
package xdstest
