package clock

import "time"

// Alarm returns a timer that is not set: set has ring called, in a goroutine of
// its own, after that long, and stop reports whether it kept it from being
// called. It measures spans; what the clock shows has no part in it.
func Alarm(ring func()) (set func(time.Duration), stop func() bool) {
	t := time.AfterFunc(time.Hour, ring)
	t.Stop()
	return func(d time.Duration) { t.Reset(d) }, t.Stop
}
