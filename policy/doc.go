// Package policy is the declarative side of Headgate: it parses and validates
// policy documents, compiles them to an immutable [Snapshot], and matches a
// [Request] to the charges it owes.
//
// It is not a store of counters and decides nothing: deciding is limiter's and
// limiter/table's. It does not watch files (internal/app does) and knows no
// wire format (api/rls and api/decision fill a Request).
//
// It also reads test files of policies, which internal/policytest runs, and makes
// the JSON Schemas of what it reads.
//
// The main type is [Snapshot]. A Snapshot is immutable and safe for concurrent
// use; matching allocates nothing. Parse and compile problems are reported all
// at once as [Problems], each with file, line, column, path, value and bound.
//
// See docs/adr/0004-one-matcher.md, 0018-foreseen-matches.md, and docs/adr/0005-importing-envoy.md for
// [ImportEnvoy].
package policy
