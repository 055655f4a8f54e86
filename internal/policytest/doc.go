// Package policytest runs the test files of policies: each request goes through
// the gate, the matcher, the counter table and the quota holdings of a node, at the
// simulated instant that the test says. What the quotas' ledger records is in memory,
// by the machines of limiter/quota.
//
// It is not a model of them: it has no arithmetic of its own. It reads no files but
// those of time zones.
//
// The main function is [Run]. It starts no goroutine.
//
// What is not as expected is a [Failure], not an error. An error says why nothing
// could be run.
package policytest
