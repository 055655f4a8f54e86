// Package admin is the operator's door: JSON about a node, profiles of it, and
// the switches that an operator turns while it runs.
//
// It has no access control, and is therefore served on a loopback address only;
// it answers only requests whose Host is a loopback name, so that a web page can't
// reach it by rebinding its own name, and takes changes only as no page of another
// origin can send them. It knows no component: whoever serves it says where the
// answers come from and who makes the changes.
//
// The main type is [Sources]; [Handler] serves it. It is safe for concurrent
// use if the sources are.
//
// Errors are a 4xx status with a line of text.
//
// See docs/adr/0008-life-cycle.md.
package admin
