// Package storage opens the one database of a node, a Pebble, and says how keys
// are laid out in it. Every replicated group of the node has its log, its votes
// and its state there, so that they share one write-ahead log: writers of all
// groups that wait for the disk at the same time wait for one fsync, and what is
// lost in a crash is always the end of what was written, never a hole.
//
// It is not a store of anything by itself: package raftlog keeps logs in it and
// package ledger keeps quotas. It knows no Raft and no quota, has no settings
// file, writes no log and runs no timer: it tells [Events] what the disk does.
//
// The main type is [DB]; its methods are safe for concurrent use, but Close,
// which its owner calls when everybody else has stopped.
//
// Errors. A directory that a newer version wrote, that belongs to another node,
// or that is damaged is refused by [Open] with an error that says what to do:
// [ErrNewerFormat], [ErrOtherNode], [DamagedError]. A disk that has no room makes
// writes fail with [ErrFull] until [DB.Recheck] finds room. An error of the disk
// on a write that was promised to last makes every later operation fail with
// [ErrFailed]: nobody can say what such a disk holds, so nothing more is
// acknowledged until another process has opened the directory and read it.
//
// Damage is found where it is read: every table and list has checksums. Where a
// write-ahead log ends can't be told from where it is damaged: of a store that was closed
// in order, a file has the checksums of its logs; after a crash, damage within the last
// 32 KiB that were written is taken for the end.
//
// See docs/adr/0013-one-database-for-all-groups.md.
package storage
