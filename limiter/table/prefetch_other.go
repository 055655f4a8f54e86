//go:build !amd64 && !arm64

package table

// prefetch does nothing here.
func prefetch(_, _ uintptr) {}
