// Package api is the edge that every door shares: the [Decider] that it needs,
// the [Gate] that takes a request from bytes-in-hand to decisions, and the one
// mapping from errors to statuses.
//
// It is not a server and speaks no protocol: api/rls, api/decision and the
// other doors do, on top of it. It never waits for a decision.
//
// See docs/adr/0001-non-blocking-decider.md.
package api
