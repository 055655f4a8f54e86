package rls

import (
	"context"

	"github.com/headgate/headgate/api"
)

// A Service answers requests at a desk. Its fields are set once, before first
// use.
type Service struct {
	Desk    *api.Desk
	Bounds  api.Bounds
	Headers Headers
}

// ShouldRateLimit decides the RateLimitRequest in x.In. It returns the exchange
// that holds the RateLimitResponse in Out, which is the caller's to close
// instead of x, also with an error: a *api.Fault.
func (s *Service) ShouldRateLimit(ctx context.Context, x *api.Exchange) (*api.Exchange, error) {
	if err := Decode(x.In, &s.Bounds, &x.Req); err != nil {
		return x, err
	}
	x = s.Desk.Decide(ctx, x)
	if err := x.Fault(); err != nil {
		return x, err
	}
	x.Out = s.Headers.Append(x.Out[:0], x)
	return x, nil
}
