// Package rest answers decisions over HTTP: JSON for applications
// (POST /v1/check, /v1/batch), forward-auth for gateways that ask by a sub-request
// (/v1/forward-auth), and what Envoy's reference service has on its HTTP port
// (POST /json, GET /healthcheck). openapi.json describes all of it and is served.
//
// It is not the way for many decisions a second: that is gRPC (api/h2). It knows
// nothing of probes, metrics or the admin API. It serves on net/http; a request is
// decided at a desk, with the bounds and the meaning of the native API.
//
// The main type is [Handler]. It is safe for concurrent use; its only state is a count of panics.
// Errors are application/problem+json (RFC 9457) and name field, value and bound.
package rest
