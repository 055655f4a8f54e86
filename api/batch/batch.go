package batch

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
)

// keepBytesMax is how much room a batch keeps for the next one.
const keepBytesMax = 64 << 10

// A Service decides the requests of one method. Its fields are set once, before
// first use.
type Service struct {
	Desk *api.Desk
	// MessageBytes and Items bound a request; both at least 1.
	MessageBytes, Items int
	// Field is the name of the items in the request, for errors.
	Field string
	// Decode reads an item into x, as of now. Its error, a *api.Fault, is about this
	// item only.
	Decode func(now limiter.Instant, item []byte, x *api.Exchange) error
	// Append appends the fields of the response's item for x, which was decided as of
	// now or, if err is not nil, was not, and counts as a fault then.
	Append func(dst []byte, now limiter.Instant, x *api.Exchange, err error) []byte

	batches sync.Pool // of *Batch
}

// A Batch is one request from its bytes to its answer. The caller begins it with
// Service.Begin, calls Decide, then Append, then Close. It has one owner at a time.
type Batch struct {
	// Finished is called once if Decide returns false: when the Decider has
	// finished the last item, from any goroutine, so it must not block. The caller
	// sets it before Decide.
	Finished func(*Batch)
	// Shed has the batch decided without its counters: it comes too late.
	Shed bool
	// Owner is the caller's own, for Finished.
	Owner any

	s    *Service
	now  limiter.Instant
	rest wire.Reader // items that are not decided yet
	g    Group
	out  []byte // answers in order, but for those that are late
	late []lateItem

	left    atomic.Int32 // late items that are with the Decider, and 1 for Decide
	claimed atomic.Bool  // by who calls Finished, or by Expire
	expired bool
	hook    func(*api.Exchange)
}

// A lateItem was left to the Decider.
type lateItem struct {
	x  *api.Exchange
	at int // its place in out
}

// Begin returns the batch of the request in, which must stay as it is until Decide
// returns. An error, a *api.Fault, is about the whole of it: nothing is decided.
func (s *Service) Begin(in []byte) (*Batch, error) {
	if len(in) > s.MessageBytes {
		return nil, api.TooLong("message", len(in), s.MessageBytes)
	}
	if _, err := Count(in, s.Field, s.Items, nil); err != nil {
		return nil, err
	}
	b, _ := s.batches.Get().(*Batch)
	if b == nil {
		b = &Batch{s: s}
		b.hook = func(*api.Exchange) { b.finish() }
	}
	b.rest = wire.NewReader(in)
	return b, nil
}

// Serve decides the request in and returns its response, for doors that can wait: no
// longer than the desk's timeout and ctx, then on_unavailable decides what is left.
// If shed, it decides all. The error is Begin's.
func (s *Service) Serve(ctx context.Context, in []byte, shed bool) ([]byte, error) {
	b, err := s.Begin(in)
	if err != nil {
		return nil, err
	}
	b.Shed = shed
	finished := make(chan struct{})
	b.Finished = func(*Batch) { close(finished) }
	if !b.Decide(s.Desk.Now()) {
		ctx, cancel := context.WithTimeout(ctx, s.Desk.Timeout())
		defer cancel()
		select {
		case <-finished:
		case <-ctx.Done():
			if !b.Expire() {
				<-finished
			}
		}
	}
	out := b.Append(nil)
	b.Close()
	return out, nil
}

// Decide decides the items in order, as of now. If it returns false, Finished
// will be called, unless Expire is in time.
func (b *Batch) Decide(now limiter.Instant) (done bool) {
	b.now, b.g.shed = now, b.Shed
	b.left.Store(1)
	for more := true; more; {
		var item []byte
		for !b.g.Full() {
			if item, more = Next(&b.rest); !more {
				break
			}
			x := b.g.Next(b.s.Desk, b.hook)
			b.g.Add(b.s.Desk, b.s.Decode(now, item, x))
		}
		b.group()
	}
	b.g.Release(b.s.Desk)
	if len(b.late) == 0 {
		return true
	}
	// All that was left may be finished by now. Then nobody has been called.
	return b.left.Add(-1) == 0 && b.claimed.CompareAndSwap(false, true)
}

// group decides the items of the group and appends their answers.
func (b *Batch) group() {
	b.g.Match(b.s.Desk)
	for i := range b.g.n {
		x := b.g.xs[i]
		b.left.Add(1)
		pending, err := b.g.Charge(b.s.Desk, b.now, i)
		if pending {
			x.Keep()
			b.late = append(b.late, lateItem{x, len(b.out)})
			continue
		}
		b.left.Add(-1)
		b.out = b.appendItem(b.out, x, err)
	}
	b.g.Empty()
}

func (b *Batch) appendItem(dst []byte, x *api.Exchange, err error) []byte {
	if err != nil {
		b.s.Desk.CountFault()
	}
	dst, at := wire.Open(dst, tagItem)
	return wire.Shut(b.s.Append(dst, b.now, x, err), at)
}

// finish is told of a late item that the Decider has finished.
func (b *Batch) finish() {
	if b.left.Add(-1) == 0 && b.claimed.CompareAndSwap(false, true) {
		b.Finished(b)
	}
}

// Expire ends the wait for what Decide left to the Decider: on_unavailable
// decides it. It returns true if it is in time: then Finished is not called. The
// caller then goes on with Append; otherwise it waits for Finished, which is
// called without delay.
func (b *Batch) Expire() bool {
	if !b.claimed.CompareAndSwap(false, true) {
		return false
	}
	b.expired = true
	for i := range b.late {
		if y := b.s.Desk.Expire(b.now, b.late[i].x); y != nil {
			b.late[i].x = y
		} else {
			b.s.Desk.End(b.now, b.late[i].x)
		}
	}
	return true
}

// Append appends the response to dst. Everything must be decided.
func (b *Batch) Append(dst []byte) []byte {
	from := 0
	for _, l := range b.late {
		if !b.expired {
			b.s.Desk.End(b.now, l.x)
		}
		dst = append(dst, b.out[from:l.at]...)
		dst = b.appendItem(dst, l.x, l.x.Fault())
		from = l.at
	}
	return append(dst, b.out[from:]...)
}

// Close ends the use of b.
func (b *Batch) Close() {
	for i := range b.late {
		b.s.Desk.Close(b.late[i].x)
	}
	if b.expired {
		return // the Decider may still finish it
	}
	clear(b.late)
	b.late = b.late[:0]
	if cap(b.out) > keepBytesMax {
		b.out = nil
	}
	b.out, b.rest = b.out[:0], wire.Reader{}
	b.Finished, b.Owner, b.Shed = nil, nil, false
	b.claimed.Store(false)
	b.s.batches.Put(b)
}
