// Package policy is a fixture.
package policy

func five(a, b, c int, d string, e bool) {}

func six(a, b, c int, d string, e, f bool) {} // want parameters "6 parameters"

type visitor func(a, b, c, d, e, f int) // want parameters "6 parameters"
