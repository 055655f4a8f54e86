// Package ledger is the replicated state of a group of quotas, on the node's
// database: hashicorp/raft's FSM. It applies the batches of package quota that the
// group's log commits, and keeps one [quota.Pool] for each counter and window, one
// [quota.Request] for each remembered request of exact mode, and the group's
// [quota.Group].
//
// It is not the rules (package quota decides), not a log (package raftlog is), and
// proposes nothing. It has no clock: the time is that of the entries.
//
// The main type is [Ledger]. Apply, ApplyBatch, Snapshot and Restore are raft's to
// call; every other method is safe to call at any time, from any goroutine.
//
// What is written is not synced: the log is, it comes earlier in the same
// write-ahead log, and the index that was applied is written together with what
// the entry did. So a crash leaves the state of some earlier index, from where raft
// applies the log again; what was applied is skipped.
//
// Requests that are new are recorded together, in blocks: see block.go.
//
// Pools that were asked for lately are kept in memory, and so is which requests of exact
// mode have a record: a counter in use and a request that is new are not looked up in the
// database. Of pools, filters of the windows in use have those that have a record, so that
// few that are new are looked up. All of these follow from what is written, and are made
// anew when a ledger is opened or restored.
//
// Pools that nobody asks for any more are deleted when the group's time has passed
// that moment by at most an hour, and requests of exact mode soon after they are
// forgotten; the database reclaims the room in the background.
//
// Errors. What a command may not do is a quota.Code. An entry that can't be read is
// answered with an error, and changes nothing, on every node alike. If an entry is
// of a newer version than this one knows, or the database fails, the ledger stops:
// it answers everything with that error, tells Config.Stopped, and is as it was when
// the node starts again.
//
// See docs/adr/0015-ledger-on-pebble.md, docs/adr/0025-exact-decisions-without-reads.md and
// docs/adr/0030-spends-recorded-together.md.
package ledger
