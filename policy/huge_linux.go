package policy

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugeFrom is how many records huge pages are asked for from: 4 MiB of them.
const hugeFrom = 1 << 16

// askForHugePages has the system keep records, which nobody has touched yet, in
// huge pages if it can: with pages of 4 KiB, each record that is fetched takes a
// walk through the page tables first.
func askForHugePages(records []textRecord) {
	if len(records) < hugeFrom {
		return
	}
	first := unsafe.Pointer(&records[0]) //nolint:gosec // as below
	page := uintptr(unix.Getpagesize())
	skip := -uintptr(first) & (page - 1)
	size := (uintptr(len(records))*unsafe.Sizeof(records[0]) - skip) &^ (page - 1)
	_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(first, skip)), size), unix.MADV_HUGEPAGE) //nolint:gosec // whole pages within records
}
