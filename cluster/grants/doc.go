// Package grants brings the commands of quota holders to the ledger and its
// answers back: each to the group that has its counter, wherever that is led.
//
// The main type is [Driver]. [Driver.Submit] queues a command and returns; the
// commands that gather while an entry of their group is under way are the next
// entry, so that there is no timer and the more there is to do, the more one
// entry carries. What the leader's applied state answers already needs no entry.
// At another node the entry's commands go to the leader instead, with those of
// other groups that it leads, and it takes them in as [Driver.Serve] does.
//
// It is no ledger (what it is answered is what the state machine of the group
// returned), no holder (package limiter/quota has those, and knows which command
// to submit), and no transport: [Remote] and [Driver.Handle] are what nodes tell
// each other, and consensus.Node brings it there.
//
// A Driver is safe for concurrent use. A [Done] is called on the goroutine of its
// group, once for each command that was accepted, and must return at once.
//
// Errors: a refused Submit ([ErrOverloaded], [ErrStopped]) did nothing. An error
// that Done is told means that no answer will come; the command may be applied or
// not, or be applied later. That is what quota.Holding.Lost is for.
//
// See docs/adr/0017-one-entry-in-flight.md, docs/adr/0023-commands-are-sent-again.md
// and docs/adr/0031-messages-and-rounds-between-nodes.md.
package grants
