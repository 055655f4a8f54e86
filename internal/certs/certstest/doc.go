// Package certstest makes certificates for tests, so that none is committed.
//
// It is not for production: keys are made in the process and lie in memory.
// The main type is [Authority]. An Authority may be used by several goroutines.
// Errors end the test.
package certstest
