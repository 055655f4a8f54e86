package policy

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugeFrom is how many bytes huge pages are asked for from.
const hugeFrom = 4 << 20

// askForHugePages has the system keep places, which nobody has touched yet, in
// huge pages if it can: with pages of 4 KiB, each place that is fetched takes a
// walk through the page tables first.
func askForHugePages[T textRecord | textSlot](places []T) {
	bytes := uintptr(len(places)) * unsafe.Sizeof(places[0])
	if bytes < hugeFrom {
		return
	}
	first := unsafe.Pointer(&places[0]) //nolint:gosec // as below
	page := uintptr(unix.Getpagesize())
	skip := -uintptr(first) & (page - 1)
	size := (bytes - skip) &^ (page - 1)
	_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(first, skip)), size), unix.MADV_HUGEPAGE) //nolint:gosec // whole pages within places
}
