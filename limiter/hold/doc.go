// Package hold keeps the books of reservations: units that were charged for calls
// whose cost is known later.
//
// The main type is [Book]: which reservations there are, what each has charged
// ([Leg]), until when it is open, and what was answered, so that a request that comes
// twice is done once. A reservation is open until it is ended or its deadline passes,
// and is remembered with its answers for [RememberFor] after that. How many there
// are is bounded. [Book.Save] yields them for the next process, and [DecodeSaved] and
// [Book.Restore] bring them back, each leg to the limit that counts for it then.
//
// It is arithmetic over its own memory: no clock, I/O, goroutine or lock. It charges
// nothing and gives nothing back (cluster/reservations does); it says how much of a
// leg may be given back without letting more pass than the limit says.
//
// A Book has one owner at a time.
//
// Errors: only DecodeSaved has them; an [Outcome] says why something was not done.
package hold
