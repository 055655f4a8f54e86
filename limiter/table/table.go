package table

import (
	"sync/atomic"

	"github.com/headgate/headgate/limiter"
)

// A Table keeps counters and decides calls. Make one with New. It is safe for
// concurrent use; each shard's mutex guards that shard, and no method holds
// two locks at once.
type Table struct {
	shards [limiter.PartitionCount]shard // shard i holds partition i
	places [limiter.PartitionCount]place // where the shards' arrays are

	cfg   Config
	share int64 // entries that one domain fills at most while several are installed
	reg   registry

	// The counters below are written on every insert: they stay off the lines
	// that a decision reads.
	_         [64]byte
	entries   atomic.Int64 // slots in use, live or due
	bytes     atomic.Int64 // of all arrays
	capacity  atomic.Int64 // slots of all arrays but those being moved out of
	converted atomic.Int64 // counters that were taken over by a new definition
	fulls     [2][2]atomic.Int64
	refused   atomic.Int64 // arrays that BytesMax or the system refused
	pending   atomic.Int64 // shards in converting mode

	// The shards where the background passes go on. Passes at the same time
	// work on one shard in turns; whichever ends it moves the hand.
	sweeping, conversion hand
}

// A hand is an index to Table.shards that goes round.
type hand struct{ i atomic.Uint32 }

// at returns where h is.
func (h *hand) at() uint32 { return h.i.Load() }

// leave moves h on from i, unless another pass has done it.
func (h *hand) leave(i uint32) { h.i.CompareAndSwap(i, (i+1)%limiter.PartitionCount) }

// New returns an empty table. The error joins one error for each setting that
// is out of bounds.
func New(cfg Config) (*Table, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	t := &Table{cfg: cfg, share: max(1, int64(float64(cfg.EntriesMax)*cfg.ShareMax))}
	t.reg.init()
	for i := range t.shards {
		t.shards[i].id = limiter.Partition(i)
	}
	return t, nil
}

// shard returns the shard of p. A partition out of range is a caller's bug; it
// is wrapped rather than let through to a panic under a lock.
func (t *Table) shard(p limiter.Partition) *shard {
	return &t.shards[p%limiter.PartitionCount]
}

// Clear forgets every counter and gives the memory back. Definitions stay known.
func (t *Table) Clear() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		gone := tally{t: t}
		for _, a := range []*array{&s.old, &s.array} {
			for j := range a.slots {
				if (a == &s.array || j >= s.moved) && a.slots[j].lo != 0 {
					t.forgetSlots(s, &a.slots[j], a.tags[j])
					gone.add(s, a.tags[j])
				}
			}
		}
		gone.flush()
		t.bytes.Add(-arrayBytes(len(s.old.slots)) - arrayBytes(len(s.slots)))
		t.capacity.Add(-int64(len(s.slots)))
		t.releaseSlots(s)
		s.old.release()
		s.release()
		t.places[i].at(&s.array)
		s.moving, s.moved, s.hand, s.level, s.gone = false, 0, 0, 0, 0
		s.mu.Unlock()
	}
}
