//go:build unix

package table

import "golang.org/x/sys/unix"

// mapMemory returns size zeroed bytes outside Go's heap, page-aligned, and
// false if there are none to be had. Pages take memory once they are touched.
//
// Huge pages are not asked for: shards are far smaller than one until there
// are hundreds of millions of keys, and zeroing one takes a caller's time.
func mapMemory(size int) ([]byte, bool) {
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	return mem, err == nil
}

// dropMemory gives the pages of mem back; its contents are undefined from then
// on. That it may fail is no harm: unmapMemory follows.
func dropMemory(mem []byte) { _ = unix.Madvise(mem, unix.MADV_DONTNEED) }

// unmapMemory ends a mapping that mapMemory made.
func unmapMemory(mem []byte) { _ = unix.Munmap(mem) }
