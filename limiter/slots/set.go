package slots

import (
	"fmt"
	"math/bits"
	"unsafe"

	"github.com/headgate/headgate/limiter"
)

// A Record is a slot, or the head of a group. Its size is RecordBytes; zeroed
// memory holds free records.
type Record struct {
	// key is the slot's; its Lo is 0 for an anonymous one. A group has its own.
	key    limiter.Key
	expiry limiter.Instant
	// sum is the units of the subtree; of a root that waits to be freed, the
	// next one that does.
	sum    uint64
	weight uint32 // units; 0 for a group
	// left and right are the subtrees; of a group the trees of slots with a
	// holder and of anonymous ones; left of a free record is the next one.
	left, right uint32
	count       uint32 // slots in the subtree
}

// RecordBytes is the size of a Record.
const RecordBytes = int(unsafe.Sizeof(Record{}))

// A Group names the slots of one key. The zero Group has none.
type Group uint32

// Chunks double up to chunkMax records, so that few slots take little.
const (
	chunkMin   = 8
	chunkMax   = 4096
	chunksMin  = 10 // chunks that are smaller than chunkMax: 8, 8, 16, … 2048
	recordsMax = 1 << 31
)

// A Set is the slots of a part of the key space. The zero Set is empty and has
// room for none.
type Set struct {
	chunks  [][]Record
	n       uint32 // records in all chunks
	used    uint32 // records below were used; 0 is none
	free    uint32 // head of the list of free records
	garbage uint32 // head of the list of trees to be freed
	live    uint32 // records that are not free
	serial  uint64 // gives anonymous slots their priorities
}

// at returns record i, which exists.
func (s *Set) at(i uint32) *Record {
	if i >= chunkMax {
		i -= chunkMax
		return &s.chunks[chunksMin+i/chunkMax][i%chunkMax]
	}
	c := bits.Len32(i / chunkMin)
	if c > 0 {
		i -= chunkMin << (c - 1)
	}
	return &s.chunks[c][i]
}

// Room returns 0 if n more records can be made, n at most 3, or else how many
// records the chunk must have that Grow is to be given first; it returns −1 if
// the set is full for good.
func (s *Set) Room(n uint32) int {
	if s.n-s.live > n { // record 0 is not used
		return 0
	}
	switch c := len(s.chunks); {
	case s.n >= recordsMax:
		return -1
	case c == 0:
		return chunkMin
	case c < chunksMin:
		return chunkMin << (c - 1)
	default:
		return chunkMax
	}
}

// Grow adds a chunk, zeroed and of the size that Room returned.
func (s *Set) Grow(chunk []Record) {
	s.chunks = append(s.chunks, chunk)
	s.n += uint32(len(chunk))
	s.used = max(s.used, 1)
}

// Empty reports whether nothing is held, or waits to be freed.
func (s *Set) Empty() bool { return s.live == 0 }

// Chunks returns the chunks that Grow was given, for the owner to count or to
// release with the set.
func (s *Set) Chunks() [][]Record { return s.chunks }

// record takes a free record. There is room.
func (s *Set) record() uint32 {
	s.live++
	if i := s.free; i != 0 {
		r := s.at(i)
		s.free = r.left
		*r = Record{}
		return i
	}
	s.used++
	return s.used - 1
}

// recycle makes record i free.
func (s *Set) recycle(i uint32) {
	r := s.at(i)
	*r = Record{left: s.free}
	s.free = i
	s.live--
}

// New makes the group of k. There is room.
func (s *Set) New(k limiter.Key) Group {
	i := s.record()
	s.at(i).key = k
	return Group(i)
}

// Group returns the group that word names if it is that of k, else 0.
func (s *Set) Group(word uint64, k limiter.Key) Group {
	if word == 0 || word >= uint64(s.used) {
		return 0
	}
	if r := s.at(uint32(word)); r.weight != 0 || r.key != k {
		return 0
	}
	return Group(word)
}

// Drop ends a group and all its slots, and returns how many of them were
// anonymous.
func (s *Set) Drop(g Group) (anonymous int64) {
	r := s.at(uint32(g))
	anonymous = int64(s.size(r.right))
	s.discard(r.left)
	s.discard(r.right)
	s.recycle(uint32(g))
	return anonymous
}

// discard has a tree freed, in time.
func (s *Set) discard(root uint32) {
	if root != 0 {
		s.at(root).sum = uint64(s.garbage)
		s.garbage = root
	}
}

// Collect frees up to n slots of those that are not held any more, and reports
// whether others wait.
func (s *Set) Collect(n int) (more bool) {
	for ; n > 0 && s.garbage != 0; n-- {
		i := s.garbage
		r := s.at(i)
		s.garbage = uint32(r.sum)
		left, right := r.left, r.right
		s.recycle(i)
		s.discard(left)
		s.discard(right)
	}
	return s.garbage != 0
}

// HasSlot reports whether word names a group that has the slot k, which expires
// then.
func (s *Set) HasSlot(word uint64, k limiter.Key, expiry limiter.Instant) bool {
	if word == 0 || word >= uint64(s.used) {
		return false
	}
	if r := s.at(uint32(word)); r.weight != 0 || r.key.Lo == 0 {
		return false
	}
	return s.Has(Group(word), k, expiry)
}

// Check reports the first broken invariant: for tests.
func (s *Set) Check() error {
	free, waiting := uint32(0), uint32(0)
	for i := s.free; i != 0; i = s.at(i).left {
		free++
	}
	for i := s.garbage; i != 0; i = uint32(s.at(i).sum) {
		waiting += s.at(i).count
	}
	groups, slots := uint32(0), uint32(0)
	for i := uint32(1); i < s.used; i++ {
		r := s.at(i)
		if r.weight != 0 || r.key.Lo == 0 {
			continue
		}
		groups++
		for _, root := range []uint32{r.left, r.right} {
			if err := s.checkTree(root); err != nil {
				return err
			}
			slots += s.size(root)
		}
	}
	if s.live != groups+slots+waiting || s.used > 0 && s.used != 1+s.live+free {
		return fmt.Errorf("slots: %d live, %d used: %d groups, %d slots, %d to be freed, %d free", s.live, s.used, groups, slots, waiting, free)
	}
	return nil
}

func (s *Set) checkTree(root uint32) error {
	if root == 0 {
		return nil
	}
	r := s.at(root)
	sum, count := r.sum, r.count
	if s.total(r); r.sum != sum || r.count != count || r.weight == 0 {
		return fmt.Errorf("slots: record %d has %d units in %d slots, want %d in %d", root, sum, count, r.sum, r.count)
	}
	for _, sub := range [][2]uint32{{r.left, root}, {root, r.right}} {
		if sub[0] != 0 && sub[1] != 0 && !s.at(sub[0]).place().before(s.at(sub[1]).place()) {
			return fmt.Errorf("slots: record %d is out of order", root)
		}
	}
	if err := s.checkTree(r.left); err != nil {
		return err
	}
	return s.checkTree(r.right)
}
