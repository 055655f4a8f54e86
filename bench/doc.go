// Package bench is the load generator behind `headgate bench`: it asks a server
// for decisions as fast as it can (closed loop) or at a set rate (open loop)
// and reports throughput, latency, verdicts, errors and CPU per decision.
//
// It is not a client library and not a benchmark of this repository's packages:
// it drives any server that speaks Envoy's rate limit service v3 or headgate.v1
// over HTTP/2, or POST /v1/check over HTTP/1.1, in cleartext or over TLS. It has its
// own small clients, so that the generator is not what is measured: that of HTTP/2
// follows GOAWAY, SETTINGS, flow control, PING and RST_STREAM, and makes unary gRPC
// calls and one kind of stream; that of HTTP/1.1 keeps connections, and reads
// statuses.
//
// The entries are [Run], which measures one target, and [Compare], which
// alternates between two. Both take a [Config]; they may run concurrently, but
// then they disturb each other's figures.
//
// Errors: a bad Config is reported with all its problems at once; a target that
// can't be reached at the start is ErrConnect. Whatever goes wrong later is
// counted in the [Report]: a run that has begun ends with figures, not with an
// error. Every wait has a bound: a server that stops answering can't hang a run.
//
// A lane is one of Config.Connections streams of requests: its state has one
// mutex, its current connection one goroutine that reads, and one goroutine
// sends what is due. A connection that was told to go away keeps its reader
// until its last answer.
//
// See docs/adr/0007-load-generator.md and docs/reference/bench.md.
package bench
