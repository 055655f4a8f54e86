// Package raftlog keeps what one group's consensus has to remember across a
// crash, its log and its votes, in the node's database: hashicorp/raft's
// LogStore and StableStore.
//
// It is not a cache: package raft's LogCache goes above it. It knows nothing of
// what entries mean.
//
// The main type is [Log]; its methods are safe for concurrent use as raft
// uses it: one goroutine appends and cuts off the end, another may cut off the
// beginning.
//
// What raft relies on, and holds here: StoreLogs, Set and SetUint64 return when
// the disk has what was given to them. An entry that is missing is exactly
// raft.ErrLogNotFound, since raft compares. The indexes of a Log have no gap, and
// it says so (IsMonotonic), so raft empties it when a snapshot was installed.
// It then keeps what a follower needs that would otherwise be sent that snapshot for
// ever (hashicorp/raft#697).
//
// Errors are those of package storage. After an error of a write nobody knows
// whether it was written, unless it is storage.ErrFull: then the whole store has
// failed, and nothing is written or read any more.
//
// See docs/adr/0013-one-database-for-all-groups.md.
package raftlog
