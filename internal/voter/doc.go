// Command voter is one of several nodes that share durable quotas, behind the gRPC
// front of a node: `make bench-etcd-three` measures three of them, each a process with a
// disk of its own, beside three members of etcd.
//
// It is not a node: `headgate serve` knows no others yet. It reads one policy file once,
// its members are given and never change, it takes no tenure from the one before it, so
// its directory must be new, and it gives nothing back when it stops. It never logs a
// request. Errors end it with exit code 1.
package main
