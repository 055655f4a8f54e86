package decision

import (
	"context"
	"sync"
	"time"

	"github.com/headgate/headgate/api"
)

// A Service answers checks at a desk. Its fields are set once, before first use.
type Service struct {
	Desk   *api.Desk
	Bounds api.Bounds

	batches sync.Pool // of *Batch
	works   sync.Pool // of *work
}

// Check decides the CheckRequest in x.In. It returns the exchange with the
// CheckResponse in Out, which is x unless a Decider was late. The error is a
// *api.Fault: the caller counts it. Either way the exchange that is returned is
// the caller's to close.
func (s *Service) Check(ctx context.Context, x *api.Exchange) (*api.Exchange, error) {
	explain, err := Decode(x.In, &s.Bounds, &x.Req)
	return s.answer(ctx, x, explain, err)
}

// Peek is Check for a Peek: nothing is charged.
func (s *Service) Peek(ctx context.Context, x *api.Exchange) (*api.Exchange, error) {
	explain, err := DecodePeek(x.In, &s.Bounds, &x.Req)
	return s.answer(ctx, x, explain, err)
}

func (s *Service) answer(ctx context.Context, x *api.Exchange, explain bool, err error) (*api.Exchange, error) {
	if err != nil {
		return x, err
	}
	x = s.Desk.Decide(ctx, x)
	if err := x.Fault(); err != nil {
		return x, err
	}
	x.Out = Append(x.Out[:0], x, explain)
	return x, nil
}

// CheckBatch decides the CheckBatchRequest in, at one moment, and appends the
// CheckBatchResponse to dst. What a Decider leaves pending is waited for when all
// have begun. The error is a *api.Fault: the caller counts it.
func (s *Service) CheckBatch(ctx context.Context, dst, in []byte) ([]byte, error) {
	b, err := s.BeginBatch(in)
	if err != nil {
		return dst, err
	}
	now := s.Desk.Now()
	b.Finished = func(b *Batch) { b.done <- struct{}{} }
	if !b.Decide(now) {
		b.wait(ctx, now.Add(s.Desk.Timeout()).Sub(s.Desk.Now()))
	}
	dst = b.Append(dst)
	b.Close()
	return dst, nil
}

// wait waits until all of b is decided, at most as long as timeout and ctx say.
func (b *Batch) wait(ctx context.Context, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case <-b.done:
	case <-ctx.Done():
		if !b.Expire() {
			<-b.done
		}
	}
}
