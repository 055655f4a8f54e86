// Package rpc is the ordinary grpc-go stack: codec, bounds, health, reflection,
// drain. It serves Envoy's rate-limit service (api/rls), headgate.v1
// (api/decision), Gubernator's API (api/gubernator), grpc.health.v1 and grpc.reflection.v1 on one port.
//
// It decides nothing, listens nowhere by itself and has no access control. The
// bytes of a RateLimitRequest go from grpc-go to api/rls as they are, so no
// message object is ever built for one.
//
// The main type is [Server]: New, Serve on a listener, then Drain or Close. It
// is safe for concurrent use.
//
// Errors that a client sees are statuses by api.Code; a panic while serving is
// recovered, reported and answered INTERNAL.
//
// See docs/adr/0001-non-blocking-decider.md.
package rpc
