package api_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
	"github.com/headgate/headgate/policy"
)

const paced = `
domain: shop
limits:
  - {name: turn, by: [user], pace: 100/s, max_wait: 1s}
  - {name: watched, by: [shadow], pace: 1/s, max_wait: 1h, shadow: true}
  - {name: shut, by: [banned], window: 0/s}
`

// pacedDesk returns a desk over a real table whose decisions take 80 ms at most,
// so that a caller can wait 70 ms.
func pacedDesk(t *testing.T, w *witness) *api.Desk {
	t.Helper()
	counters, err := table.New(table.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(counters.Clear)
	s := snapshot(t, paced, 0)
	counters.Install(s.Limits())
	var p atomic.Pointer[policy.Snapshot]
	p.Store(s)
	g := &api.Gate{Policies: &p, Decider: counters}
	if w != nil {
		g.Observer = w
	}
	d := api.NewDesk(g, wallClock, 80*time.Millisecond)
	d.Alarm = alarm
	return d
}

// alarm is internal/clock's.
func alarm(ring func()) (set func(time.Duration), stop func() bool) {
	t := time.AfterFunc(time.Hour, ring)
	t.Stop()
	return func(d time.Duration) { t.Reset(d) }, t.Stop
}

// decideOne decides a call of the attributes and returns what came of it, when.
func decideOne(ctx context.Context, d *api.Desk, kv ...string) (v limiter.Verdict, dec limiter.Decision, took time.Duration) {
	x := d.Open()
	ask(x, "shop", kv...)
	began := time.Now()
	x = d.Decide(ctx, x)
	v, _ = x.Verdict()
	dec, took = x.Call.Charges()[0].Decision, time.Since(began)
	d.Close(x)
	return v, dec, took
}

func TestTheDeskHoldsAnswersUntilTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &witness{}
		d := pacedDesk(t, w)
		type answer struct {
			v    limiter.Verdict
			took time.Duration
		}
		answers := make(chan answer, 10)
		for range 10 {
			go func() {
				v, _, took := decideOne(t.Context(), d, "user", "u")
				answers <- answer{v, took}
			}()
			synctest.Wait() // one after the other has asked, all at one moment
		}
		if n := d.Held(); n != 7 {
			t.Errorf("%d are held, want 7", n)
		}
		left, denied := map[time.Duration]int{}, 0
		for range 10 {
			if a := <-answers; a.v == limiter.Allowed {
				left[a.took]++
			} else if denied++; a.took != 0 {
				t.Errorf("a denial took %v", a.took)
			}
		}
		for i := range 8 { // 0, 10, … 70 ms
			if at := time.Duration(i) * 10 * time.Millisecond; left[at] != 1 {
				t.Errorf("%d left at %v, want 1", left[at], at)
			}
		}
		if denied != 2 || d.Held() != 0 || d.Late() != 0 || len(w.seen) != 10 {
			t.Errorf("%d denied, %d held, %d late, %d observed", denied, d.Held(), d.Late(), len(w.seen))
		}
	})
}

func TestADenialSaysWhenTheWaitIsShortEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pacedDesk(t, nil)
		x := d.Open()
		x.Patient = true
		ask(x, "shop", "user", "u")
		x.Req.Descriptors()[0].Cost = 21 // 0.2 s
		if !d.Begin(d.Now(), x) || x.Call.Wait() != 200*time.Millisecond {
			t.Fatal("a patient caller is told to wait, at once")
		}
		d.Close(x)
		v, dec, _ := decideOne(t.Context(), d, "user", "u")
		if v != limiter.Denied || dec.RetryAfter != 140*time.Millisecond {
			t.Fatalf("%v, retry after %v: want 210 ms of queue less 70 ms of patience", v, dec.RetryAfter)
		}
		time.Sleep(dec.RetryAfter)
		if v, _, took := decideOne(t.Context(), d, "user", "u"); v != limiter.Allowed || took != 70*time.Millisecond {
			t.Fatalf("then %v after %v", v, took)
		}
	})
}

func TestACallersOwnDeadlineBoundsItsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pacedDesk(t, nil)
		decideOne(t.Context(), d, "user", "u")
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Millisecond)
		defer cancel()
		if v, dec, took := decideOne(ctx, d, "user", "u"); v != limiter.Denied || took != 0 || dec.RetryAfter != 3*time.Millisecond {
			t.Errorf("%v after %v, retry after %v: want a denial that says 3ms", v, took, dec.RetryAfter)
		}
		if v, _, took := decideOne(t.Context(), d, "user", "u"); v != limiter.Allowed || took != 10*time.Millisecond {
			t.Errorf("the denial took a turn: %v after %v", v, took)
		}
	})
}

func TestNobodyWaitsForAShadowPaceOrForADenial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pacedDesk(t, nil)
		for range 3 {
			if v, _, took := decideOne(t.Context(), d, "shadow", "s"); v != limiter.Allowed || took != 0 {
				t.Errorf("shadow: %v after %v", v, took)
			}
		}
		for range 3 {
			if v, _, took := decideOne(t.Context(), d, "user", "u", "banned", "b"); v != limiter.Denied || took != 0 {
				t.Errorf("banned: %v after %v", v, took)
			}
		}
		if v, _, took := decideOne(t.Context(), d, "user", "u"); v != limiter.Allowed || took != 0 {
			t.Errorf("a denied call kept its turn: %v after %v", v, took)
		}
	})
}

func TestBeyondHeldMaxNobodyIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pacedDesk(t, nil)
		d.HeldMax = 1
		decideOne(t.Context(), d, "user", "u")
		go decideOne(t.Context(), d, "user", "u")
		synctest.Wait()
		v, dec, took := decideOne(t.Context(), d, "user", "u")
		if v != limiter.Denied || took != 0 || dec.RetryAfter != 20*time.Millisecond || d.Unheld() != 1 {
			t.Errorf("%v after %v, retry after %v, %d beyond the bound", v, took, dec.RetryAfter, d.Unheld())
		}
		if v, _, took := decideOne(t.Context(), d, "user", "other"); v != limiter.Allowed || took != 0 {
			t.Errorf("who need not wait: %v after %v", v, took)
		}
		time.Sleep(20 * time.Millisecond)
		if d.Held() != 0 {
			t.Errorf("%d held", d.Held())
		}
	})
}

// A call that is held is decided: who stops waiting early gets its decision.
func TestWhatIsHeldIsNeverDecidedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pacedDesk(t, nil)
		decideOne(t.Context(), d, "user", "u")
		x := d.Open()
		x.Finished = func(*api.Exchange) { t.Error("finished after it was expired") }
		ask(x, "shop", "user", "u")
		now := d.Now()
		if d.Begin(now, x) {
			t.Fatal("not held")
		}
		y := d.Expire(now, x)
		if y != x || y.Call.Charges()[0].Decision.Degraded != limiter.NotDegraded || d.Held() != 0 || d.Late() != 0 {
			t.Fatalf("got %+v, %d held, %d late", y.Call.Charges()[0].Decision, d.Held(), d.Late())
		}
		d.Close(y)
		time.Sleep(time.Second)

		// Finished in its turn, on the other hand, it can't be expired.
		finished := make(chan *api.Exchange, 1)
		decideOne(t.Context(), d, "user", "v")
		x = d.Open()
		x.Finished = func(x *api.Exchange) { finished <- x }
		ask(x, "shop", "user", "v")
		if now = d.Now(); d.Begin(now, x) {
			t.Fatal("not held")
		}
		x = <-finished
		if took := d.Now().Sub(now); took != 10*time.Millisecond || d.Expire(now, x) != nil {
			t.Errorf("finished after %v", took)
		}
		d.End(now, x)
		d.Close(x)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		decideOne(t.Context(), d, "user", "w")
		if v, dec, took := decideOne(ctx, d, "user", "w"); v != limiter.Allowed || dec.Degraded != limiter.NotDegraded || took != 10*time.Millisecond {
			t.Errorf("a caller that is gone: %v, %+v after %v", v, dec, took)
		}
	})
}

// A Decider that finishes later, as one that asks another node will.
func TestALateDecisionIsHeldToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper()
		var p atomic.Pointer[policy.Snapshot]
		p.Store(snapshot(t, paced, 0))
		d := api.NewDesk(&api.Gate{Policies: &p, Decider: k}, wallClock, 80*time.Millisecond)
		d.Alarm = alarm
		go func() {
			c := <-k.calls
			time.Sleep(10 * time.Millisecond)
			decide(c, limiter.Decision{Verdict: limiter.Allowed, Wait: 20 * time.Millisecond})
			c.Finish()
		}()
		if v, _, took := decideOne(t.Context(), d, "user", "u"); v != limiter.Allowed || took != 30*time.Millisecond || d.Held() != 0 {
			t.Errorf("%v after %v, %d held", v, took, d.Held())
		}
	})
}
