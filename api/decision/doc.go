// Package decision is Headgate's own gRPC service, headgate.v1.DecisionService,
// between the wire and the desk: [Decode] and [Append] for one check, [Batch] for
// CheckBatch, [Stream] for CheckStream. Requests are read in place and answers
// appended; from bytes to answer nothing is allocated.
//
// It is not a server (api/rpc is) and decides nothing (the api.Gate does).
//
// The main type is [Service]. It is safe for concurrent use; a Batch has one owner
// at a time, a Stream two goroutines.
//
// Errors are *api.Fault, for requests that are malformed or beyond a bound. Every
// denial, also one for unavailability, is an answer.
//
// See docs/adr/0001-non-blocking-decider.md.
package decision
