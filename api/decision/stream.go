package decision

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/batch"
	"github.com/headgate/headgate/limiter"
)

// StreamPendingMax is how many checks of one stream may be with the Decider when
// its next message is read: so at most that and a message's are.
const StreamPendingMax = 1000

// ErrStopping is why a stream ends that was asked to.
var ErrStopping = errors.New("decision: the stream is being stopped")

// A Pipe is what a stream's messages come and go through.
type Pipe interface {
	// Receive waits for the next message and passes it to use, which doesn't keep
	// it. Its error is io.EOF when no message is left, or use's. Before it waits
	// it flushes.
	Receive(use func(in []byte) error) error
	// Send sends the message that fill appends to a buffer, at the latest with
	// the next Flush. It waits while the client doesn't read, and is not called by
	// two at a time.
	Send(fill func(dst []byte) []byte) error
	// Flush sends what Send has not sent yet. Anybody may call it.
	Flush() error
}

// A Stream is one CheckStream. Two goroutines serve it: one is in Read, which
// decides what comes in and answers it at once; the other is in Run, which
// answers what the Decider has finished later, and ends the stream.
type Stream struct {
	s    *Service
	pipe Pipe
	use  func([]byte) error  // message
	hook func(*api.Exchange) // late

	turn chan struct{} // holds one when nobody sends
	wake chan struct{} // tells Run that what mu guards has changed
	room chan struct{} // tells Read the same

	due limiter.Instant // Run's own: when to look for checks that are late; 0: none waits

	mu        sync.Mutex      // guards the rest
	waiting   []*api.Exchange // with the Decider, in no order; x.Errand.Place says where
	finished  []*api.Exchange // decided, for Run to answer
	answering int             // what Run took from both and has not sent
	busy      bool            // Read has a message
	stopped   bool            // Read takes no other
}

// What Errand.Place says of an exchange that was left to the Decider, if it is
// not 1 + its index in waiting. All guarded by Stream.mu.
const (
	placeNew   = 0  // leave has not seen it yet
	placeEarly = -1 // nor has it, and it is finished
	placeTaken = -2 // Run is about to expire it
)

// NewStream returns the stream of pipe.
func (s *Service) NewStream(pipe Pipe) *Stream {
	st := &Stream{
		s: s, pipe: pipe,
		turn: make(chan struct{}, 1), wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	st.use, st.hook = st.message, st.late
	st.turn <- struct{}{}
	return st
}

// notify wakes who waits for c, now or later.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Read reads and decides messages until there are none, which is no error. It
// returns a *api.Fault for a message that can't be decided, ErrStopping, or the
// pipe's error.
func (st *Stream) Read(ctx context.Context) error {
	for {
		if err := st.awaitRoom(ctx); err != nil {
			return err
		}
		if err := st.pipe.Receive(st.use); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// awaitRoom waits until few enough checks are pending.
func (st *Stream) awaitRoom(ctx context.Context) error {
	for {
		st.mu.Lock()
		full, stopped := st.pending() >= StreamPendingMax, st.stopped
		st.mu.Unlock()
		switch {
		case stopped:
			return ErrStopping
		case !full:
			return nil
		}
		if err := st.pipe.Flush(); err != nil {
			return err
		}
		select {
		case <-st.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pending returns how many checks have no answer yet but are not Read's any
// more. st.mu is held.
func (st *Stream) pending() int { return len(st.waiting) + len(st.finished) + st.answering }

// message decides a message and answers what it can.
func (st *Stream) message(in []byte) error {
	st.mu.Lock()
	stopped := st.stopped
	st.busy = !stopped
	st.mu.Unlock()
	if stopped {
		return ErrStopping
	}
	err := st.decide(in)
	st.mu.Lock()
	st.busy = false
	stopped = st.stopped
	st.mu.Unlock()
	if stopped {
		notify(st.wake)
	}
	return err
}

func (st *Stream) decide(in []byte) error {
	n, err := batch.Count(in, checks, st.s.Bounds.BatchChecks, isStreamCheck)
	if err != nil || n == 0 {
		return err
	}
	w := st.s.work(st.hook)
	w.checks(in, st.s.Desk.Now())
	for w.next() {
		if err := st.send(w); err != nil {
			return err
		}
		if len(w.late) > 0 {
			st.leave(w.late)
			w.late = w.late[:0]
		}
	}
	st.s.done(w)
	return nil
}

// send sends the answers of w, if there are any.
func (st *Stream) send(w *work) error {
	if w.answers.empty() {
		return nil
	}
	<-st.turn
	defer func() { st.turn <- struct{}{} }()
	return st.pipe.Send(w.fill)
}

// leave takes what the Decider has.
func (st *Stream) leave(xs []*api.Exchange) {
	st.mu.Lock()
	for _, x := range xs {
		if x.Errand.Place == placeEarly {
			st.finished = append(st.finished, x)
			continue
		}
		st.waiting = append(st.waiting, x)
		x.Errand.Place = int32(len(st.waiting))
	}
	st.mu.Unlock()
	notify(st.wake)
}

// late is told of an exchange that the Decider has finished.
func (st *Stream) late(x *api.Exchange) {
	st.mu.Lock()
	switch at := x.Errand.Place; at {
	case placeNew:
		x.Errand.Place = placeEarly
	case placeTaken:
		st.answering--
		st.finished = append(st.finished, x)
	default:
		st.drop(int(at) - 1)
		st.finished = append(st.finished, x)
	}
	st.mu.Unlock()
	notify(st.wake)
}

// drop removes waiting[i]. st.mu is held.
func (st *Stream) drop(i int) {
	n := len(st.waiting) - 1
	last := st.waiting[n]
	st.waiting[i], last.Errand.Place = last, int32(i)+1
	st.waiting[n] = nil
	st.waiting = st.waiting[:n]
}

// Run serves the stream until it ends: when Read has ended, which read tells, or
// stop is closed, and all that was taken is answered; or at once, with the
// context or when an answer can't be sent. It returns what Read has, ErrStopping,
// or the error of the context or the pipe. Read may still wait for a message
// then, which the caller must end: it decides no more.
func (st *Stream) Run(ctx context.Context, stop <-chan struct{}, read <-chan error) error {
	defer st.stop()
	var result error
	ended, stopping := false, false
	for {
		late, forget := context.WithTimeout(ctx, st.patience())
		select {
		case <-late.Done():
		case <-stop:
			stop, stopping = nil, true
			st.stop()
		case result = <-read:
			read, ended = nil, true
		case <-st.wake:
		}
		forget()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := st.answerLate(); err != nil {
			return err
		}
		pending, busy := st.state()
		switch {
		case pending > 0:
		case ended:
			return result
		case stopping && !busy:
			return ErrStopping
		}
	}
}

// patience returns how long Run waits before it looks for checks that are late.
func (st *Stream) patience() time.Duration {
	if st.due == 0 {
		return limiter.Never
	}
	return st.due.Sub(st.s.Desk.Now())
}

// stop makes Read take no other message.
func (st *Stream) stop() {
	st.mu.Lock()
	st.stopped = true
	st.mu.Unlock()
	notify(st.room)
}

// state returns how many checks are pending and whether Read has a message.
func (st *Stream) state() (pending int, busy bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.pending(), st.busy
}

// answerLate answers what the Decider has finished, and what it should have.
func (st *Stream) answerLate() error {
	finished, expired := st.take(st.s.Desk.Now())
	if len(finished)+len(expired) == 0 {
		return nil
	}
	w := st.s.work(st.hook)
	for _, x := range finished {
		st.s.Desk.End(st.began(x), x)
	}
	for _, x := range expired {
		// What the Decider has finished after all comes as finished.
		if y := st.s.Desk.Expire(st.began(x), x); y != nil {
			finished = append(finished, y)
		}
	}
	n := len(finished)
	for len(finished) > 0 {
		for len(finished) > 0 && w.answer(finished[0]) {
			st.s.Desk.Close(finished[0])
			finished = finished[1:]
		}
		if err := st.send(w); err != nil {
			return err
		}
	}
	st.s.done(w)
	st.mu.Lock()
	st.answering -= n
	st.mu.Unlock()
	notify(st.room)
	return st.pipe.Flush()
}

// began returns when x was charged.
func (st *Stream) began(x *api.Exchange) limiter.Instant {
	return st.s.Desk.Deadline(x).Add(-st.s.Desk.Timeout())
}

// take takes what is finished, and from waiting what is late. It sets st.due.
func (st *Stream) take(now limiter.Instant) (finished, expired []*api.Exchange) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.due <= now {
		st.due = 0
		for i := 0; i < len(st.waiting); {
			x := st.waiting[i]
			if d := st.s.Desk.Deadline(x); d > now {
				if st.due == 0 || d < st.due {
					st.due = d
				}
				i++
				continue
			}
			st.drop(i)
			x.Errand.Place = placeTaken
			expired = append(expired, x)
		}
	}
	finished = slices.Clone(st.finished)
	clear(st.finished)
	st.finished = st.finished[:0]
	st.answering += len(finished) + len(expired)
	return finished, expired
}
