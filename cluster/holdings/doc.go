// Package holdings decides the charges of durable quotas from units that this
// node holds in memory, and has more of them granted before they run out.
//
// The main type is [Holdings]. [Holdings.Decide] spends what is here and returns
// at once; a charge that needs units which are not here parks its call until the
// ledger has answered. All that is admitted was granted before, in a committed
// command, so nothing here can admit too much: a crash loses units, it never makes
// any. A give-back is credited if the units were charged here, in the same window;
// what an earlier process has charged goes back to the pool by [Holdings.Credit].
//
// Of quotas in exact mode nothing is held: each charge is a command, and the ledger's
// answer decides it.
//
// It is no ledger and no network: [Config.Submit] brings commands to whoever has
// the pools, and answers back (package cluster/grants). The algorithm of one
// counter is limiter/quota's, its windows are limiter/quota/calendar's. Limits of
// other kinds are decided by [Config.Rest].
//
// Concurrency: safe for concurrent use. A counter belongs to its shard, whose lock
// is never held while a command is submitted, [Config.Rest] decides or a call is
// finished. No call is finished by a goroutine that is in [Holdings.Decide].
//
// Errors: only a Config has them. A charge that can't be decided in time is denied
// and says so by limiter.Degraded.
//
// See docs/adr/0016-quotas-in-memory.md, docs/adr/0020-exact-quotas.md,
// docs/adr/0022-grants-ahead-of-need.md, docs/adr/0027-units-that-become-free.md and
// docs/adr/0028-several-limits-under-one-id.md.
package holdings
