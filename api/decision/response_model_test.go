package decision

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// respond is the dumb model of Append: it makes objects.
func respond(x *api.Exchange, explain bool) *headgatev1.CheckResponse {
	v, by := x.Verdict()
	charges := x.Call.Charges()
	resp := &headgatev1.CheckResponse{
		Verdict:       verdict(v),
		PolicyVersion: x.Snapshot.Version(),
		PolicyHash:    x.Snapshot.Hash(),
	}
	if v == limiter.Denied {
		resp.DeniedBy = api.UnknownDomainLimit
		if by >= 0 {
			resp.DeniedBy = charges[by].Limit.Name
			resp.RetryAfter = retryAfter(&charges[by].Decision)
		}
	}
	summarizeModel(resp, charges)
	if wait := longest(charges); wait > 0 && v == limiter.Allowed {
		resp.Wait = durationpb.New(wait)
	}
	resp.Limits = make([]*headgatev1.LimitResult, len(charges))
	for i := range charges {
		resp.Limits[i] = result(&charges[i])
		if explain {
			resp.Limits[i].Explanation = explanation(x.Snapshot, &charges[i])
		}
	}
	if by >= 0 && charges[by].Decision.Degraded != limiter.NotDegraded {
		resp.Degraded = degraded(charges[by].Decision.Degraded)
	}
	return resp
}

// summarizeModel sets what all charges say together. Of AnyOf limits the most
// generous one counts, since one of them is enough to pass.
func summarizeModel(resp *headgatev1.CheckResponse, charges []limiter.Charge) {
	remaining, anyOf, reset := uint64(math.MaxUint64), uint64(0), time.Duration(0)
	counted, alternatives := false, false
	for i := range charges {
		ch := &charges[i]
		if ch.Decision.Degraded != limiter.NotDegraded && resp.Degraded == 0 {
			resp.Degraded = degraded(ch.Decision.Degraded)
		}
		if ch.Limit.Shadow || ch.Limit.Kind == limiter.KindUnlimited {
			continue
		}
		counted = true
		reset = max(reset, ch.Decision.ResetAfter)
		if ch.Limit.AnyOf {
			alternatives = true
			anyOf = max(anyOf, ch.Decision.Remaining)
		} else {
			remaining = min(remaining, ch.Decision.Remaining)
		}
	}
	if alternatives {
		remaining = min(remaining, anyOf)
	}
	if counted {
		resp.Remaining, resp.ResetAfter = &remaining, durationpb.New(reset)
	}
}

// longest returns the longest wait that an enforced limit asks for.
func longest(charges []limiter.Charge) (wait time.Duration) {
	for i := range charges {
		if !charges[i].Limit.Shadow {
			wait = max(wait, charges[i].Decision.Wait)
		}
	}
	return wait
}

func result(ch *limiter.Charge) *headgatev1.LimitResult {
	l, d := ch.Limit, &ch.Decision
	r := &headgatev1.LimitResult{
		Name:       l.Name,
		Kind:       kind(l.Kind),
		Verdict:    verdict(d.Verdict),
		Shadow:     l.Shadow,
		Amount:     l.Amount,
		Remaining:  d.Remaining,
		ResetAfter: durationpb.New(d.ResetAfter),
		Degraded:   degraded(d.Degraded),
	}
	if d.Wait > 0 {
		r.Wait = durationpb.New(d.Wait)
	}
	if l.MaxWait > 0 {
		r.MaxWait = durationpb.New(l.MaxWait)
	}
	if d.Verdict == limiter.Denied {
		r.RetryAfter = retryAfter(d)
	}
	if l.Period > 0 {
		r.Period = durationpb.New(l.Period)
	}
	if l.Kind == limiter.KindRate {
		r.Burst = l.Burst
		if r.Burst == 0 {
			r.Burst = l.Amount
		}
	}
	return r
}

func explanation(s *policy.Snapshot, ch *limiter.Charge) *headgatev1.Explanation {
	rule := s.Rule(ch.Limit)
	return &headgatev1.Explanation{
		KeyFingerprint: ch.Key.Fingerprint(),
		File:           rule.File,
		Line:           uint32(rule.Line),
		Selector:       rule.Selector,
		Unit:           ch.Limit.Unit(),
		Cost:           ch.Cost,
	}
}

// retryAfter returns nil if waiting doesn't help.
func retryAfter(d *limiter.Decision) *durationpb.Duration {
	if d.RetryAfter == limiter.Never {
		return nil
	}
	return durationpb.New(d.RetryAfter)
}
