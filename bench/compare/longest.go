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
// time of their thread, first with keys spread over the partitions, then with
// all of them in one.
func longest(s settings) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, spread := range []bool{true, false} {
		sub, err := newSubject()
		if err != nil {
			return err
		}
		name := "all keys in one partition"
		if spread {
			name = "keys spread over all partitions"
		}
		var top []time.Duration // the ten longest, ascending
		var total time.Duration
		over := 0
		last := threadTime()
		for i := range s.keys {
			k := hashed(uint64(i))
			p := limiter.Partition(7)
			if spread {
				p = k.Partition()
			}
			sub.decide(limiter.Instant(1<<60), k, p)
			t := threadTime()
			d := t - last
			last = t
			total += d
			if d > 100*time.Microsecond {
				over++
			}
			if len(top) < 10 || d > top[0] {
				top = append(top, d)
				slices.Sort(top)
				top = top[max(0, len(top)-10):]
			}
		}
		fmt.Printf("%s: longest call %v, mean %v, %d of %d above 100 µs; the ten longest: %v\n",
			name, top[len(top)-1], total/time.Duration(s.keys), over, s.keys, top)
		sub.table.Clear()
	}
	return nil
}

// threadTime returns the CPU time of this thread.
func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}
