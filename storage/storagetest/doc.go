// Package storagetest is what every store must pass: a conformance test of the
// log and stable store of a group ([TestLogs]), and a crash kit for any store
// ([Crash]) that cuts the power at each point where a random history waits for
// the disk, opens what is left, and compares it with a model.
//
// It is not a mock: stores run on Pebble's file system in memory, which knows
// what was synced, and forgets the rest in a crash, all of it or a random part.
//
// What is promised, and checked at each crash: what was acknowledged as durable
// is there, and what is there is what some prefix of the history wrote. With
// faults, writes and syncs of files also return errors, and the same must hold.
//
// The kit is proven by stores that break the promise, in its own tests.
package storagetest
