// Package app is a fixture: the shell may not either.
package app

import . "os" // want imports "no dot imports"

func bad() { Exit(1) }
