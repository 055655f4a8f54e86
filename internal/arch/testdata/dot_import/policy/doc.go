// Package policy is a fixture.
package policy

import . "time" // want imports "no dot imports"

func bad() { _ = Now() }
