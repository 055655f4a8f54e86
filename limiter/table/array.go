package table

import (
	"math/bits"
	"os"
	"unsafe"

	"github.com/headgate/headgate/limiter"
)

// A slot is one place of an array. It is empty if Lo is 0, which no Key has.
type slot struct {
	lo, hi uint64
	c      limiter.Counter
}

const (
	slotBytes = int(unsafe.Sizeof(slot{})) // 32: two to a cache line, never across one
	tagBytes  = 4

	// mapBytes is the least size from which an array lives outside Go's heap;
	// see mappedFrom.
	mapBytes = 2 << 10

	// chunkSlots is how many slots that were moved out of a large array go
	// back to the system at once: 256 KiB and 32 KiB of tags, about 10 µs.
	chunkSlots = 8192
)

// An array is the storage of a shard: slots, and for each the tag of the
// definition that it was last charged under. Tags are kept apart because a
// decision that finds its counter doesn't need them.
type array struct {
	slots []slot
	tags  []uint32 // in one mapping, behind the slots, or both on Go's heap
	gone  int      // how many slots, from the first, were given back already
}

// memory returns the mapping that a lives in, what was given back included;
// nil if a is empty or on Go's heap.
func (a *array) memory() []byte {
	n := len(a.slots)
	if !mapped(n * (slotBytes + tagBytes)) {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&a.slots[0])), arrayBytes(n))
}

// home returns where the search for a key starts in an array of n slots. It is
// monotone in lo, so moving an array in order fills the next one in order.
func home(lo uint64, n int) int {
	h, _ := bits.Mul64(lo, uint64(n))
	return int(h)
}

// mappedFrom returns the size from which an array lives outside Go's heap, where
// neither the collector's pace nor its headroom (GOGC) doubles it. It is small
// because what a shard leaves behind on the heap as it grows stays resident
// until the next collection, which a growing table doesn't cause; and it is no
// less than half a page, since a mapping takes whole ones.
func mappedFrom(page int) int { return max(mapBytes, page/2) }

// arrayBytes returns how many bytes newArray(n) takes.
func arrayBytes(n int) int64 {
	size := n * (slotBytes + tagBytes)
	if !mapped(size) {
		return int64(size)
	}
	return int64(pageUp(size))
}

// mapped reports whether an array of size bytes lives outside Go's heap.
func mapped(size int) bool { return size >= mappedFrom(os.Getpagesize()) }

// pageUp returns n rounded up to whole pages.
func pageUp(n int) int { return pageDown(n + os.Getpagesize() - 1) }

// pageDown returns n rounded down to whole pages.
func pageDown(n int) int { return n &^ (os.Getpagesize() - 1) }

// newArray returns an array of n empty slots, and false if the system has no
// memory for it.
func newArray(n int) (array, bool) {
	if !mapped(n * (slotBytes + tagBytes)) {
		return array{slots: make([]slot, n), tags: make([]uint32, n)}, true
	}
	mem, ok := mapMemory(int(arrayBytes(n)))
	if !ok {
		return array{}, false
	}
	return array{
		slots: unsafe.Slice((*slot)(unsafe.Pointer(&mem[0])), n),
		tags:  unsafe.Slice((*uint32)(unsafe.Pointer(&mem[n*slotBytes])), n),
	}, true
}

// discard gives the memory of all slots below to, a multiple of chunkSlots,
// back to the system; they must not be used any more. It is called for each
// chunk, since giving back much at once takes long.
func (a *array) discard(to int) {
	mem := a.memory()
	if mem == nil {
		return
	}
	unmapMemory(mem[a.gone*slotBytes : to*slotBytes])
	unmapMemory(mem[a.tagPages(a.gone):a.tagPages(to)])
	a.gone = to
}

// tagPages returns where the first page begins that has only tags of slots
// from i on, or the one before, in which tags of lower slots end.
func (a *array) tagPages(i int) int {
	tags := len(a.slots) * slotBytes
	return max(pageUp(tags), pageDown(tags+i*tagBytes))
}

// release gives what is left of a's memory back and empties a.
func (a *array) release() {
	if mem := a.memory(); mem != nil {
		unmapMemory(mem[a.gone*slotBytes : a.tagPages(0)])
		unmapMemory(mem[a.tagPages(a.gone):])
	}
	*a = array{}
}
