//go:build !amd64 && !arm64

package prefetch

// Line does nothing here.
func Line(uintptr) {}

// LineAndPair does nothing here.
func LineAndPair(_, _ uintptr) {}
