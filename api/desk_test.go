package api_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDeskDecidesAtOnceWhatTheDeciderDecidesAtOnce(t *testing.T) {
	var deadline, at limiter.Instant
	g := gate(t, deciderFunc(func(now limiter.Instant, c *limiter.Call) bool {
		at, deadline = now, c.Deadline
		decide(c, limiter.Decision{Verdict: limiter.Denied, RetryAfter: 1})
		return true
	}))
	desk := api.NewDesk(g, wallClock, 15*time.Millisecond)
	x := desk.Open()
	ask(x, "shop", "user", "u")
	if y := desk.Decide(t.Context(), x); y != x {
		t.Fatal("x was traded for another exchange")
	}
	if v, by := x.Verdict(); v != limiter.Denied || by != 0 {
		t.Fatalf("got %v by %d", v, by)
	}
	if deadline.Sub(at) != 15*time.Millisecond {
		t.Fatalf("deadline is %v after now", deadline.Sub(at))
	}
	desk.Close(x)
}

func TestDeskLendsEmptyExchanges(t *testing.T) {
	desk := api.NewDesk(gate(t, newKeeper()), wallClock, time.Second)
	stripes := map[uint32]bool{}
	for range 100 {
		x := desk.Open()
		if len(x.Req.Domain)+len(x.Req.Descriptors())+len(x.Call.Charges())+len(x.In)+len(x.Out) > 0 || x.Snapshot != nil || x.Outcome != 0 {
			t.Fatalf("got %+v", x)
		}
		stripes[x.Stripe] = true
		ask(x, "shop", "user", "u")
		x.Call.Add(limiter.Charge{})
		x.In, x.Out = append(x.In, "in"...), append(x.Out, "out"...)
		x.Outcome = policy.TooManyCharges
		if len(stripes)%2 == 0 { // the others are never given back
			desk.Close(x)
		}
	}
	if len(stripes) < 2 {
		t.Fatal("all exchanges have one stripe")
	}
}

func TestDeskWaitsForADeciderThatTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, w := newKeeper(), &witness{}
		g := gate(t, k)
		g.Observer = w
		desk := api.NewDesk(g, wallClock, 15*time.Millisecond)
		go func() {
			c := <-k.calls
			time.Sleep(10 * time.Millisecond)
			decide(c, limiter.Decision{Verdict: limiter.Allowed, Remaining: 7})
			c.Finish()
		}()
		x := desk.Open()
		ask(x, "shop", "user", "u")
		y := desk.Decide(t.Context(), x)
		if y != x || y.Call.Charges()[0].Decision.Remaining != 7 {
			t.Fatal("got another decision")
		}
		if len(w.seen) != 1 || w.seen[0] != limiter.Allowed {
			t.Fatalf("the observer saw %v", w.seen)
		}
		if desk.Late() != 0 {
			t.Fatal("counted as late")
		}
		desk.Close(y)
	})
}

func TestDeskAnswersByOnUnavailableWhenTheDeciderIsLate(t *testing.T) {
	for _, c := range []struct {
		key    string
		want   limiter.Verdict
		retry  time.Duration
		giving bool
	}{
		{key: "user", want: limiter.Allowed},
		{key: "account", want: limiter.Denied, retry: time.Second},
		{key: "account", want: limiter.Allowed, giving: true},
	} {
		t.Run(fmt.Sprint(c.key, c.giving), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, w := newKeeper(), &witness{}
				g := gate(t, k)
				g.Observer = w
				desk := api.NewDesk(g, wallClock, 15*time.Millisecond)
				x := desk.Open()
				ask(x, "shop", c.key, "u")
				if c.giving {
					x.Req.Descriptors()[0].Op = limiter.OpGiveBack
				}
				start := time.Now()
				y := desk.Decide(t.Context(), x)
				if took := time.Since(start); took != 15*time.Millisecond {
					t.Errorf("took %v", took)
				}
				if y == x {
					t.Fatal("the Decider still has x")
				}
				d := y.Call.Charges()[0].Decision
				if d.Verdict != c.want || d.Degraded != limiter.Unavailable || d.RetryAfter != c.retry {
					t.Errorf("got %+v", d)
				}
				if desk.Late() != 1 || len(w.seen) != 1 || w.seen[0] != c.want {
					t.Errorf("late %d, observed %v", desk.Late(), w.seen)
				}
				// The Decider comes late: nobody minds.
				late := <-k.calls
				decide(late, limiter.Decision{Verdict: limiter.Allowed})
				late.Finish()
				if d := y.Call.Charges()[0].Decision; d.Degraded != limiter.Unavailable {
					t.Error("the late decision reached the answer")
				}
				desk.Close(y)
			})
		})
	}
}

func TestDeskStopsWaitingWhenTheCallerDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desk := api.NewDesk(gate(t, newKeeper()), wallClock, time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		x := desk.Open()
		ask(x, "shop", "user", "u")
		start := time.Now()
		desk.Close(desk.Decide(ctx, x))
		if took := time.Since(start); took != time.Millisecond {
			t.Fatalf("took %v", took)
		}
	})
}

// A Decider that finishes in any order, from other goroutines, some too late,
// and scribbles on what it has: no answer is mixed up. Run it with -race.
func TestDeskKeepsExchangesApart(t *testing.T) {
	const callers, rounds = 8, 200
	k := newKeeper()
	desk := api.NewDesk(gate(t, k), wallClock, 2*time.Millisecond)
	stop := make(chan struct{})
	var deciders sync.WaitGroup
	for range 2 {
		deciders.Go(func() {
			for n := 0; ; n++ {
				var c *limiter.Call
				select {
				case c = <-k.calls:
				case <-stop:
					return
				}
				if n%20 == 0 {
					time.Sleep(3 * time.Millisecond)
				}
				for i := range c.Charges() {
					ch := &c.Charges()[i]
					ch.Decision = limiter.Decision{Verdict: limiter.Allowed, Remaining: ch.Cost}
				}
				c.Finish()
			}
		})
	}
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for n := range rounds {
				cost := uint64(caller*rounds + n + 1)
				x := desk.Open()
				ask(x, "shop", "user", "u")
				x.Req.Descriptors()[0].Cost = cost
				x = desk.Decide(t.Context(), x)
				d := x.Call.Charges()[0].Decision
				if d.Degraded == limiter.NotDegraded && d.Remaining != cost {
					t.Errorf("got the answer of %d, not of %d", d.Remaining, cost)
				}
				desk.Close(x)
			}
		})
	}
	wg.Wait()
	close(stop)
	deciders.Wait()
	if desk.Late() == 0 {
		t.Log("no decision was late in this run")
	}
}
