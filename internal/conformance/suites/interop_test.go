package suites_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/headgate/headgate/api/h2"
	"github.com/headgate/headgate/internal/certs/certstest"
)

// interopTimeout bounds one case.
const interopTimeout = 30 * time.Second

// TestInterop runs grpc-go's interoperability cases against its test service
// behind our front: with every method answered by grpc-go through
// http.Handler, and with the two unary ones answered on the read loop; over
// cleartext and TLS.
func TestInterop(t *testing.T) {
	grpclog.SetLoggerV2(fatalPanics{grpclog.NewLoggerV2(discard{}, discard{}, discard{})})
	for _, fast := range []bool{false, true} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("fast=%v/tls=%v", fast, secure), func(t *testing.T) {
				cc := dialInterop(t, fast, secure)
				for _, tc := range interopCases(cc) {
					t.Run(tc.name, func(t *testing.T) {
						if fast && tc.metadata {
							t.Skip("a fast method sees no metadata and sends none: that is what makes it one")
						}
						ctx, cancel := context.WithTimeout(t.Context(), interopTimeout)
						defer cancel()
						defer func() {
							if failed := recover(); failed != nil {
								t.Fatal(failed)
							}
						}()
						tc.run(ctx)
					})
				}
			})
		}
	}
}

type interopCase struct {
	name     string
	run      func(context.Context)
	metadata bool
}

// interopCases are the cases that need no credentials of a cloud.
func interopCases(cc *grpc.ClientConn) []interopCase {
	tc := testgrpc.NewTestServiceClient(cc)
	of := func(name string, f func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) interopCase {
		return interopCase{name: name, run: func(ctx context.Context) { f(ctx, tc) }}
	}
	metadata := of("custom_metadata", interop.DoCustomMetadata)
	metadata.metadata = true
	return []interopCase{
		of("empty_unary", interop.DoEmptyUnaryCall),
		of("large_unary", interop.DoLargeUnaryCall),
		of("client_streaming", interop.DoClientStreaming),
		of("server_streaming", interop.DoServerStreaming),
		of("ping_pong", interop.DoPingPong),
		of("empty_stream", interop.DoEmptyStream),
		of("timeout_on_sleeping_server", interop.DoTimeoutOnSleepingServer),
		of("cancel_after_begin", interop.DoCancelAfterBegin),
		of("cancel_after_first_response", interop.DoCancelAfterFirstResponse),
		of("status_code_and_message", interop.DoStatusCodeAndMessage),
		of("special_status_message", interop.DoSpecialStatusMessage),
		metadata,
		{name: "unimplemented_method", run: func(ctx context.Context) { interop.DoUnimplementedMethod(ctx, cc) }},
		{name: "unimplemented_service", run: func(ctx context.Context) {
			interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(cc))
		}},
	}
}

// dialInterop serves the test service until the test ends, and returns a
// connection to it.
func dialInterop(t *testing.T, fast, secure bool) *grpc.ClientConn {
	t.Helper()
	service := interop.NewTestServer()
	rest := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(rest, service)
	began := time.Now()
	cfg := h2.Default()
	cfg.Rest = rest
	cfg.Now = func() int64 { return int64(time.Since(began)) }
	cfg.Panic = func(method string, value any, stack []byte) { t.Errorf("%s: panic: %v\n%s", method, value, stack) }
	if fast {
		cfg.Fast = map[string]h2.Unary{
			testgrpc.TestService_EmptyCall_FullMethodName: unary(service.EmptyCall),
			testgrpc.TestService_UnaryCall_FullMethodName: unary(service.UnaryCall),
		}
	}
	creds := insecure.NewCredentials()
	if secure {
		authority := certstest.NewAuthority(t, "interop", time.Now())
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, certstest.Leaf{Name: "interop"}).Load(t)}, NextProtos: []string{"h2"}}
		creds = credentials.NewTLS(&tls.Config{RootCAs: authority.Pool(), ServerName: "127.0.0.1"})
	}
	s, err := h2.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	cc, err := grpc.NewClient("passthrough:"+l.Addr().String(), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cc.Close()
		s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return cc
}

// A unaryCall is a method of generated code as a fast method.
type unaryCall func(in []byte) ([]byte, error)

// unary adapts a method of generated code.
func unary[In any, P interface {
	*In
	proto.Message
}, Out proto.Message](method func(context.Context, P) (Out, error),
) h2.Unary {
	return unaryCall(func(in []byte) ([]byte, error) {
		request := P(new(In))
		if err := proto.Unmarshal(in, request); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		response, err := method(context.Background(), request)
		if err != nil {
			return nil, err
		}
		return proto.Marshal(response)
	})
}

// Begin answers already, and keeps the answer.
func (f unaryCall) Begin(c *h2.Call) {
	out, err := f(c.In)
	if err != nil {
		c.Fail(uint32(status.Code(err)), status.Convert(err).Message())
	}
	c.State = out
}

// Prepare has nothing to do.
func (unaryCall) Prepare(*h2.Call) bool { return false }

// Decide has nothing to wait for.
func (unaryCall) Decide(*h2.Call) bool { return true }

// Answer appends what Begin kept.
func (unaryCall) Answer(dst []byte, c *h2.Call) []byte {
	out, _ := c.State.([]byte)
	return append(dst, out...)
}

// Expire is Answer: nothing is late.
func (f unaryCall) Expire(dst []byte, c *h2.Call) []byte { return f.Answer(dst, c) }

// fatalPanics makes the cases' Fatalf a panic instead of the process's end, so
// that one failed case is one failed test.
type fatalPanics struct{ grpclog.LoggerV2 }

func (fatalPanics) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (fatalPanics) Fatalln(args ...any)               { panic(strings.TrimSpace(fmt.Sprintln(args...))) }
func (fatalPanics) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
