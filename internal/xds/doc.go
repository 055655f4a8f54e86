// Package xds asks a control plane for rate-limit configuration: a client of
// envoy.service.discovery.v3.AggregatedDiscoveryService, state of the world, for
// the resources ratelimit.config.ratelimit.v3.RateLimitConfig that Envoy Gateway
// and Envoy AI Gateway publish.
//
// It is not a policy: what arrives is handed to [Config.Apply], which says
// whether it is in force, and that is what the control plane is told. It keeps
// nothing: the last good configuration is kept by whoever applied it. It is no
// general xDS client either: one resource type, no delta protocol.
//
// The main type is [Client]; [Client.Run] connects, and connects again with
// growing, jittered pauses for as long as it is not told to end. A Client is for
// one Run, and its Config's functions are called from that goroutine, one at a
// time. [Decode] is the wire format of one resource.
//
// Errors: a response that can't be decoded or applied is rejected (NACK) with
// the reason and changes nothing; a lost connection is an event, not an error.
//
// See docs/adr/0011-drop-in.md and docs/guides/envoy-gateway.md.
package xds
