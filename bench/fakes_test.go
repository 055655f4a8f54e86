package bench

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// within fails the test, with all goroutines' stacks, if f takes longer than d.
func within(t *testing.T, d time.Duration, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(d):
		panic("not done within " + d.String())
	}
}

// small returns a Config for a run of a fraction of a second.
func small(target string) Config {
	c := Default()
	c.Target = target
	c.Keys = 100
	c.Connections, c.InFlight = 2, 4
	c.Warmup, c.Duration = 0, 300*time.Millisecond
	c.ConnectTimeout, c.DrainTimeout = 5*time.Second, 5*time.Second
	return c
}

// mustRun runs c, which has half a minute.
func mustRun(t *testing.T, c Config) *Report {
	t.Helper()
	var r *Report
	var err error
	within(t, 30*time.Second, func() { r, err = Run(t.Context(), c, nil) })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkClean fails the test if anything but verdicts came.
func checkClean(t *testing.T, r *Report) {
	t.Helper()
	if len(r.Errors)+len(r.TransportErrors) > 0 || r.Verdicts.Unknown > 0 {
		t.Errorf("errors %v, transport errors %v, %d unknown verdicts; %v", r.Errors, r.TransportErrors, r.Verdicts.Unknown, r.Warnings)
	}
	if r.Requests == 0 {
		t.Error("no request was made")
	}
}

// A fake is a grpc-go server of both protocols that counts what it is asked.
type fake struct {
	rls.UnimplementedRateLimitServiceServer
	headgatev1.UnimplementedDecisionServiceServer

	// answer decides a call for the value of its first entry.
	answer func(ctx context.Context, value string) (over bool, err error)
	short  bool // the first check of a batch or a message is not answered
	twice  bool // some checks of a message are answered twice
	// streamEnd is called with each message of a stream, which ends with its error.
	streamEnd func() error

	ok, over, failed atomic.Int64
	running, top     atomic.Int64
	mu               sync.Mutex
	values           map[string]int
}

func (f *fake) decide(ctx context.Context, value string) (bool, error) {
	n := f.running.Add(1)
	defer f.running.Add(-1)
	for top := f.top.Load(); n > top && !f.top.CompareAndSwap(top, n); top = f.top.Load() {
	}
	f.mu.Lock()
	if f.values == nil {
		f.values = map[string]int{}
	}
	f.values[value]++
	f.mu.Unlock()
	var over bool
	var err error
	if f.answer != nil {
		over, err = f.answer(ctx, value)
	}
	switch {
	case err != nil:
		f.failed.Add(1)
	case over:
		f.over.Add(1)
	default:
		f.ok.Add(1)
	}
	return over, err
}

func (f *fake) ShouldRateLimit(ctx context.Context, r *rls.RateLimitRequest) (*rls.RateLimitResponse, error) {
	over, err := f.decide(ctx, r.Descriptors[0].Entries[0].Value)
	if err != nil {
		return nil, err
	}
	code := rls.RateLimitResponse_OK
	if over {
		code = rls.RateLimitResponse_OVER_LIMIT
	}
	return &rls.RateLimitResponse{OverallCode: code}, nil
}

func (f *fake) Check(ctx context.Context, r *headgatev1.CheckRequest) (*headgatev1.CheckResponse, error) {
	over, err := f.decide(ctx, r.Attributes[0].Value)
	if err != nil {
		return nil, err
	}
	v := headgatev1.Verdict_VERDICT_ALLOWED
	if over {
		v = headgatev1.Verdict_VERDICT_DENIED
	}
	return &headgatev1.CheckResponse{Verdict: v}, nil
}

func (f *fake) CheckBatch(ctx context.Context, r *headgatev1.CheckBatchRequest) (*headgatev1.CheckBatchResponse, error) {
	resp := &headgatev1.CheckBatchResponse{}
	if f.short {
		r.Checks = r.Checks[1:]
	}
	for _, c := range r.Checks {
		item := &headgatev1.CheckBatchItem{}
		if one, err := f.Check(ctx, c); err != nil {
			item.Outcome = &headgatev1.CheckBatchItem_Error{Error: &headgatev1.CheckError{Code: 5}}
		} else {
			item.Outcome = &headgatev1.CheckBatchItem_Response{Response: one}
		}
		resp.Items = append(resp.Items, item)
	}
	return resp, nil
}

func newServer(f *fake, opts ...grpc.ServerOption) *grpc.Server {
	s := grpc.NewServer(opts...)
	rls.RegisterRateLimitServiceServer(s, f)
	headgatev1.RegisterDecisionServiceServer(s, f)
	return s
}

// listen returns a listener on loopback, closed when the test ends.
func listen(t *testing.T) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// start serves f on a grpc-go server and returns its address.
func start(t *testing.T, f *fake, opts ...grpc.ServerOption) string {
	t.Helper()
	l := listen(t)
	s := newServer(f, opts...)
	var wg sync.WaitGroup
	wg.Go(func() { serve(t, s, l) })
	t.Cleanup(func() { s.Stop(); wg.Wait() })
	return l.Addr().String()
}

// serve serves l until s is stopped.
func serve(t *testing.T, s *grpc.Server, l net.Listener) {
	t.Helper()
	if err := s.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		t.Error(err)
	}
}

// A port hands its connections to one server after the other, as a service's
// address does while its instances are replaced.
type port struct {
	net.Listener
	mu      sync.Mutex
	current *door
}

// A door is the listener of one of the servers.
type door struct {
	addr  net.Addr
	conns chan net.Conn
	gone  chan struct{}
	once  sync.Once
}

func (d *door) Addr() net.Addr { return d.addr }
func (d *door) Close() error   { d.once.Do(func() { close(d.gone) }); return nil }

func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.conns:
		return c, nil
	case <-d.gone:
		return nil, net.ErrClosed
	}
}

// next returns the listener of the next server, which gets all connections from
// now on.
func (p *port) next() *door {
	d := &door{addr: p.Addr(), conns: make(chan net.Conn), gone: make(chan struct{})}
	p.mu.Lock()
	p.current = d
	p.mu.Unlock()
	return d
}

// forward accepts until the listener is closed.
func (p *port) forward() {
	for {
		c, err := p.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		d := p.current
		p.mu.Unlock()
		select {
		case d.conns <- c:
		case <-d.gone:
			c.Close()
		}
	}
}
