// Package policytest runs the test files of policies: each request goes through
// the gate, the matcher and the counter table of a node, at the simulated instant
// that the test says.
//
// It is not a model of them: it has no arithmetic of its own. It reads no files.
//
// The main function is [Run]. It starts no goroutine.
//
// What is not as expected is a [Failure], not an error. An error says why nothing
// could be run.
package policytest
