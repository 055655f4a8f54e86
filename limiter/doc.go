// Package limiter is the decision kernel: limits, keys, counters, the
// algorithms that charge them, and the [Call] that carries charges to whoever
// decides them.
//
// It is arithmetic only: (counter, limit, now, charge) → (counter, decision).
// It is not a store (see limiter/table), not a clock ([Instant] is always an
// argument), not a policy language (see policy), and it knows no wire format:
// no I/O, goroutine, lock, log, metric or protobuf belongs here.
//
// The main entry is [Limit.Apply]. A [Limit] is immutable once [NewLimit] has
// returned it and may be shared; a [Counter] and a [Call] have one owner at a
// time.
//
// Errors: [NewLimit] reports every problem of a definition at once; deciding
// itself never fails. A denial is a [Decision], never an error.
//
// See docs/adr/0002-counters-as-instants.md.
package limiter
