// Package rls speaks Envoy's rate-limit service v3: it reads a RateLimitRequest
// from its wire bytes into a policy.Request ([Decode]) and writes a
// RateLimitResponse into the caller's buffer ([Headers.Append]). Both walk the
// wire format themselves: no message objects, no strings, no allocation.
//
// It is not a server (api/rpc is) and decides nothing (the api.Gate does). It
// does not set the headers that Envoy makes itself of an answer (x-ratelimit-*).
//
// The main type is [Service], which takes one request from bytes to bytes. All
// of it is safe for concurrent use.
//
// Errors are *api.Fault, for requests that are malformed or beyond a bound. Every
// denial, also one for unavailability, is an answer: OVER_LIMIT.
//
// See docs/adr/0006-rls-from-the-wire.md.
package rls
