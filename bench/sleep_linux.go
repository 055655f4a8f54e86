package bench

import (
	"syscall"
	"time"
)

// sleep is more exact than time.Sleep, whose timers may be a millisecond late on
// an idle process: requests that are due would be, too.
func sleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // woken early: the caller looks at the clock
}
