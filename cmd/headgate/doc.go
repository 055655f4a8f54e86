// Headgate is a distributed rate-limit and quota service that API gateways ask
// over gRPC whether a call may pass. This is its one binary.
//
// The package parses flags and arguments, calls internal/app, policy, bench or
// the gRPC API, and prints. It decides nothing itself. Standard output is for
// answers, standard error for everything else; exit codes are those of
// [exitCode].
//
// docs/reference/cli.md is generated from the commands: go test ./cmd/headgate -update.
package main
