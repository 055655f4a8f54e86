package bench

import "time"

// A usage is what a process has used so far.
type usage struct {
	cpu      time.Duration // of all its threads, user and system
	rssBytes int64         // resident now
	rssMax   int64         // resident at most
}
