package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// flat compares a decision on a random pre-hashed key with a random read of an
// array as large as the table's, mapped the same way (4 KiB pages), that does
// the same arithmetic to find its next place.
//
// Dependent: the next place depends on a number that was read, so the latency
// of memory is paid in full by both. Independent: it does not; the processor
// overlaps reads of the array as far as it can, which it may not do with
// decisions, since each takes a lock.
//
// A decision is told ahead, as the matcher tells of each key: Table.Prefetch fetches
// the head of the shard and the slot at once, where Decide alone reads one after the
// other.
func flat(s settings) error {
	sub, err := newSubject()
	if err != nil {
		return err
	}
	for i := range s.keys {
		k := hashed(uint64(i))
		sub.decide(sub.now(), k, k.Partition())
	}
	st := sub.table.Stats()
	small, err := mapped(int(st.Bytes), unix.MADV_NOHUGEPAGE)
	if err != nil {
		return err
	}
	huge, err := mapped(int(st.Bytes), unix.MADV_HUGEPAGE)
	if err != nil {
		return err
	}
	fmt.Printf("table and arrays: %.2f GB\n\n", float64(st.Bytes)/1e9)
	now := sub.now()
	var x uint64
	decide := func(dependent, foreseen bool) func(int) {
		return func(n int) {
			for range n {
				k := hashed(pick(mix(x), s.keys))
				if foreseen {
					sub.table.Prefetch(k, k.Partition())
				}
				d := sub.decide(now, k, k.Partition())
				x++
				if dependent {
					x += d.Remaining >> 63 // 0, but that is only known once it was read
				}
			}
		}
	}
	sums := uint64(0) // printed, so that no read may be left out
	read := func(a []uint64, dependent bool) func(int) {
		return func(n int) {
			sum := uint64(0)
			for range n {
				k := hashed(pick(mix(x), s.keys))
				v := a[pick(k.Lo, len(a)/4)*4] // the first word of a 32-byte slot
				sum += v
				x++
				if dependent {
					x += v >> 63
				}
			}
			sums += sum
		}
	}
	compete(s, []contestant{
		{"decision, dependent", decide(true, true)},
		{"decision, dependent, not told ahead", decide(true, false)},
		{"array read, dependent", read(small, true)},
		{"array read, dependent, huge pages", read(huge, true)},
	}).print("array read, dependent")
	fmt.Println()
	compete(s, []contestant{
		{"decision, independent", decide(false, true)},
		{"array read, independent", read(small, false)},
		{"array read, independent, huge pages", read(huge, false)},
	}).print("array read, independent")
	fmt.Printf("\n(the arrays' checksum: %x)\n", sums)
	return nil
}

// mapped returns an array of size bytes, every page of it written to.
func mapped(size, advice int) ([]uint64, error) {
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("flat: map %d bytes: %w", size, err)
	}
	if err := unix.Madvise(mem, advice); err != nil {
		return nil, fmt.Errorf("flat: advise: %w", err)
	}
	a := unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), size/8) //nolint:gosec // mem is page-aligned and has size bytes
	for i := range a {
		a[i] = mix(uint64(i)) >> 1
	}
	return a, nil
}
