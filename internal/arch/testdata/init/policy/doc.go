// Package policy is a fixture.
package policy

func init() {} // want init "no init functions"

type t struct{}

func (t) init() {}
