// Package h2 serves HTTP/2 for gRPC: unary methods that are registered as fast
// are answered on the connection's read loop, without a goroutine, a copy or an
// allocation, and all answers that are ready leave in one write. All other
// methods of the same port go to an http.Handler, such as a grpc.Server.
//
// It knows frames and gRPC's framing. It knows no limits, no messages and no
// statuses but its own, and is no HTTP server for browsers: what is no gRPC
// request is refused.
//
// The main type is [Server]; a fast method is a [Unary]. A connection is one
// goroutine that reads, handles all frames that are there, and writes. Whoever
// else has something to send (a handler, a call that finishes late) adds it to
// the connection's output and writes it himself, unless somebody is writing.
//
// What a peer may cost is bounded: see [Config] and [Abuse]. What one connection
// may hold is [Config.ConnectionBytes]: input, output, bodies and answers
// ([Config.BufferBytes], the most of it), the header decoder, and its streams. A
// connection that is idle holds less than 20 KiB.
//
// Errors: what breaks HTTP/2 ends the stream or the connection as RFC 9113 says;
// what breaks gRPC is answered by a status. New reports all settings that are
// out of bounds.
//
// See docs/adr/0010-fast-front.md.
package h2
