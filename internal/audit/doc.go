// Package audit keeps the record of what operators changed on a running node: a
// bounded file of JSON lines that is only appended to.
//
// It is not the log, which says the same in its own words and may go anywhere,
// and it proves nothing about who somebody is: a Record says what the caller said.
//
// The main type is [Log]. It is safe for concurrent use; one process at a time may
// have a file open, which the lock of the data directory sees to.
//
// Errors say what could not be written or read, with the file.
package audit
