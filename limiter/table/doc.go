// Package table is the in-memory counter table: it keeps one [limiter.Counter]
// for each [limiter.Key] and decides calls with them, under its own locks and
// within stated bounds of entries and bytes.
//
// It is not an algorithm (limiter is), not a clock (every moment is an
// argument), not durable (Save and Load are for a planned restart; a crash
// loses the table), and not a cache: a counter that is in use is never
// evicted. When there is no room for a new one, on_full decides instead and
// the decision says so.
//
// The main type is [Table]. All its methods are safe for concurrent use. It
// starts no goroutine: whoever owns a Table calls [Table.Sweep] in the
// background, and after an [Table.Install] that replaced definitions
// [Table.ConvertStep].
//
// How it is built: limiter.PartitionCount shards, one per partition, each a
// mutex and an open-addressing array of 32-byte slots without pointers. Arrays
// of 2 KiB and more (of half a page, where that is more) live outside Go's
// heap. A shard grows by moving a bounded number of slots with each insert; an
// entry whose counter is due equals a fresh one and is forgotten in passing.
//
// Errors: deciding never fails. [New] reports every setting that is out of
// bounds; [Table.Load] refuses a damaged file or one of another version with an
// error that says so, and leaves the table as it was.
//
// See docs/adr/0003-counter-table.md.
package table
