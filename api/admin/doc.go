// Package admin is the operator's door: read-only JSON about a node, and
// profiles of it.
//
// It changes nothing, has no access control, and is therefore served on a
// loopback address only; it answers only requests whose Host is a loopback name,
// so that a web page can't reach it by rebinding its own name. It knows no
// component: whoever serves it says where the answers come from.
//
// The main type is [Sources]; [Handler] serves it. It is safe for concurrent
// use if the sources are.
//
// Errors are a 4xx status with a line of text.
//
// See docs/adr/0008-life-cycle.md.
package admin
