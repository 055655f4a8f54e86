//go:build unix

package rpc_test

import (
	"context"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/headgate/headgate/api/h2"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// rawCodec is a client's codec that sends and drops bytes, so that clients cost
// the same whatever they call.
type rawCodec struct{ encoding.CodecV2 }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(mem.BufferSlice, any) error { return nil }

// hello serves what grpc-go's hello-world does, by generated-like code and
// messages of one string; behind the front, if behind.
func hello(b *testing.B, behind bool, opts ...grpc.ServerOption) string {
	b.Helper()
	s := grpc.NewServer(opts...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "helloworld.Greeter", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "SayHello", Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := dec(in); err != nil {
				return nil, err
			}
			return wrapperspb.String("Hello " + in.GetValue()), nil
		}}},
	}, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	if behind {
		c := h2.Default()
		c.Now, c.Rest = func() int64 { return int64(wallClock()) }, s
		front, err := h2.New(c)
		if err != nil {
			b.Fatal(err)
		}
		go func() { _ = front.Serve(l) }()
		b.Cleanup(front.Close)
		return l.Addr().String()
	}
	go func() { _ = s.Serve(l) }()
	b.Cleanup(s.Stop)
	return l.Addr().String()
}

func marshal(b *testing.B, m proto.Message) []byte {
	b.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

// BenchmarkServe calls over loopback; cpu-ns/op is the processor time of client
// and server together, and the client is the same for all.
func BenchmarkServe(b *testing.B) {
	recorded, err := os.ReadFile("../rls/testdata/envoy-recorded/two-descriptors.bin")
	if err != nil {
		b.Fatal(err)
	}
	asked, err := os.ReadFile("../authz/testdata/envoy-recorded/post.bin")
	if err != nil {
		b.Fatal(err)
	}
	const rls = rlsv3.RateLimitService_ShouldRateLimit_FullMethodName
	headgate := func(policy string) func(*testing.B) string {
		return func(b *testing.B) string {
			b.Helper()
			_, addr := start(b, func(u *setup) { u.policy = policy })
			return addr
		}
	}
	greeter := func(opts ...grpc.ServerOption) func(*testing.B) string {
		return func(b *testing.B) string {
			b.Helper()
			return hello(b, false, opts...)
		}
	}
	tuned := []grpc.ServerOption{
		grpc.NumStreamWorkers(2), grpc.StaticStreamWindowSize(256 << 10), grpc.StaticConnWindowSize(1 << 20),
	}
	for _, c := range []struct {
		name, method string
		serve        func(*testing.B) string
		message      []byte
	}{
		{"hello", "/helloworld.Greeter/SayHello", greeter(), marshal(b, wrapperspb.String("world"))},
		{"hello-tuned", "/helloworld.Greeter/SayHello", greeter(tuned...), marshal(b, wrapperspb.String("world"))},
		{"hello-behind-the-front", "/helloworld.Greeter/SayHello", func(b *testing.B) string { b.Helper(); return hello(b, true) }, marshal(b, wrapperspb.String("world"))},
		{"rls-minimal", rls, headgate(shop), marshal(b, rateLimitRequest("shop", "remote_address", "127.0.0.1"))},
		{"rls-recorded", rls, headgate(edge), recorded},
		{"ext-authz-recorded", authv3.Authorization_Check_FullMethodName, headgate(edge), asked},
		{"check", headgatev1.DecisionService_Check_FullMethodName, headgate(shop), marshal(b, checkRequest("shop", "remote_address", "127.0.0.1"))},
	} {
		b.Run(c.name, func(b *testing.B) {
			addr := c.serve(b)
			conns := make([]*grpc.ClientConn, 4)
			for i := range conns {
				conns[i] = dial(b, addr, grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")})))
			}
			var next atomic.Uint32
			b.SetParallelism(64)
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime()
			b.RunParallel(func(pb *testing.PB) {
				cc := conns[next.Add(1)%uint32(len(conns))]
				for pb.Next() {
					if err := cc.Invoke(context.Background(), c.method, &c.message, nil); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
