package storage

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// health is what is known about the disk. It is also Pebble's logger, since
// that is how Pebble tells of errors that it can't go on after.
//
//	well ⇄ full      any → failed, for good
type health struct {
	dir     string
	events  Events
	ballast *ballast
	failed  chan struct{} // closed when err is set for good

	mu   sync.Mutex // guards the rest
	err  error      // why writes are refused; nil while all is well
	slow SlowOperation

	stalls, slows uint64
}

func newHealth(c Config) *health {
	return &health{dir: c.Dir, events: c.Events, ballast: newBallast(c), failed: make(chan struct{})}
}

// refusal returns why writes are refused, or nil.
func (h *health) refusal() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// hasFailed reports whether the store has ended.
func (h *health) hasFailed() bool {
	select {
	case <-h.failed:
		return true
	default:
		return false
	}
}

// fail ends the store. The first cause is kept.
func (h *health) fail(cause error) {
	h.mu.Lock()
	if h.hasFailed() {
		h.mu.Unlock()
		return
	}
	h.err = fmt.Errorf("storage: %s: %w: %w", h.dir, ErrFailed, cause)
	err := h.err
	close(h.failed)
	h.mu.Unlock()
	if h.events.Failed != nil {
		h.events.Failed(err)
	}
}

// full notes that the disk has no room, and gives up the ballast.
func (h *health) full(cause error) {
	h.mu.Lock()
	first := h.err == nil
	if first {
		h.err = fmt.Errorf("storage: %s: %w (%w)", h.dir, ErrFull, cause)
	}
	err := h.err
	h.mu.Unlock()
	h.ballast.release()
	if first && h.events.Full != nil {
		h.events.Full(err)
	}
}

// recovered notes that there is room again.
func (h *health) recovered() {
	h.mu.Lock()
	again := h.err != nil && !h.hasFailed()
	if again {
		h.err = nil
	}
	h.mu.Unlock()
	if again && h.events.Recovered != nil {
		h.events.Recovered()
	}
}

// background judges an error of a flush or a compaction, which Pebble tries
// again for ever. No room may pass; anything else is a disk not to rely on.
func (h *health) background(err error) {
	if vfs.IsNoSpaceError(err) {
		h.full(err)
		return
	}
	h.fail(err)
}

// slowness passes on that an operation takes long, once for each operation.
func (h *health) slowness(info vfs.DiskSlowInfo) {
	op := SlowOperation{Path: info.Path, What: info.OpType.String(), Took: info.Duration}
	h.mu.Lock()
	same := h.slow.Path == op.Path && h.slow.What == op.What && h.slow.Took < op.Took
	h.slow = op
	if !same {
		h.slows++
	}
	h.mu.Unlock()
	if !same && h.events.Slow != nil {
		h.events.Slow(op)
	}
}

// stalled counts that writes wait.
func (h *health) stalled() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stalls++
}

// stats fills in what is known here.
func (h *health) stats(s *Stats) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Failed = h.hasFailed()
	s.Full = h.err != nil && !s.Failed
	s.Stalls, s.Slow = h.stalls, h.slows
}

// listener returns what Pebble reports to.
func (h *health) listener() *pebble.EventListener {
	l := &pebble.EventListener{
		BackgroundError: h.background,
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			h.fail(&DamagedError{Dir: h.dir, Cause: fmt.Errorf("%s: %w", info.Path, info.Details)})
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			h.stalled()
			if h.events.Stalled != nil {
				h.events.Stalled(info.Reason)
			}
		},
		WriteStallEnd: func() {
			if h.events.Resumed != nil {
				h.events.Resumed()
			}
		},
	}
	return l
}

// Infof drops what Pebble tells of its ordinary work.
func (h *health) Infof(string, ...any) {}

// Errorf drops what the listener has been told.
func (h *health) Errorf(string, ...any) {}

// Fatalf is called where Pebble can't go on: after a failed write of its log or
// of its list of files. Going on could acknowledge, or delete the last copy of,
// what the disk does not hold; so the calling goroutine stops here for ever,
// with the locks that it has, and the store refuses everything from now on.
func (h *health) Fatalf(format string, args ...any) {
	h.fail(wrapLast(format, args))
	select {}
}

// ended is deferred where Pebble may panic, which it does when it can't make or
// rename a file.
func (h *health) ended(action string) {
	switch r := recover().(type) {
	case nil:
	case error:
		h.fail(fmt.Errorf("%s: %w", action, r))
	default:
		h.fail(fmt.Errorf("%s: %v", action, r))
	}
}

// wrapLast formats like fmt.Errorf, and wraps the last argument if it is an error.
func wrapLast(format string, args []any) error {
	text := fmt.Sprintf(format, args...)
	if len(args) > 0 {
		if cause, ok := args[len(args)-1].(error); ok {
			return causedError{text, cause}
		}
	}
	return errors.New(text)
}

// A causedError has its own text and another error's identity.
type causedError struct {
	text  string
	cause error
}

func (e causedError) Error() string { return e.text }
func (e causedError) Unwrap() error { return e.cause }
