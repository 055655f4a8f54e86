package bench

import (
	"syscall"
	"time"
)

// sleep is more exact than time.Sleep, whose timers may be a millisecond late on
// an idle process: requests that are due would be, too.
func sleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&t, nil) //nolint:errcheck // woken early: the caller looks at the clock
}
