// Package decision is Headgate's own gRPC service, headgate.v1.DecisionService:
// Check and CheckBatch.
//
// It is not a server (api/rpc is) and decides nothing (the api.Gate does): it
// turns messages into requests and decisions into messages.
//
// The main type is [Service]. It is safe for concurrent use.
//
// Errors are statuses by api.Status, for requests that are malformed or beyond a
// bound. Every denial, also one for unavailability, is an answer.
//
// See docs/adr/0001-non-blocking-decider.md.
package decision
