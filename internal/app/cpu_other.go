//go:build !unix

package app

// processCPU returns nil: this system does not tell.
func processCPU() func() int64 { return nil }
