package rpc_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
)

// A tally counts decided requests.
type tally struct{ n atomic.Int64 }

func (a *tally) Observe(limiter.Instant, *api.Exchange) { a.n.Add(1) }

// Clients that follow GOAWAY lose nothing: every request that was decided has
// its answer, and none fails.
func TestDrainUnderLoadLosesNothing(t *testing.T) {
	const clients, inFlight = 4, 8
	var decided tally
	watch := func(u *setup) { u.watch = &decided }
	old, oldAddr := start(t, watch)
	_, newAddr := start(t, watch)

	stop := make(chan struct{})
	var answered, failed atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		nodes := manual.NewBuilderWithScheme("nodes")
		nodes.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: oldAddr}, {Addr: newAddr}}})
		cc := dial(t, "nodes:///", grpc.WithResolvers(nodes))
		limits, decision := rlsv3.NewRateLimitServiceClient(cc), headgatev1.NewDecisionServiceClient(cc)
		for worker := range inFlight {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					var err error
					if worker%2 == 0 {
						_, err = limits.ShouldRateLimit(context.Background(), rateLimitRequest("shop", "remote_address", "a"))
					} else {
						_, err = decision.Check(context.Background(), checkRequest("shop", "remote_address", "a"))
					}
					if err != nil {
						failed.Add(1)
						t.Errorf("a call failed: %v", err)
						return
					}
					answered.Add(1)
				}
			})
		}
	}
	eventually(t, func() bool { return answered.Load() > 1000 })
	before := decided.n.Load()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := old.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	after := answered.Load()
	eventually(t, func() bool { return answered.Load() > after+1000 })
	close(stop)
	wg.Wait()
	if failed.Load() > 0 || decided.n.Load() != answered.Load() {
		t.Fatalf("%d decided (%d before the drain), %d answered, %d failed", decided.n.Load(), before, answered.Load(), failed.Load())
	}
	if n := old.Stats().Front.Connections; n != 0 {
		t.Errorf("%d connections are still open", n)
	}
}

// Health watchers are told before the drain, and don't hold it up; until it
// begins, the server serves.
func TestDrainEndsHealthWatches(t *testing.T) {
	s, addr := start(t, nil)
	c := connect(t, addr)
	h := healthv1.NewHealthClient(c.cc)
	watch, err := h.Watch(brief(t), &healthv1.HealthCheckRequest{Service: "ratelimit"})
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := watch.Recv(); err != nil || resp.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", resp, err)
	}
	s.SetServing(false)
	if resp, err := watch.Recv(); err != nil || resp.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Fatalf("got %v, %v", resp, err)
	}
	// It still serves, for those that do not know yet.
	if _, err := c.limits.ShouldRateLimit(brief(t), rateLimitRequest("shop", "user", "u")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Drain(brief(t)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the drain took %v", took)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}
}

// A request that is not decided in time does not hold a drain for ever.
func TestDrainEndsWithItsContext(t *testing.T) {
	var asked atomic.Bool
	s, addr := start(t, func(u *setup) {
		u.config.DecideTimeout = time.Minute
		u.decider = deciderFunc(func(limiter.Instant, *limiter.Call) bool { asked.Store(true); return false })
	})
	c := connect(t, addr)
	failed := make(chan error, 1)
	go func() {
		_, err := c.limits.ShouldRateLimit(context.Background(), rateLimitRequest("shop", "user", "u"))
		failed <- err
	}()
	eventually(t, asked.Load)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Drain(ctx); err == nil {
		t.Error("the drain says that nothing was cut")
	}
	if err := <-failed; err == nil {
		t.Error("the request has an answer")
	}
}

// A request that is with the Decider when the drain begins gets its answer.
func TestDrainWaitsForWhatIsBeingDecided(t *testing.T) {
	held := make(chan *limiter.Call, 1)
	s, addr := start(t, func(u *setup) {
		u.config.DecideTimeout = 10 * time.Second
		u.decider = deciderFunc(func(_ limiter.Instant, c *limiter.Call) bool { held <- c; return false })
	})
	c := connect(t, addr)
	answer := make(chan error, 1)
	go func() {
		_, err := c.limits.ShouldRateLimit(context.Background(), rateLimitRequest("shop", "user", "u"))
		answer <- err
	}()
	call := <-held
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(brief(t)) }()
	select {
	case err := <-drained:
		t.Fatalf("the drain ended before its request: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	allow(call)
	call.Finish()
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}
