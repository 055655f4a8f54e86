// Command stock serves Envoy's rate limit service on grpc-go's own server: the
// decision path of a node (decoder, matcher, counters, metrics) without the front of
// api/h2 before it. `make bench-rls` measures it beside bench/hello, so that what
// deciding adds to a grpc-go call is known apart from what the front saves.
//
// It is not a node: it reads one policy file once, saves nothing, and its bounds
// are the defaults. It never logs a request. Errors end it with exit code 1.
package main
