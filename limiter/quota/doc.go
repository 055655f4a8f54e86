// Package quota is the durable quota as pure state machines: what the ledger
// records of a counter ([Pool], and [Group] beside many pools), what a holder
// remembers of it ([Holding]), and the commands that pass between them ([Command],
// [Batch]), with the encoding of each.
//
// The rule that everything rests on: a unit is subtracted from the pool, in a
// committed command, before anybody may spend it. Every amount in a command is
// cumulative and only grows, so commands may be lost, repeated, late and in any
// order. What a lost holder may have spent counts as spent.
//
// It is not a store (a [Pool] and a [Group] are the values that a ledger keeps
// under a key), not consensus, not a calendar (a [Window] comes from whoever
// knows the limit's), and not a driver: it has no clock, I/O, goroutine, lock or
// log. Who drives it says what time it is, proposes the commands that it asks for,
// and tells it what became of them.
//
// Concurrency: every value has one owner at a time.
//
// Errors: only decoding has them; they wrap [ErrVersion] or [ErrMalformed]. What
// a pool refuses is a [Code] in a [Result].
//
// See docs/adr/0012-durable-quota.md for the safety argument.
package quota
