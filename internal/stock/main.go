package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"syscall"

	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that passThrough wraps
	"google.golang.org/grpc/mem"

	"github.com/headgate/headgate/api"
	edge "github.com/headgate/headgate/api/rls"
	"github.com/headgate/headgate/api/rpc"
	"github.com/headgate/headgate/internal/clock"
	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/internal/obs"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
	"github.com/headgate/headgate/policy"
)

func main() {
	addr := flag.String("address", "127.0.0.1:8182", "`host:port` to listen on")
	file := flag.String("policy", "deploy/examples/bench.yaml", "policy `file`")
	flag.Parse()
	if err := serve(*addr, *file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(addr, file string) error {
	settings := config.Default()
	debug.SetGCPercent(settings.Runtime.GCPercent) // a node's
	service, err := newService(&settings, file)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("stock: listen on %s: %w", addr, err)
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(passThrough{encoding.GetCodecV2("proto")}))
	s.RegisterService(describe(service), nil)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		s.GracefulStop()
	}()
	fmt.Printf("stock: listening on %s, pid %d\n", l.Addr(), os.Getpid())
	return s.Serve(l)
}

// newService builds what internal/app builds, as far as it decides.
func newService(settings *config.Config, file string) (*edge.Service, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the operator's own file
	if err != nil {
		return nil, fmt.Errorf("stock: %w", err)
	}
	counters, err := table.New(table.Config{
		EntriesMax: int64(settings.Table.EntriesMax), BytesMax: int64(settings.Table.BytesMax),
		ShareMax: float64(settings.Table.SharePercent) / 100,
	})
	if err != nil {
		return nil, fmt.Errorf("stock: %w", err)
	}
	docs, problems := policy.Parse([]policy.Source{{Name: file, Text: text}})
	if len(problems) > 0 {
		return nil, fmt.Errorf("stock: %w", problems)
	}
	var secret [16]byte // nobody aims at these counters
	snapshot, problems := policy.Compile(docs, policy.Options{
		Version: 1, Hasher: limiter.NewKeyHasher(secret), Prefetch: counters.Prefetch,
	})
	if len(problems) > 0 {
		return nil, fmt.Errorf("stock: %w", problems)
	}
	now := clock.New().Now
	decisions := obs.New(obs.Config{
		LimitsMax: settings.Metrics.LimitsMax, TopKeys: settings.Admin.TopKeys,
		Stripes: 2 * runtime.GOMAXPROCS(0), Now: now,
	}).Decisions
	counters.Install(snapshot.Limits())
	decisions.Install(snapshot.Limits())
	var current atomic.Pointer[policy.Snapshot]
	current.Store(snapshot)
	gate := &api.Gate{Policies: &current, Decider: counters, Observer: decisions}
	defaults := rpc.Default()
	return &edge.Service{
		Desk: api.NewDesk(gate, now, defaults.DecideTimeout), Bounds: defaults.Bounds, Headers: defaults.Headers,
	}, nil
}

// describe is the service as generated code describes it, except that the
// handler gets and returns bytes.
func describe(s *edge.Service) *grpc.ServiceDesc {
	d := rls.RateLimitService_ServiceDesc
	d.HandlerType = (*any)(nil)
	d.Methods = []grpc.MethodDesc{{
		MethodName: "ShouldRateLimit",
		Handler: func(_ any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			x := s.Desk.Open()
			if err := receive(&x.In); err != nil {
				s.Desk.Close(x)
				return nil, err // grpc-go's own status
			}
			x, err := s.ShouldRateLimit(ctx, x)
			defer s.Desk.Close(x)
			if err != nil {
				return nil, api.Status(err)
			}
			return mem.SliceBuffer(bytes.Clone(x.Out)), nil // the transport keeps it for longer
		},
	}}
	return &d
}

var errMessage = errors.New("stock: not a message of the service")

// passThrough leaves messages in their bytes.
type passThrough struct{ encoding.CodecV2 }

func (passThrough) Unmarshal(pieces mem.BufferSlice, v any) error {
	in, ok := v.(*[]byte)
	if !ok {
		return errMessage
	}
	*in = (*in)[:0]
	for _, p := range pieces {
		*in = append(*in, p.ReadOnlyData()...)
	}
	return nil
}

func (passThrough) Marshal(v any) (mem.BufferSlice, error) {
	out, ok := v.(mem.SliceBuffer)
	if !ok {
		return nil, errMessage
	}
	return mem.BufferSlice{out}, nil
}
