package rpc_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

const exports = `
domain: shop
limits:
  - {name: exports, by: [tenant], concurrency: 2, lifetime: 30s}
  - {name: tries, by: [tenant], window: 100/h}
  - {name: watched, by: [tenant], concurrency: 1, shadow: true}
`

func tenant() []*headgatev1.Attribute {
	return []*headgatev1.Attribute{{Key: "tenant", Value: "a"}}
}

func acquire(id string) *headgatev1.AcquireRequest {
	return &headgatev1.AcquireRequest{Domain: "shop", Attributes: tenant(), Id: []byte(id)}
}

func TestSlotsAreAcquiredRenewedAndReleased(t *testing.T) {
	_, addr := start(t, func(u *setup) { u.policy = exports })
	c := connect(t, addr).decision
	take := func(id string) *headgatev1.CheckResponse {
		t.Helper()
		resp, err := c.Acquire(brief(t), acquire(id))
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	renew := func(id string) *headgatev1.RenewResponse {
		t.Helper()
		resp, err := c.Renew(brief(t), &headgatev1.RenewRequest{Domain: "shop", Attributes: tenant(), Id: []byte(id)})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	release := func(id string) *headgatev1.ReleaseResponse {
		t.Helper()
		resp, err := c.Release(brief(t), &headgatev1.ReleaseRequest{Domain: "shop", Attributes: tenant(), Id: []byte(id)})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}

	one := take("1")
	l := one.GetLimits()[0]
	if one.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || l.GetKind() != headgatev1.LimitKind_LIMIT_KIND_CONCURRENCY ||
		l.GetAmount() != 2 || l.GetRemaining() != 1 || l.GetPeriod().AsDuration() != 30*time.Second {
		t.Fatalf("first: %v", one)
	}
	if again := take("1"); again.GetLimits()[0].GetRemaining() != 1 {
		t.Fatalf("the same id again: %v", again)
	}
	if take("2").GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
		t.Fatal("the second id is denied")
	}
	denied := take("3")
	if denied.GetVerdict() != headgatev1.Verdict_VERDICT_DENIED || denied.GetDeniedBy() != "exports" || denied.GetRetryAfter().AsDuration() > 30*time.Second || denied.GetRetryAfter().AsDuration() == 0 {
		t.Fatalf("the third id: %v", denied)
	}
	// All or nothing: what was denied used nothing, of the window neither.
	if left := denied.GetLimits()[1].GetRemaining(); left != 97 {
		t.Errorf("%d tries are left, want 97", left)
	}
	// The second one did not fit the shadow limit, which says so and nothing more.
	held := renew("2")
	if !held.GetHeld() || len(held.GetSlots()) != 2 || !held.GetSlots()[0].GetHeld() || held.GetSlots()[1].GetHeld() || !held.GetSlots()[1].GetShadow() {
		t.Errorf("renewed: %v", held)
	}
	if lost := renew("3"); lost.GetHeld() || lost.GetSlots()[0].GetName() != "exports" || lost.GetSlots()[0].GetHeld() {
		t.Errorf("renewed without a slot: %v", lost)
	}
	if r := release("3"); r.GetSlots()[0].GetRemaining() != 0 {
		t.Errorf("an unknown release changed something: %v", r)
	}
	if r := release("1"); r.GetSlots()[0].GetRemaining() != 1 || r.GetSlots()[0].GetHeld() || r.GetPolicyVersion() == 0 {
		t.Errorf("released: %v", r)
	}
	if take("3").GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
		t.Error("a released slot is not free")
	}
}

func TestALifetimeAboveTheLimitsIsRefused(t *testing.T) {
	_, addr := start(t, func(u *setup) { u.policy = exports })
	c := connect(t, addr).decision
	req := acquire("1")
	req.Lifetime = durationpb.New(31 * time.Second)
	_, err := c.Acquire(brief(t), req)
	if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "lifetime: 31s: at most 30s, the shortest lifetime of the limits" {
		t.Errorf("got %v", err)
	}
	req.Lifetime = durationpb.New(50 * time.Millisecond)
	if resp, err := c.Acquire(brief(t), req); err != nil || resp.GetLimits()[0].GetResetAfter().AsDuration() > 50*time.Millisecond {
		t.Fatal(resp, err)
	}
	eventually(t, func() bool { // until it is lost
		resp, err := c.Peek(brief(t), checkRequest("shop", "tenant", "a"))
		return err == nil && resp.GetLimits()[0].GetRemaining() == 2
	})
	resp, err := c.Renew(brief(t), &headgatev1.RenewRequest{Domain: "shop", Attributes: tenant(), Id: []byte("1")})
	if err != nil || resp.GetHeld() {
		t.Errorf("what is lost was renewed: %v, %v", resp, err)
	}
}

func TestEnvoysSlotsAreAnonymousAndGivenBack(t *testing.T) {
	_, addr := start(t, func(u *setup) { u.policy = exports })
	c := connect(t, addr)
	ask := func(back bool) *rlsv3.RateLimitResponse {
		t.Helper()
		req := rateLimitRequest("shop", "tenant", "a")
		if back {
			req.GetDescriptors()[0].IsNegativeHits = true
			req.GetDescriptors()[0].HitsAddend = wrapperspb.UInt64(1)
		}
		resp, err := c.limits.ShouldRateLimit(brief(t), req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	for i, want := range []rlsv3.RateLimitResponse_Code{rlsv3.RateLimitResponse_OK, rlsv3.RateLimitResponse_OK, rlsv3.RateLimitResponse_OVER_LIMIT} {
		resp := ask(false)
		if resp.GetOverallCode() != want {
			t.Fatalf("call %d: %v", i, resp)
		}
		if l := resp.GetStatuses()[0].GetCurrentLimit(); l.GetRequestsPerUnit() != 2 || l.GetUnit() != rlsv3.RateLimitResponse_RateLimit_UNKNOWN || l.GetName() != "exports" {
			t.Errorf("call %d: current_limit is %v", i, l)
		}
	}
	if resp := ask(true); resp.GetOverallCode() != rlsv3.RateLimitResponse_OK {
		t.Fatal(resp)
	}
	if resp := ask(false); resp.GetOverallCode() != rlsv3.RateLimitResponse_OK {
		t.Errorf("after a give-back: %v", resp)
	}
}

func TestManyClientsNeverHoldMoreThanTheAmount(t *testing.T) {
	_, addr := start(t, func(u *setup) {
		u.policy = "domain: shop\nlimits:\n  - {name: exports, by: [tenant], concurrency: 3}\n"
	})
	var holding, most atomic.Int64
	var wg sync.WaitGroup
	for client := range 8 {
		c := connect(t, addr).decision
		wg.Go(func() {
			for i := range 50 {
				id := fmt.Sprint(client, ":", i)
				resp, err := c.Acquire(context.Background(), acquire(id))
				if err != nil {
					t.Error(err)
					return
				}
				if resp.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
					continue
				}
				n := holding.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				holding.Add(-1)
				if _, err := c.Release(context.Background(), &headgatev1.ReleaseRequest{Domain: "shop", Attributes: tenant(), Id: []byte(id)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n < 1 || n > 3 {
		t.Errorf("%d held slots at once, of 3", n)
	}
}
