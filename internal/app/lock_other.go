//go:build !unix

package app

import "os"

// tryLock does nothing: where there is no flock, two processes on one data
// directory are not noticed.
func tryLock(*os.File) error { return nil }
