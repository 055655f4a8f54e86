//go:build !unix

package table

// mapMemory returns size zeroed bytes of Go's heap: systems without anonymous
// mappings pay the collector's headroom.
func mapMemory(size int) ([]byte, bool) { return make([]byte, size), true }

func unmapMemory([]byte) {}
