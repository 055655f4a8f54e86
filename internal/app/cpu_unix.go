//go:build unix

package app

import "syscall"

// processCPU returns what tells the processor time of this process, in
// nanoseconds.
func processCPU() func() int64 {
	return func() int64 {
		var u syscall.Rusage
		if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
			return 0
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
}
