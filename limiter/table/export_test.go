package table

import (
	"fmt"
	"unsafe"
)

// Check reports the first broken invariant of t's arrays and counts. Nobody
// may be using t.
func (t *Table) Check() error {
	var entries, bytes, capacity, pending int64
	live := map[uint32]int64{}
	for i := range t.shards {
		s := &t.shards[i]
		n, err := s.check(live)
		if err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
		entries += int64(n)
		bytes += arrayBytes(len(s.slots)) + arrayBytes(len(s.old.slots)) + s.slotBytesOf()
		anonymous, err := s.checkSlots(live)
		if err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
		entries += anonymous
		capacity += int64(len(s.slots))
		if s.converting {
			pending++
		}
	}
	if got := t.entries.Load(); got != entries {
		return fmt.Errorf("entries = %d, want %d", got, entries)
	}
	if got := t.bytes.Load(); got != bytes {
		return fmt.Errorf("bytes = %d, want %d", got, bytes)
	}
	if got := t.capacity.Load(); got != capacity {
		return fmt.Errorf("capacity = %d, want %d", got, capacity)
	}
	if got := t.pending.Load(); got != pending {
		return fmt.Errorf("pending = %d, want %d", got, pending)
	}
	domains := map[*domain]int64{}
	for ref, d := range *t.reg.defs.Load() {
		if d == nil {
			if n := live[uint32(ref)]; n != 0 {
				return fmt.Errorf("definition %d is free and has %d entries", ref, n)
			}
			continue
		}
		if got, want := d.live.Load(), live[uint32(ref)]; got != want {
			return fmt.Errorf("definition %d: live = %d, want %d", ref, got, want)
		}
		if d.domain != nil {
			domains[d.domain] += live[uint32(ref)]
		}
	}
	for d, want := range domains {
		if got := d.live.Load(); got != want {
			return fmt.Errorf("domain %s: live = %d, want %d", d.name, got, want)
		}
	}
	return nil
}

func (s *shard) check(live map[uint32]int64) (n int, err error) {
	for i := range s.slots {
		sl := &s.slots[i]
		if sl.lo == 0 {
			continue
		}
		n++
		live[s.tags[i]]++
		for j := home(sl.lo, len(s.slots)); j != i; j = (j + 1) % len(s.slots) {
			if s.slots[j].lo == 0 {
				return n, fmt.Errorf("slot %d can't be found: slot %d is empty", i, j)
			}
		}
	}
	for i := s.moved; i < len(s.old.slots); i++ {
		if s.old.slots[i].lo != 0 {
			n++
			live[s.old.tags[i]]++
		}
	}
	if n != s.n {
		return n, fmt.Errorf("n = %d, want %d", s.n, n)
	}
	if len(s.slots) > 0 && n >= len(s.slots) {
		return n, fmt.Errorf("%d entries in %d slots", n, len(s.slots))
	}
	if s.moving != (s.old.slots != nil) {
		return n, fmt.Errorf("moving = %v with an old array of %d", s.moving, len(s.old.slots))
	}
	return n, nil
}

// SlotsOf returns how many slots the array of a partition has.
func (t *Table) SlotsOf(p int) int { return len(t.shards[p].slots) }

// Moving reports whether a partition is moving to another array.
func (t *Table) Moving(p int) bool { return t.shards[p].moving }

// Definitions returns how many definitions the registry holds.
func (t *Table) Definitions() int {
	n := 0
	for _, d := range *t.reg.defs.Load() {
		if d != nil {
			n++
		}
	}
	return n
}

// Hold locks the shard of a partition until release is called.
func (t *Table) Hold(p int) (release func()) {
	t.shards[p].mu.Lock()
	return t.shards[p].mu.Unlock
}

// MappedFrom returns the size from which arrays are mapped, with pages of a size.
func MappedFrom(page int) int { return mappedFrom(page) }

// ShardLayout returns how many bytes a shard has, and where the last field ends
// that a decision on a counter that exists reads.
func ShardLayout() (size, hot uintptr) {
	var s shard
	return unsafe.Sizeof(s), unsafe.Offsetof(s.tags) + unsafe.Sizeof(s.tags)
}

// checkSlots counts the anonymous slots of s under the tags of their parents.
func (s *shard) checkSlots(live map[uint32]int64) (anonymous int64, err error) {
	if s.held == nil {
		return 0, nil
	}
	for _, a := range []*array{&s.old, &s.array} {
		for i := range a.slots {
			sl := &a.slots[i]
			if sl.lo == 0 || (a == &s.old && i < s.moved) {
				continue
			}
			g := s.held.Group(sl.c.Word, sl.key())
			if g == 0 {
				continue
			}
			n := s.held.Anonymous(g)
			live[a.tags[i]] += n
			anonymous += n
			if last := s.held.Last(g); last != sl.c.Due && last != 0 {
				return 0, fmt.Errorf("a parent is due at %d, its last slot at %d", sl.c.Due, last)
			}
		}
	}
	return anonymous, s.held.Check()
}
