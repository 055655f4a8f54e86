// Package api is the edge that every door shares: the [Decider] that it needs,
// the [Gate] that takes a request from bytes-in-hand to decisions, the [Desk]
// that lends exchanges and waits for decisions that take time, the [Bounds] on
// what a request may hold, and the one mapping from errors to statuses.
//
// It is not a server and speaks no protocol: api/rls, api/decision and the
// other doors do, on top of it.
//
// A Gate and a Desk are safe for concurrent use; an [Exchange] has one owner at
// a time.
//
// Errors: a request that can't be decided is a [*Fault], which names field,
// value and bound; [Code] says which status it is. A denial is never one.
//
// See docs/adr/0001-non-blocking-decider.md.
package api
