// Package headers spells the response headers of a decision, for every door:
// RateLimit and RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-10,
// the older X-RateLimit-* and RateLimit-*, Retry-After, and the problem types of
// the draft. Which of them an answer carries is the policy's choice
// ([policy.HeaderSet]) or the door's default.
//
// It is not an HTTP server: doors put the fields where their protocol wants them.
// The main type is [List]. Nothing here allocates, fails or keeps state; a List
// has one owner. Only what is enforced is told: a shadow limit has no headers.
package headers
