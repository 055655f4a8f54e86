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

// dropMemory gives the pages of mem back; its contents are undefined from then
// on. That it may fail is no harm: unmapMemory follows.
func dropMemory(mem []byte) { _ = unix.Madvise(mem, unix.MADV_DONTNEED) }

// unmapMemory ends a mapping that mapMemory made.
func unmapMemory(mem []byte) {
	_ = unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(mem)), uintptr(len(mem))) //nolint:gosec // as mapMemory made it
}
