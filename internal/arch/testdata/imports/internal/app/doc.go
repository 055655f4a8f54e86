// Package app is a fixture: it may import everything.
package app

import (
	_ "os"

	_ "github.com/headgate/headgate/limiter/table"
)
