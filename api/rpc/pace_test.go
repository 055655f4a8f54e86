package rpc_test

import (
	"context"
	"testing"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

const turns = "domain: shop\nlimits:\n  - {name: turn, by: [user], pace: 10/s, max_wait: 250ms}\n"

func TestNativeCallersAreToldHowLongToWait(t *testing.T) {
	_, addr := start(t, func(u *setup) { u.policy = turns })
	c := connect(t, addr)
	began := time.Now()
	for i := range 4 {
		resp, err := c.decision.Check(brief(t), checkRequest("shop", "user", "u"))
		if err != nil {
			t.Fatal(err)
		}
		wait, limit := resp.GetWait().AsDuration(), resp.GetLimits()[0]
		if i == 3 {
			if resp.GetVerdict() != headgatev1.Verdict_VERDICT_DENIED || resp.GetRetryAfter() == nil || resp.GetWait() != nil {
				t.Fatalf("the fourth: %v", resp)
			}
			break
		}
		turn := time.Duration(i) * 100 * time.Millisecond
		if resp.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || wait > turn || wait < turn-time.Since(began) || limit.GetWait().AsDuration() != wait {
			t.Fatalf("call %d: %v", i, resp)
		}
		if limit.GetKind() != headgatev1.LimitKind_LIMIT_KIND_PACE || limit.GetMaxWait().AsDuration() != 250*time.Millisecond {
			t.Fatalf("the limit is %v", limit)
		}
	}
}

// Envoy's service, on the fast way: a turn within the time is waited for, one
// beyond it refused, and a drain lets who waits have its answer.
func TestEnvoysCallersAreHeldUntilTheirTurnAlsoByADrain(t *testing.T) {
	s, addr := start(t, func(u *setup) {
		u.policy, u.config.DecideTimeout = turns, 200*time.Millisecond
	})
	limits := connect(t, addr).limits
	began := time.Now()
	type answer struct {
		code rlsv3.RateLimitResponse_Code
		took time.Duration
		err  error
	}
	answers := make(chan answer, 3)
	for range 3 { // at 0, 100 and, refused, 200 ms of 175
		go func() {
			resp, err := limits.ShouldRateLimit(brief(t), rateLimitRequest("shop", "user", "u"))
			answers <- answer{resp.GetOverallCode(), time.Since(began), err}
		}()
	}
	for range 2 {
		a := <-answers
		if a.err != nil || a.took > 90*time.Millisecond {
			t.Fatalf("an answer that needs no wait: %+v", a)
		}
	}
	if n := s.Stats().Held; n != 1 {
		t.Errorf("%d are held, want 1", n)
	}
	if err := s.Drain(brief(t)); err != nil {
		t.Fatal(err)
	}
	if a := <-answers; a.err != nil || a.code != rlsv3.RateLimitResponse_OK || a.took < 95*time.Millisecond {
		t.Errorf("who was held: %+v", a)
	}
	if st := s.Stats(); st.Held != 0 || st.Late != 0 {
		t.Errorf("held %d, late %d", st.Held, st.Late)
	}
}

func TestAClientsTimeoutBoundsWhatItIsHeld(t *testing.T) {
	_, addr := start(t, func(u *setup) {
		u.policy, u.config.DecideTimeout = turns, time.Second
	})
	limits := connect(t, addr).limits
	for i, want := range []rlsv3.RateLimitResponse_Code{rlsv3.RateLimitResponse_OK, rlsv3.RateLimitResponse_OVER_LIMIT} {
		ctx, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
		resp, err := limits.ShouldRateLimit(ctx, rateLimitRequest("shop", "user", "u"))
		cancel()
		if err != nil || resp.GetOverallCode() != want {
			t.Fatalf("call %d: %v, %v", i, resp.GetOverallCode(), err)
		}
	}
}
