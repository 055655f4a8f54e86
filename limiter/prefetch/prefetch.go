//go:build amd64 || arm64

package prefetch

// Line asks for the cache line at address.
//
//go:noescape
func Line(address uintptr)

// LineAndPair asks for the cache line at line, the one at pair and the one after
// that.
//
//go:noescape
func LineAndPair(line, pair uintptr)
