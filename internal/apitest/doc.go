// Package apitest makes what tests of doors need: a gate over a real policy and a
// real table, and the requests that a real gateway was recorded to send.
//
// It is not for production, and knows no door. Its main function is [Gate]. It keeps
// no state.
//
// Errors end the test.
package apitest
