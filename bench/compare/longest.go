package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate/headgate/limiter"
)

// longest grows a table to s.keys and prints the calls that took the most CPU
// time of their thread: with keys spread over the partitions, and with all of
// them in one. The control asks for one and the same key as often: what is long
// there is the system's doing (interrupts, a neighbour's cache misses, a host
// that takes the processor away). Before each run, as much memory as the table
// will take is touched and given back, since on a virtual machine the first
// touch of a page can wait for the host, and that time looks like the thread's.
func longest(s settings) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, c := range []struct {
		name string
		key  func(i int) (limiter.Key, limiter.Partition)
	}{
		{"control, one key", func(int) (limiter.Key, limiter.Partition) { return hashed(1), 7 }},
		{"all partitions", func(i int) (limiter.Key, limiter.Partition) {
			k := hashed(uint64(i))
			return k, k.Partition()
		}},
		{"one partition", func(i int) (limiter.Key, limiter.Partition) { return hashed(uint64(i)), 7 }},
	} {
		sub, err := newSubject()
		if err != nil {
			return err
		}
		if err := touch(s.keys * 80); err != nil {
			return err
		}
		var t longCalls
		begin := threadTime()
		last := begin
		for i := range s.keys {
			k, p := c.key(i)
			sub.decide(limiter.Instant(1<<60), k, p)
			now := threadTime()
			t.add(i, now-last)
			last = now
		}
		fmt.Printf("%-18s longest %8v, mean %6v, above 100 µs %d, above 1 ms %d of %d\n", c.name,
			t.top[len(t.top)-1].took, (last-begin)/time.Duration(s.keys), t.over100us, t.over1ms, s.keys)
		for _, l := range t.top {
			fmt.Printf("    call %10d took %v\n", l.call, l.took)
		}
		sub.table.Clear()
	}
	return nil
}

// touch makes the system find size bytes of memory.
func touch(size int) error {
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("longest: map %d bytes: %w", size, err)
	}
	for i := 0; i < size; i += 4096 {
		mem[i] = 1
	}
	if err := unix.Munmap(mem); err != nil {
		return fmt.Errorf("longest: unmap: %w", err)
	}
	return nil
}

// longCalls are the longest calls seen, ascending, and how many were long.
type longCalls struct {
	top                []longCall
	over100us, over1ms int
}

type longCall struct {
	call int
	took time.Duration
}

func (l *longCalls) add(call int, took time.Duration) {
	if took > 100*time.Microsecond {
		l.over100us++
	}
	if took > time.Millisecond {
		l.over1ms++
	}
	if len(l.top) < 8 || took > l.top[0].took {
		l.top = append(l.top, longCall{call, took})
		slices.SortFunc(l.top, func(a, b longCall) int { return int(a.took - b.took) })
		l.top = l.top[max(0, len(l.top)-8):]
	}
}

// threadTime returns the CPU time of this thread.
func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}
