//go:build amd64 || arm64

package table

// prefetch asks the processor to fetch the cache line at header, the one at
// path and the one after that. It never faults, whatever they are.
//
//go:noescape
func prefetch(header, path uintptr)
