//go:build amd64 || arm64

package table

// prefetch asks the processor to fetch the cache line at addr. It never
// faults, whatever addr is.
//
//go:noescape
func prefetch(addr uintptr)
