package storage

import (
	"errors"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// mergeBytesMax bounds what is merged into one batch, and so does a quarter of a memtable.
const mergeBytesMax = 1 << 20

// syncs has batches that are to be synced written as one, if they come at the same time
// or while another sync is under way: the groups of a node write theirs together, and
// one record, one sync and one wait serve all of them.
type syncs struct {
	mergeMax int // bytes

	mu    sync.Mutex // guards what follows
	queue []*waiting
	busy  bool // somebody writes, and takes what is queued next
}

// A waiting batch is one that somebody waits for.
type waiting struct {
	batch *pebble.Batch
	done  chan error
}

// add queues b and returns where its outcome is told.
func (s *syncs) add(d *DB, b *pebble.Batch) <-chan error {
	w := &waiting{b, make(chan error, 1)}
	s.mu.Lock()
	s.queue = append(s.queue, w)
	first := !s.busy
	s.busy = true
	s.mu.Unlock()
	if first {
		go s.run(d)
	}
	return w.done
}

// run writes what is queued until nothing is.
func (s *syncs) run(d *DB) {
	defer d.health.ended("commit")
	for {
		s.settle()
		group := s.take()
		if len(group) == 0 {
			d.synced.idle()
			return
		}
		merged := group[0].batch
		var err error
		for _, w := range group[1:] {
			err = errors.Join(err, merged.Apply(w.batch, nil))
		}
		if err == nil {
			err = merged.Commit(pebble.Sync)
		}
		for _, w := range group {
			w.done <- errors.Join(err, w.batch.Close())
		}
	}
}

// settle lets others run who are about to queue something.
func (s *syncs) settle() {
	for before := -1; ; {
		s.mu.Lock()
		now := len(s.queue)
		s.mu.Unlock()
		if now == before {
			return
		}
		before = now
		runtime.Gosched()
	}
}

// take returns what is to be written as one batch.
func (s *syncs) take() []*waiting {
	s.mu.Lock()
	defer s.mu.Unlock()
	bytes, n := 0, 0
	for ; n < len(s.queue); n++ {
		if bytes += s.queue[n].batch.Len(); n > 0 && bytes > s.mergeMax {
			break
		}
	}
	group := s.queue[:n:n]
	s.queue = s.queue[n:]
	s.busy = n > 0
	return group
}
