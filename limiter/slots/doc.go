// Package slots keeps the slots of concurrency limits: who holds how many units
// of a key, and until when.
//
// It is arithmetic over its own memory: no clock, I/O, goroutine or lock, and no
// limit either. It does not decide (limiter/table does) and does not find a slot
// by its key alone: who asks knows when the slot expires.
//
// The main type is [Set]. A Set has one owner at a time: a shard of the table.
//
// How it is built: for each key a group of two treaps, the slots that have a
// holder and those that are anonymous, ordered by expiry and with the units below
// each node. So what is held, when enough of it expires, and what a give-back
// undoes each take O(log n) of the key's slots, whatever expires at once: what is
// cut off is freed later, a bounded number of records at a time. Records are
// pointer-free, in chunks that the owner allocates.
//
// Errors: none. [Set.Room] says whether a chunk is needed first.
//
// See docs/reference/algorithms.md.
package slots
