// Package app is a fixture: not even the shell has init functions.
package app

func init() {} // want init "no init functions"
