// Package app is a node's life: it builds the components from their settings,
// starts them in order, reloads policies and certificates, and stops everything in
// reverse.
//
// It is not a component itself: it decides nothing, speaks no protocol and
// parses no flag (cmd/headgate does). It is the only package that knows all
// others.
//
// The main function is [Run]:
//
//	data directory → certificates → counters → policies → listeners → doors → ready
//	   … serving; policy and certificate files are watched …
//	not ready → drain delay → GOAWAY → doors closed → counters saved → unlocked
//
// Everything that Run starts has ended when it returns. Several nodes can run
// in one process, each with its own data directory.
//
// Errors: whatever keeps the node from starting or made it stop; [policy.Problems]
// in the chain if the policies are wrong, [ErrCertificates] if certificates are.
// What becomes wrong later is not an error: the previous one stays in force.
//
// See docs/adr/0008-life-cycle.md.
package app
