package storagetest

import (
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A stop is where the process of a store ends, as Pebble ends it when it can't end a log or
// begin one: a test's process can't end, so whoever touches the disk from then on waits for
// ever.
type stop struct {
	mu   sync.Mutex
	left int // how many operations on logs are still done; 0: all
	at   errorfs.OpKind
	gone chan struct{} // closed when the process has ended; nil: it never does
}

// StopAt ends the process before its n-th operation on a log from now on: one that makes
// or reuses or syncs its file, or syncs the directory. It is to be called before the disk is used,
// and returns what is closed then.
func (r *Recorder) StopAt(n int) (gone <-chan struct{}) {
	r.stop.left, r.stop.gone = n, make(chan struct{})
	return r.stop.gone
}

// StoppedAt returns the operation that the process did not do any more.
func (r *Recorder) StoppedAt() errorfs.OpKind {
	r.stop.mu.Lock()
	defer r.stop.mu.Unlock()
	return r.stop.at
}

// here does not return once the process has ended.
func (s *stop) here(r *Recorder, op errorfs.Op) {
	if s.gone == nil || !s.last(r, op) {
		return
	}
	select {}
}

// last counts op and reports whether the process has ended with it, or before.
func (s *stop) last(r *Recorder, op errorfs.Op) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		return true
	}
	if r.opening.Load() || !ofLogs(r.disk, op) {
		return false
	}
	if s.left--; s.left > 0 {
		return false
	}
	s.at = op.Kind
	close(s.gone)
	return true
}

// ofLogs reports whether op is one that ends a log or begins one, or waits for one.
func ofLogs(disk *vfs.MemFS, op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		if strings.HasSuffix(op.Path, ".log") {
			return true
		}
		at, err := disk.Stat(op.Path)
		return err == nil && at.IsDir()
	default:
		return false
	}
}
