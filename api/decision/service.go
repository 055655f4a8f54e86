package decision

import (
	"context"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
)

// A Service answers checks at a desk. Its fields are set once, before first use.
type Service struct {
	headgatev1.UnimplementedDecisionServiceServer

	Desk   *api.Desk
	Bounds api.Bounds
}

// Check decides one call.
func (s *Service) Check(ctx context.Context, req *headgatev1.CheckRequest) (*headgatev1.CheckResponse, error) {
	p := s.begin(s.Desk.Now(), req)
	resp, err := s.finish(ctx, &p)
	return resp, api.Status(err)
}

// CheckBatch decides the calls of a batch, in order, at one moment. What a
// Decider leaves pending is waited for when all have begun.
func (s *Service) CheckBatch(ctx context.Context, req *headgatev1.CheckBatchRequest) (*headgatev1.CheckBatchResponse, error) {
	checks := req.GetChecks()
	if len(checks) > s.Bounds.BatchChecks {
		s.Desk.CountFault()
		return nil, api.Status(api.TooMany("checks", len(checks), s.Bounds.BatchChecks))
	}
	now := s.Desk.Now()
	items := make([]*headgatev1.CheckBatchItem, len(checks))
	var waiting []pending
	var at []int // waiting[i] is items[at[i]]
	for i, check := range checks {
		p := s.begin(now, check)
		if p.waits {
			waiting, at = append(waiting, p), append(at, i)
			continue
		}
		items[i] = item(s.finish(ctx, &p))
	}
	for i := range waiting {
		items[at[i]] = item(s.finish(ctx, &waiting[i]))
	}
	return &headgatev1.CheckBatchResponse{Items: items}, nil
}

// A pending check has begun: it is decided, waits for the Decider, or failed.
type pending struct {
	x       *api.Exchange
	now     limiter.Instant
	explain bool
	waits   bool
	err     error
}

// begin decides req as far as that takes no time. finish must follow.
func (s *Service) begin(now limiter.Instant, req *headgatev1.CheckRequest) pending {
	p := pending{x: s.Desk.Open(), now: now, explain: req.GetExplain()}
	p.err = fill(p.x, req, &s.Bounds)
	if p.err == nil {
		p.waits = !s.Desk.Begin(now, p.x)
	}
	return p
}

// finish waits for p where it must, and answers. Its error is a *api.Fault.
func (s *Service) finish(ctx context.Context, p *pending) (*headgatev1.CheckResponse, error) {
	if p.waits {
		p.x = s.Desk.Wait(ctx, p.now, p.x)
	}
	defer s.Desk.Close(p.x)
	if p.err == nil {
		p.err = p.x.Fault()
	}
	if p.err != nil {
		s.Desk.CountFault()
		return nil, p.err
	}
	return respond(p.x, p.explain), nil
}

func item(resp *headgatev1.CheckResponse, err error) *headgatev1.CheckBatchItem {
	if err != nil {
		return &headgatev1.CheckBatchItem{Outcome: &headgatev1.CheckBatchItem_Error{Error: &headgatev1.CheckError{
			Code: uint32(api.Code(err)), Message: err.Error(),
		}}}
	}
	return &headgatev1.CheckBatchItem{Outcome: &headgatev1.CheckBatchItem_Response{Response: resp}}
}
