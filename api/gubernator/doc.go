// Package gubernator speaks the API of Gubernator, pb.gubernator.V1, whose clients
// send the whole limit with each request: it reads the items of a GetRateLimitsReq
// from their wire bytes into policy.Requests and writes RateLimitResps, as
// batch.Service wants them ([Service.Batches]). It walks the wire format itself: no
// message objects, no strings, no allocation for an item that is decided.
//
// It is not a server (api/rpc is) and decides nothing (the api.Gate does). Which
// limits are taken from requests is the policies' to say: see policy.Gubernator.
//
// The main type is [Service]. All of it is safe for concurrent use.
//
// Errors are *api.Fault. One that is about an item is its answer's error field, as in
// Gubernator; one that is about the whole request has nothing decided.
//
// What is answered differently is in docs/guides/from-gubernator.md.
package gubernator
