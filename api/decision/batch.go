package decision

import (
	"sync/atomic"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
)

// tagItem is that of CheckBatchResponse.items.
const tagItem = 1<<3 | message

// keepBytesMax is how much room a batch keeps for the next one.
const keepBytesMax = 64 << 10

// A Batch is one CheckBatchRequest from its bytes to its answer. The caller
// begins it with Service.BeginBatch, calls Decide, then Append, then Close. Its
// checks are decided in groups, so that it holds few exchanges, however long it
// is. It has one owner at a time.
type Batch struct {
	// Finished is called once if Decide returns false: when the Decider has
	// finished the last check, from any goroutine, so it must not block. The caller
	// sets it before Decide.
	Finished func(*Batch)
	// Shed has the batch decided without its counters: it comes too late.
	Shed bool
	// Owner is the caller's own, for Finished.
	Owner any

	s    *Service
	now  limiter.Instant
	rest wire.Reader // checks that are not decided yet
	g    group
	out  []byte // items in order, but for those that are late
	late []lateItem

	left    atomic.Int32 // late checks that are with the Decider, and 1 for Decide
	claimed atomic.Bool  // by who calls Finished, or by Expire
	expired bool
	hook    func(*api.Exchange)
}

// A lateItem was left to the Decider.
type lateItem struct {
	x  *api.Exchange
	at int // its place in out
}

// BeginBatch returns the batch of the CheckBatchRequest in, which must stay as it
// is until Decide returns. An error, a *api.Fault, is about the whole of it:
// nothing is decided.
func (s *Service) BeginBatch(in []byte) (*Batch, error) {
	if len(in) > s.Bounds.MessageBytes {
		return nil, api.TooLong("message", len(in), s.Bounds.MessageBytes)
	}
	if _, err := countChecks(in, s.Bounds.BatchChecks, nil); err != nil {
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

// Decide decides the checks in order, as of now. If it returns false, Finished
// will be called, unless Expire is in time.
func (b *Batch) Decide(now limiter.Instant) (done bool) {
	b.now, b.g.shed = now, b.Shed
	b.left.Store(1)
	for more := true; more; {
		var check []byte
		for b.g.n < groupMax {
			if check, more = nextCheck(&b.rest); !more {
				break
			}
			x := b.g.next(b.s.Desk, b.hook)
			explain, err := Decode(check, &b.s.Bounds, &x.Req)
			x.Errand = errand(0, explain, false)
			b.g.add(b.s.Desk, err)
		}
		b.group()
	}
	b.g.release(b.s.Desk)
	if len(b.late) == 0 {
		return true
	}
	// All that was left may be finished by now. Then nobody has been called.
	return b.left.Add(-1) == 0 && b.claimed.CompareAndSwap(false, true)
}

func errand(id uint64, explain, detail bool) api.Errand {
	e := api.Errand{ID: id}
	if explain {
		e.Flags = flagExplain
	}
	if detail {
		e.Flags |= flagDetail
	}
	return e
}

// group decides the checks of the group and appends their items.
func (b *Batch) group() {
	for i := range b.g.n {
		x := b.g.xs[i]
		b.left.Add(1)
		pending, err := b.g.charge(b.s.Desk, b.now, i)
		if pending {
			x.Keep()
			b.late = append(b.late, lateItem{x, len(b.out)})
			continue
		}
		b.left.Add(-1)
		b.out = b.appendItem(b.out, x, err)
	}
	b.g.empty()
}

func (b *Batch) appendItem(dst []byte, x *api.Exchange, err error) []byte {
	dst, at := wire.Open(dst, tagItem)
	if err != nil {
		b.s.Desk.CountFault()
		dst = appendError(dst, tagItemError, err)
	} else {
		var inner int
		dst, inner = wire.Open(dst, tagItemResponse)
		dst = Append(dst, x, x.Errand.Flags&flagExplain != 0)
		dst = wire.Shut(dst, inner)
	}
	return wire.Shut(dst, at)
}

// finish is told of a late check that the Decider has finished.
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

// Append appends the CheckBatchResponse to dst. Everything must be decided.
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
