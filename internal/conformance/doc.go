// Package conformance compares Headgate's gRPC port with grpc-go's own server:
// sequences of odd requests, frame by frame, go to both, and both must answer
// alike.
//
// It is not part of the product and exports nothing; everything is in its
// tests. A script (script_test.go) is a few requests as choices from tables of
// good and bad headers, bodies and framings, so that a fuzzer's bytes are always
// a script. A player (player_test.go) sends it with a bare framer, which lets
// anything pass, and collects what came back. The reference is a grpc.Server
// whose methods ask the product over an ordinary client (servers_test.go): so
// the messages are the product's own, and what differs is the transport.
//
// What may differ is listed in testdata/differences.txt, each with a reason; an
// entry that nothing needs any more fails a test. The sub-directory suites is a
// module of its own with the suites that others wrote.
//
// See docs/reference/conformance.md.
package conformance
