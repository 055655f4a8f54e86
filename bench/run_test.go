package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestWhatIsReportedIsWhatTheServerAnswered(t *testing.T) {
	for _, p := range []Protocol{RLS, Native, Batch} {
		t.Run(string(p), func(t *testing.T) {
			f := &fake{answer: func(_ context.Context, value string) (bool, error) {
				return strings.HasSuffix(value, "7"), nil
			}}
			c := small(start(t, f))
			c.Protocol, c.Batch = p, 10
			r := mustRun(t, c)
			checkClean(t, r)
			if r.Verdicts.OK != uint64(f.ok.Load()) || r.Verdicts.OverLimit != uint64(f.over.Load()) {
				t.Errorf("reported %+v, the server answered %d and %d", r.Verdicts, f.ok.Load(), f.over.Load())
			}
			if r.Verdicts.OverLimit == 0 {
				t.Error("nothing was over limit")
			}
			if sum := r.Verdicts.OK + r.Verdicts.OverLimit; sum != r.Requests*uint64(r.Batch) {
				t.Errorf("%d verdicts of %d requests with %d checks", sum, r.Requests, r.Batch)
			}
			for v := range f.values {
				if len(v) != 2 || v < "00" || v > "99" {
					t.Errorf("the server was asked for key %q", v)
				}
			}
			if len(f.values) < 80 {
				t.Errorf("the server saw only %d of 100 keys", len(f.values))
			}
			if top := f.top.Load(); top > int64(c.Connections*c.InFlight) {
				t.Errorf("%d requests at once", top)
			}
			l := r.LatencyNanoseconds
			if l.P50 <= 0 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max {
				t.Errorf("latencies %+v", l)
			}
		})
	}
}

func TestTheWarmUpIsNotCounted(t *testing.T) {
	f := &fake{}
	c := small(start(t, f))
	c.Warmup = 300 * time.Millisecond
	c.Rate = 1000
	r := mustRun(t, c)
	checkClean(t, r)
	if all := f.ok.Load(); r.Requests != 300 || all != 600 {
		t.Errorf("reported %d requests of %d, want 300 of 600", r.Requests, all)
	}
}

func TestErrorsAreCountedByCode(t *testing.T) {
	f := &fake{answer: func(_ context.Context, value string) (bool, error) {
		switch value[1] {
		case '1':
			return false, status.Error(codes.ResourceExhausted, "no")
		case '2':
			return false, status.Error(codes.Canceled, "no")
		}
		return false, nil
	}}
	c := small(start(t, f))
	r := mustRun(t, c)
	exhausted, canceled := r.Errors["RESOURCE_EXHAUSTED"], r.Errors["CANCELLED"]
	if exhausted == 0 || canceled == 0 || exhausted+canceled != uint64(f.failed.Load()) || len(r.Errors) != 2 {
		t.Errorf("errors %v, the server failed %d", r.Errors, f.failed.Load())
	}
	if r.Verdicts.OK != uint64(f.ok.Load()) || len(r.TransportErrors) > 0 {
		t.Errorf("verdicts %+v, transport errors %v", r.Verdicts, r.TransportErrors)
	}
}

func TestItemsOfABatchFailOneByOne(t *testing.T) {
	f := &fake{answer: func(_ context.Context, value string) (bool, error) {
		if value[1] == '1' {
			return false, errors.New("no")
		}
		return false, nil
	}}
	c := small(start(t, f))
	c.Protocol, c.Batch = Batch, 20
	r := mustRun(t, c)
	if n := r.Errors["NOT_FOUND"]; n == 0 || n != uint64(f.failed.Load()) || r.Verdicts.OK != uint64(f.ok.Load()) {
		t.Errorf("errors %v, verdicts %+v; the server: %d and %d", r.Errors, r.Verdicts, f.failed.Load(), f.ok.Load())
	}
}

func TestABatchWithoutAllItemsIsNoAnswer(t *testing.T) {
	c := small(start(t, &fake{short: true}))
	c.Protocol, c.Batch = Batch, 20
	r := mustRun(t, c)
	if n := r.TransportErrors["bad_response"]; n == 0 || n != 20*r.Requests || r.Verdicts.OK != 0 {
		t.Errorf("%d requests, transport errors %v, verdicts %+v", r.Requests, r.TransportErrors, r.Verdicts)
	}
}

func TestAGracefulStopUnderLoadLosesNothing(t *testing.T) {
	p := &port{Listener: listen(t)}
	f := &fake{}
	var wg sync.WaitGroup
	replace := func() *grpc.Server {
		s, d := newServer(f), p.next()
		wg.Go(func() { serve(t, s, d) })
		return s
	}
	s := replace()
	var forward sync.WaitGroup
	forward.Go(p.forward)
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				s.Stop()
				return
			case <-time.After(60 * time.Millisecond):
				old := s
				s = replace()
				old.GracefulStop()
			}
		}
	})
	c := small(p.Addr().String())
	c.Connections, c.InFlight, c.Duration = 4, 16, 500*time.Millisecond
	r := mustRun(t, c)
	close(stop)
	wg.Wait()
	p.Close()
	forward.Wait()
	checkClean(t, r)
	if r.GoAways == 0 || r.Reconnects == 0 {
		t.Errorf("%d GOAWAYs and %d reconnects, want several", r.GoAways, r.Reconnects)
	}
	if r.Verdicts.OK != uint64(f.ok.Load()) {
		t.Errorf("%d verdicts, the server gave %d", r.Verdicts.OK, f.ok.Load())
	}
}

func TestMaxConcurrentStreamsIsRespected(t *testing.T) {
	f := &fake{answer: func(context.Context, string) (bool, error) {
		time.Sleep(time.Millisecond)
		return false, nil
	}}
	c := small(start(t, f, grpc.MaxConcurrentStreams(3)))
	c.Connections, c.InFlight = 1, 50
	r := mustRun(t, c)
	checkClean(t, r)
	if top := f.top.Load(); top != 3 {
		t.Errorf("%d requests at once, want 3", top)
	}
}

func TestAServerThatDiesIsCountedAndDoesNotHang(t *testing.T) {
	var asked atomic.Int64
	enough := make(chan struct{})
	f := &fake{answer: func(ctx context.Context, _ string) (bool, error) {
		if asked.Add(1) == 50 {
			close(enough)
		}
		time.Sleep(time.Millisecond)
		return false, ctx.Err()
	}}
	l := listen(t)
	s := newServer(f)
	var wg sync.WaitGroup
	wg.Go(func() { serve(t, s, l) })
	wg.Go(func() { <-enough; s.Stop() })
	c := small(l.Addr().String())
	began := time.Now()
	r := mustRun(t, c)
	wg.Wait()
	if took := time.Since(began); took > c.Duration+c.DrainTimeout {
		t.Errorf("took %v", took)
	}
	if r.TransportErrors["connection_lost"] == 0 || r.TransportErrors["connect"] == 0 {
		t.Errorf("transport errors %v", r.TransportErrors)
	}
	if r.Verdicts.OK == 0 || len(r.Warnings) == 0 {
		t.Errorf("verdicts %+v, warnings %v", r.Verdicts, r.Warnings)
	}
}

func TestATargetThatIsNotThereIsAnError(t *testing.T) {
	l := listen(t)
	l.Close()
	_, err := Run(t.Context(), small(l.Addr().String()), nil)
	if !errors.Is(err, ErrConnect) {
		t.Errorf("err = %v, want ErrConnect", err)
	}
}

func TestATargetThatSaysNothingIsAnErrorInTime(t *testing.T) {
	l := listen(t) // the kernel accepts
	c := small(l.Addr().String())
	c.ConnectTimeout = 50 * time.Millisecond
	within(t, 10*time.Second, func() {
		if _, err := Run(t.Context(), c, nil); !errors.Is(err, ErrConnect) {
			t.Errorf("err = %v, want ErrConnect", err)
		}
	})
}

func TestRequestsThatAreNeverAnsweredTimeOut(t *testing.T) {
	release := make(chan struct{})
	f := &fake{answer: func(context.Context, string) (bool, error) { <-release; return false, nil }}
	addr := start(t, f)
	t.Cleanup(func() { close(release) }) // runs first
	c := small(addr)
	c.DrainTimeout = 50 * time.Millisecond
	r := mustRun(t, c)
	if n := r.TransportErrors["timeout"]; n != 8 || r.Requests != 8 || len(r.Warnings) == 0 {
		t.Errorf("%d of %d requests timed out, want 8 of 8; warnings %v", n, r.Requests, r.Warnings)
	}
}

// A server that stops for a while is asked by few requests then, if the client
// waits for answers. That must not make its latencies look good.
func TestAnOpenLoopChargesAStallToAllWhoWouldHaveAsked(t *testing.T) {
	const stall = 400 * time.Millisecond
	var began atomic.Int64
	f := &fake{answer: func(context.Context, string) (bool, error) {
		now := time.Now().UnixNano()
		began.CompareAndSwap(0, now)
		if since := time.Duration(now - began.Load()); since > 200*time.Millisecond && since < 200*time.Millisecond+stall {
			time.Sleep(200*time.Millisecond + stall - since)
		}
		return false, nil
	}}
	c := small(start(t, f))
	c.Connections, c.InFlight, c.Rate, c.Duration = 2, 2, 1000, time.Second
	r := mustRun(t, c)
	checkClean(t, r)
	// A machine that is busy elsewhere may leave the last of them unsent.
	if r.Requests < 950 || r.Requests > 1000 || r.Open == nil || r.Open.Dropped != 0 {
		t.Fatalf("%d requests, %+v; want 1000 and none dropped", r.Requests, r.Open)
	}
	// 400 of 1000 requests were due in the stall and waited between 0 and 400 ms
	// for it. Only four of them were on the way: timed from when they are sent, at
	// most 1 % is slow.
	if p90 := time.Duration(r.LatencyNanoseconds.P90); p90 < 250*time.Millisecond {
		t.Errorf("p90 = %v, want about 300ms", p90)
	}
	// The wait for room is the server's doing, not the generator's.
	// If it were taken for lag, p90 of it would be that of the latencies, 300 ms.
	if lag := time.Duration(r.Open.LagNanoseconds.P90); lag > 200*time.Millisecond {
		t.Errorf("the generator was late by %v at p90", lag)
	}
	if r.Open.BacklogTop < 150 {
		t.Errorf("at most %d requests waited on a connection, want about 200", r.Open.BacklogTop)
	}
}

func TestTheBacklogIsBounded(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	f := &fake{answer: func(context.Context, string) (bool, error) {
		once.Do(func() { time.AfterFunc(200*time.Millisecond, func() { close(release) }) })
		<-release
		return false, nil
	}}
	c := small(start(t, f))
	c.Rate, c.Backlog = 10_000, 100
	r := mustRun(t, c)
	// 2000 are due while nothing is answered and 200 of them have room; a
	// generator that gets little of the machine offers fewer.
	if all := r.Open.Dropped + r.Requests; r.Open.Dropped < 500 || all > 3000 || all < 2500 {
		t.Errorf("%d dropped and %d made, want 3000 in all", r.Open.Dropped, r.Requests)
	}
	if !strings.Contains(strings.Join(r.Warnings, "\n"), "never sent") {
		t.Errorf("no warning of it in %q", r.Warnings)
	}
}

func TestAnInterruptedRunReportsWhatItHas(t *testing.T) {
	c := small(start(t, &fake{}))
	c.Duration = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	within(t, 10*time.Second, func() {
		r, err := Run(ctx, c, nil)
		if err != nil || !r.Interrupted || r.MeasuredSeconds > 10 {
			t.Errorf("report %+v, %v", r, err)
			return
		}
		checkClean(t, r)
		if len(r.Warnings) > 0 {
			t.Errorf("warnings %q", r.Warnings)
		}
	})
}

func TestARunThatIsOverBeforeItMeasuresIsAnError(t *testing.T) {
	c := small(start(t, &fake{}))
	c.Warmup = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	within(t, 10*time.Second, func() {
		if _, err := Run(ctx, c, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestProgressIsALineASecond(t *testing.T) {
	c := small(start(t, &fake{}))
	c.Duration = 2100 * time.Millisecond
	var b bytes.Buffer
	within(t, 30*time.Second, func() {
		if _, err := Run(t.Context(), c, &b); err != nil {
			t.Error(err)
		}
	})
	if n := strings.Count(b.String(), "\n"); n != 2 || !strings.Contains(b.String(), "decisions/s") {
		t.Errorf("%d lines: %s", n, b.String())
	}
}

func TestTheServersProcessIsMeasured(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	c := small(start(t, &fake{}))
	c.ServerPID = os.Getpid()
	r := mustRun(t, c)
	checkClean(t, r)
	if r.Server == nil || r.Server.CPUPerMillion <= 0 || r.Server.RSSBytes < 1<<20 || r.Server.RSSMaxBytes < r.Server.RSSBytes {
		t.Errorf("server %+v", r.Server)
	}
	c.ServerPID = 1<<31 - 1
	if _, err := Run(t.Context(), c, nil); err == nil {
		t.Error("no error for a process that does not exist")
	}
}

func TestCompareAlternates(t *testing.T) {
	var mu sync.Mutex
	var order []string
	server := func(name string, delay time.Duration) string {
		return start(t, &fake{answer: func(context.Context, string) (bool, error) {
			mu.Lock()
			if n := len(order); n == 0 || order[n-1] != name {
				order = append(order, name)
			}
			mu.Unlock()
			time.Sleep(delay)
			return false, nil
		}})
	}
	c := small(server("a", 0))
	c.Versus, c.Rounds = server("b", 50*time.Millisecond), 3
	c.Duration = 150 * time.Millisecond
	var progress bytes.Buffer
	var cmp *Comparison
	var err error
	within(t, 30*time.Second, func() { cmp, err = Compare(t.Context(), c, &progress) })
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(order); got != "[a b a b]" { // a b, b a, a b
		t.Errorf("order %v", got)
	}
	if len(cmp.Rounds) != 3 || cmp.Throughput.Median <= 1 || cmp.P50.Median >= 1 || cmp.ServerCPU.Median != 0 {
		t.Errorf("throughput %+v, p50 %+v, CPU %+v", cmp.Throughput, cmp.P50, cmp.ServerCPU)
	}
	for i := range cmp.Rounds {
		if ra := cmp.Rounds[i].Throughput; ra < cmp.Throughput.Min || ra > cmp.Throughput.Max {
			t.Errorf("round %d: ratio %v outside %+v", i, ra, cmp.Throughput)
		}
	}
	c.Versus = ""
	if _, err := Compare(t.Context(), c, nil); err == nil {
		t.Error("no error without another target")
	}
}

func TestMedianOfAnEvenNumberOfRounds(t *testing.T) {
	c := &Comparison{Rounds: []Round{{Throughput: 4}, {Throughput: 1}, {Throughput: 2}, {Throughput: 8}}}
	if s := c.spread(func(r *Round) float64 { return r.Throughput }); s != (Spread{Median: 3, Min: 1, Max: 8}) {
		t.Errorf("got %+v", s)
	}
}

// Many bytes in flight: the readers leave writing to the senders.
func TestLargeBodiesFlow(t *testing.T) {
	f := &fake{}
	c := small(start(t, f))
	c.Protocol, c.Batch, c.InFlight = Batch, 1000, 16
	r := mustRun(t, c)
	checkClean(t, r)
	if r.Verdicts.OK != uint64(f.ok.Load()) {
		t.Errorf("%d verdicts, the server gave %d", r.Verdicts.OK, f.ok.Load())
	}
}

func TestManyConnections(t *testing.T) {
	f := &fake{}
	c := small(start(t, f))
	c.Connections, c.InFlight, c.Rate = 200, 1, 3000
	r := mustRun(t, c)
	checkClean(t, r)
	if r.Requests != 900 || f.ok.Load() != 900 {
		t.Errorf("%d requests, the server saw %d, want 900", r.Requests, f.ok.Load())
	}
}
