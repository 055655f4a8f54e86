// Package obs is what a node tells its operator: logs, Prometheus metrics, and
// the keys that are hit and denied most.
//
// It is not on the decision path except for [Decisions.Observe], which counts
// into memory made beforehand: no lock is waited for, nothing is allocated.
// Everything else happens when somebody asks. It owns no timer and no
// goroutine: internal/app calls [Top.Drain] and [Top.Decay].
//
// The main type is [Metrics], where every metric of the process is registered;
// docs/reference/metrics.md lists them. Everything is bounded: series by
// [Config].LimitsMax, keys by [Config].TopKeys. Label values come from policies
// and from this code, never from requests.
//
// All types are safe for concurrent use. Nothing here fails.
//
// See docs/adr/0008-life-cycle.md.
package obs
