// Package authz speaks Envoy's external authorization service v3, ext_authz over
// gRPC: it reads a CheckRequest from its wire bytes into a policy.Request
// ([Service.Decode]) and writes a CheckResponse into the caller's buffer
// ([Service.Append], [Service.AppendFault]). Both walk the wire format themselves:
// no message objects, no strings, no allocation.
//
// It is not a server (api/rpc is), decides nothing (the api.Gate does) and knows no
// users: who calls is what Envoy says. What Envoy tells and nobody limits by is
// skipped, not checked.
//
// The main type is [Service]. All of it is safe for concurrent use.
//
// Errors are *api.Fault, for requests that are malformed or beyond a bound. They are
// answered with a status of HTTP and not of gRPC, as denials are: Envoy lets a call
// pass that it got a gRPC error for, if it fails open.
package authz
