package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/headgate/headgate/api/admin"
	"github.com/headgate/headgate/storage"
)

// errWaiting is what operators are told who ask for what a store has that is not open.
var errWaiting = &admin.Refusal{
	Status: http.StatusServiceUnavailable,
	Text:   "the disk is full, and the quota store is not open: free space and it opens by itself",
}

// begin opens the store, or has recheck open it if the disk has no room for that: the
// node goes on, and denies quotas meanwhile. q.mu is held.
func (q *quotas) begin(ctx context.Context) error {
	err := q.room()
	if !errors.Is(err, storage.ErrFull) { // what else is wrong, opening tells
		err = q.open(ctx)
	}
	if !errors.Is(err, storage.ErrFull) {
		q.wait(false)
		return err
	}
	if !q.waiting {
		q.log.Error("the disk is full: quotas are denied until there is room to open their store", slog.String("error", err.Error()))
	}
	q.wait(true)
	return nil
}

// goOn is begin for a store that waits. q.mu is held.
func (q *quotas) goOn(ctx context.Context) {
	if err := q.begin(ctx); err != nil {
		q.log.Error("the quota store can't be opened: quotas are denied until a policy is read again or the node is started again",
			slog.String("error", err.Error()))
	}
}

// wait notes whether the store waits for room. q.mu is held.
func (q *quotas) wait(waiting bool) {
	q.waiting = waiting
	q.meters.wait(waiting)
}
