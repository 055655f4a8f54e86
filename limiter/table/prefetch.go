package table

import (
	"sync/atomic"
	"unsafe"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/prefetch"
)

// A place says where a shard's array is, for Prefetch, which reads it without
// the shard's mutex. Both words may be of different arrays, or of one that is
// gone: what is fetched is then of no use, and no harm.
type place struct {
	slots atomic.Uintptr // address of the first slot; 0 if there is none
	n     atomic.Uint64
}

// at remembers where a is.
func (p *place) at(a *array) {
	p.slots.Store(uintptr(unsafe.Pointer(unsafe.SliceData(a.slots)))) //nolint:gosec // only ever prefetched
	p.n.Store(uint64(len(a.slots)))
}

// Prefetch asks for the memory that a decision on k will read, and does not
// wait for it: the head of k's shard, and the two cache lines where the search
// for k begins. Two, since about a third of all searches go on into the second.
//
// A decision waits for memory most of its time; what is done between Prefetch
// and Decide then costs nothing, and the memory of several charges is fetched
// at once. So call it for each key as soon as it is known, before the next one
// is made and before the clock is read. It is safe at any time, and never needed.
func (t *Table) Prefetch(k limiter.Key, p limiter.Partition) {
	p %= limiter.PartitionCount
	at := &t.places[p]
	prefetch.LineAndPair(
		uintptr(unsafe.Pointer(&t.shards[p])), //nolint:gosec // only ever prefetched
		at.slots.Load()+uintptr(home(k.Lo, int(at.n.Load())))*unsafe.Sizeof(slot{}),
	)
}
