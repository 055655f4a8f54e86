package storage

import "time"

// Events are told what the disk does. Each func may be nil. They are called from
// the goroutine that noticed: they must return at once, and must neither call
// the DB nor wait for anything that does.
type Events struct {
	// Full is called once when the disk turned out to be full, and again only
	// after Recovered. The node should give up leadership.
	Full func(err error)
	// Recovered is called when there is room again and writes go on.
	Recovered func()
	// Slow is called once for an operation that has taken longer than
	// Config.SlowAfter and is still going on.
	Slow func(SlowOperation)
	// Stalled is called when writes wait since flushing or compacting is behind;
	// Resumed when they go on.
	Stalled func(reason string)
	Resumed func()
	// Failed is called once, with what ended the store: ErrFailed, and a
	// *DamagedError where the disk returned what was not written.
	Failed func(err error)
}

// A SlowOperation is one that the disk has not finished.
type SlowOperation struct {
	// Path is the file; What names the operation, such as "sync".
	Path, What string
	// Took is how long it has been going on.
	Took time.Duration
}
