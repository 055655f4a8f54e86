// Package dropin translates the environment variables of envoyproxy/ratelimit,
// at the revision of 2026-07-05, to settings of this server, so that the binary
// can stand in for it under the name ratelimit.
//
// It runs nothing and reads no environment of its own: [Translate] is a function
// of the variables that it is given. Its main type is [Result].
//
// Errors: a value that the service would refuse, or that asks for protection
// which would be missing here, is a problem that names variable, value and bound;
// all are reported at once.
//
// See docs/adr/0011-drop-in.md and docs/reference/dropin.md.
package dropin
