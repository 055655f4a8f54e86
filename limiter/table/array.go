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

	// mapBytes is the size from which an array lives outside Go's heap, where
	// neither the collector's pace nor its headroom (GOGC) doubles it.
	mapBytes = 32 << 10

	// chunkSlots is how many slots that were moved out of a large array go
	// back to the system at once: 256 KiB and 32 KiB of tags, about 10 µs.
	chunkSlots = 8192
)

// An array is the storage of a shard: slots, and for each the tag of the
// definition that it was last charged under. Tags are kept apart because a
// decision that finds its counter doesn't need them.
type array struct {
	slots []slot
	tags  []uint32
	mem   []byte // the mapping behind both; nil if they are on Go's heap
}

// home returns where the search for a key starts in an array of n slots. It is
// monotone in lo, so moving an array in order fills the next one in order.
func home(lo uint64, n int) int {
	h, _ := bits.Mul64(lo, uint64(n))
	return int(h)
}

// arrayBytes returns how many bytes newArray(n) takes.
func arrayBytes(n int) int64 {
	if size := n * (slotBytes + tagBytes); size < mapBytes {
		return int64(size)
	}
	return int64(pageUp(n*slotBytes) + pageUp(n*tagBytes))
}

func pageUp(n int) int {
	page := os.Getpagesize()
	return (n + page - 1) / page * page
}

// newArray returns an array of n empty slots, and false if the system has no
// memory for it.
func newArray(n int) (array, bool) {
	if n*(slotBytes+tagBytes) < mapBytes {
		return array{slots: make([]slot, n), tags: make([]uint32, n)}, true
	}
	slots := pageUp(n * slotBytes)
	mem, ok := mapMemory(slots + pageUp(n*tagBytes))
	if !ok {
		return array{}, false
	}
	return array{
		slots: unsafe.Slice((*slot)(unsafe.Pointer(&mem[0])), n),
		tags:  unsafe.Slice((*uint32)(unsafe.Pointer(&mem[slots])), n),
		mem:   mem,
	}, true
}

// discard gives the memory of the slots [from, to) back to the system; they
// must not be used any more. Both are multiples of chunkSlots.
func (a *array) discard(from, to int) {
	if a.mem == nil {
		return
	}
	tags := pageUp(len(a.slots) * slotBytes)
	dropMemory(a.mem[from*slotBytes : to*slotBytes])
	dropMemory(a.mem[tags+from*tagBytes : tags+to*tagBytes])
}

// release gives a's memory back and empties a.
func (a *array) release() {
	if a.mem != nil {
		unmapMemory(a.mem)
	}
	*a = array{}
}
