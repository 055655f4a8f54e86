// Package cluster brings each charge of a call to where its counter is.
//
// The main type is [Router], the node's decider: quotas are charged to what the
// node holds of them (cluster/holdings), every other kind to its table
// (limiter/table). It owns no counter, knows no algorithm, and sends nothing to
// another node: all counters are this node's.
//
// A Router is safe for concurrent use and has no errors.
package cluster
