// Package reservations sets units of several limits aside for one call whose cost is
// known later, and corrects what was charged when it is known.
//
// The main type is [Reservations]. [Reservations.Reserve] charges the estimate of every
// limit or of none; [Reservations.Settle] gives back what was too much and charges what
// was too little, once; [Reservations.Extend] has a reservation live longer. One that is
// not settled stays charged in full. So nothing here can let more pass than the limits
// do: charges go the way of every call, and a crash only forgets what could be given
// back.
//
// It decides nothing and keeps no counter: a [Decider] does. What is known of each
// reservation is in a book of limiter/hold. It is not on disk while the process runs: after a
// crash open reservations are charged in full. One that ends in order saves it
// ([Reservations.Save]), and the next one gives back for it ([Reservations.Restore]).
//
// Concurrency: safe for concurrent use. One lock guards the book, and is never held
// while something is decided. Reserve and Settle wait for the Decider, as long as their
// context lasts; no goroutine is started.
//
// Errors: a Config has them, and [Read] and [Reservations.Save]. Everything else is an outcome of limiter/hold, and a
// denial is a decision.
//
// See docs/adr/0021-reservations.md and docs/adr/0029-reservations-survive-a-stop.md.
package reservations
