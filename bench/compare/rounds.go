package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A contestant does n operations; its first runs warm it up.
type contestant struct {
	name string
	do   func(n int)
}

// results are nanoseconds an operation, by contestant and round: of the clock
// on the wall, and of CPU time of the whole process, the garbage collector's
// included, which neighbours on the machine disturb less.
type results struct {
	names   []string
	ns, cpu [][]float64
}

// compete lets the contestants take turns, in another order each round.
func compete(s settings, cs []contestant) results {
	r := results{ns: make([][]float64, len(cs)), cpu: make([][]float64, len(cs))}
	for _, c := range cs {
		r.names = append(r.names, c.name)
		c.do(s.ops / 4)
	}
	for round := range s.rounds {
		for i := range cs {
			i = (i + round) % len(cs)
			runtime.GC()
			begin, used := time.Now(), cpuTime()
			cs[i].do(s.ops)
			took, use := time.Since(begin), cpuTime()-used
			r.ns[i] = append(r.ns[i], float64(took.Nanoseconds())/float64(s.ops))
			r.cpu[i] = append(r.cpu[i], float64(use.Nanoseconds())/float64(s.ops))
		}
	}
	return r
}

// print writes a row for each contestant, with its ratio to the one named base.
func (r results) print(base string) {
	b := slices.Index(r.names, base)
	fmt.Printf("%-34s %9s %9s %9s %9s   × %s: %8s %8s\n", "nanoseconds", "median", "least", "most", "CPU", base, "time", "CPU")
	for i, name := range r.names {
		fmt.Printf("%-34s %9.1f %9.1f %9.1f %9.1f   %*.2f %8.2f\n", name,
			median(r.ns[i]), slices.Min(r.ns[i]), slices.Max(r.ns[i]), median(r.cpu[i]),
			len(base)+11, ratio(r.ns[i], r.ns[b]), ratio(r.cpu[i], r.cpu[b]))
	}
}

// ratio returns the median of the ratios of a round's figure to the other's.
func ratio(a, b []float64) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return median(ratios)
}

// cpuTime returns the CPU time that the process has used.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
