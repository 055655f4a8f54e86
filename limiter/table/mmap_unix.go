//go:build unix

package table

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapMemory returns size zeroed bytes outside Go's heap, page-aligned, and
// false if there are none to be had. Pages take memory once they are touched.
//
// Huge pages are not asked for: shards are far smaller than one until there
// are hundreds of millions of keys, and zeroing one takes a caller's time.
func mapMemory(size int) ([]byte, bool) {
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, false
	}
	return unsafe.Slice((*byte)(p), size), true //nolint:gosec // the mapping has size bytes
}

// unmapMemory gives back a part of a mapping that mapMemory made: whole pages.
func unmapMemory(mem []byte) {
	if len(mem) > 0 {
		_ = unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(mem)), uintptr(len(mem))) //nolint:gosec // a part of what mapMemory made
	}
}
