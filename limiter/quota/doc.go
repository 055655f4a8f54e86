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
// Who applies a group's log does this for each entry: [DecodeBatch], [Group.Begin],
// and for each command [Group.Receive]; if that is OK and the command has a pool, it
// reads the pool's record, sets Beside for one that rolls, and calls [Pool.Apply], or
// sets Behind and calls [Pool.Decide] for exact mode. Before it proposes, a leader asks [Group.Refuses],
// [Pool.Answer] and [Pool.Foresee]: what would change nothing needs no entry.
//
// Who keeps holdings calls [Holding.Spend] and then [Holding.Need]; after a give-back
// or an ended hold [Holding.Surplus], and [Holding.Owed] where units are owed. It
// completes the command (Key, Window, Partition, Tenure), proposes it, and calls
// [Holding.Learn] or [Holding.Lost], once.
//
// Concurrency: every value has one owner at a time.
//
// Errors: only decoding has them; they wrap [ErrVersion] or [ErrMalformed]. What
// a pool refuses is a [Code] in a [Result].
//
// See docs/adr/0012-durable-quota.md for the safety argument.
package quota
