// Package consensus runs the Raft groups of one node, all of them over one port:
// hashicorp/raft with a transport that says to which group a connection belongs.
// It orders bytes and hands them to a state machine on every voter; what they
// mean, where they are stored and who should vote is its user's business. It is
// no log store and no placement, and it sends no proposal on: one is accepted where
// the group is led, and refused elsewhere with the leader's name. [Node.Call] brings
// a request there, over the same port.
//
// The main type is [Node]: [Start] opens every group, [Node.Propose] has an entry
// committed and applied, [Node.Verify] and [Node.Barrier] make reads exact, and
// [Node.Stop] hands leadership over before it stops. While it runs, leadership is
// spread: nodes that lead more groups than others give some away.
//
// All methods are safe for concurrent use. Events are called from raft's own
// goroutines: they must return at once, and must not call the Node.
//
// Errors: [ErrNotLeader] (a [NotLeaderError] with the leader), [ErrOverloaded],
// [ErrStopped], [ErrTooLarge] and a plain [ErrDeadline] say that nothing was
// proposed. [ErrUnknown] says that the entry may be applied now, later or never:
// only an entry that may be applied twice can be proposed again. A store that
// fails stops the process, by raft's own design: it panics where it can't go on.
//
// See docs/adr/0014-raft-groups-on-one-port.md.
package consensus
