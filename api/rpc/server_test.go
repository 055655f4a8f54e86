package rpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/headgate/headgate/api/h2"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/api/rpc"
	"github.com/headgate/headgate/internal/apitest"
	"github.com/headgate/headgate/limiter"
)

func TestADenialIsAnAnswerThatNamesItsLimit(t *testing.T) {
	_, addr := start(t, nil)
	c := connect(t, addr)
	for n := range 3 {
		resp, err := c.limits.ShouldRateLimit(brief(t), rateLimitRequest("shop", "user", "u"))
		if err != nil {
			t.Fatal(err)
		}
		want := rlsv3.RateLimitResponse_OK
		if n == 2 {
			want = rlsv3.RateLimitResponse_OVER_LIMIT
		}
		if resp.GetOverallCode() != want || resp.GetStatuses()[0].GetCurrentLimit().GetName() != "two" {
			t.Fatalf("call %d: %v", n+1, resp)
		}
	}
	// The native API sees the same counter.
	resp, err := c.decision.Check(brief(t), checkRequest("shop", "user", "u"))
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetVerdict() != headgatev1.Verdict_VERDICT_DENIED || resp.GetDeniedBy() != "two" || resp.GetRetryAfter() == nil {
		t.Fatalf("got %v", resp)
	}
}

func TestErrorsAreForRequestsThatCannotBeDecided(t *testing.T) {
	s, addr := start(t, func(u *setup) { u.config.Bounds.MessageBytes = 8 << 10 })
	c := connect(t, addr)
	for _, e := range []struct {
		name string
		req  *rlsv3.RateLimitRequest
		code codes.Code
		text string
	}{
		{"no domain", rateLimitRequest("", "user", "u"), codes.InvalidArgument, "domain: must not be empty"},
		{"no descriptors", &rlsv3.RateLimitRequest{Domain: "shop"}, codes.InvalidArgument, "descriptors: must not be empty"},
		{"a long key", rateLimitRequest("shop", strings.Repeat("k", 300), "u"), codes.InvalidArgument, "descriptors[0].entries.key: 300 bytes: at most 256 bytes"},
		{"an unknown domain", rateLimitRequest("nowhere", "user", "u"), codes.NotFound, `domain: "nowhere": no policy has this domain`},
		{"a long message", rateLimitRequest("shop", "user", strings.Repeat("u", 9<<10)), codes.ResourceExhausted, "8192"},
	} {
		t.Run(e.name, func(t *testing.T) {
			_, err := c.limits.ShouldRateLimit(brief(t), e.req)
			if status.Code(err) != e.code || !strings.Contains(err.Error(), e.text) {
				t.Fatalf("got %v, want %v %q", err, e.code, e.text)
			}
		})
	}
	if got := s.Stats().Faults; got != 4 { // grpc-go refuses the long message by itself
		t.Errorf("%d faults counted", got)
	}
}

func TestHealth(t *testing.T) {
	s, addr := start(t, nil)
	h := healthv1.NewHealthClient(connect(t, addr).cc)
	names := []string{"", "ratelimit", "envoy.service.ratelimit.v3.RateLimitService", "headgate.v1.DecisionService"}
	for _, serving := range []bool{true, false, true} {
		s.SetServing(serving)
		want := healthv1.HealthCheckResponse_NOT_SERVING
		if serving {
			want = healthv1.HealthCheckResponse_SERVING
		}
		for _, name := range names {
			resp, err := h.Check(brief(t), &healthv1.HealthCheckRequest{Service: name})
			if err != nil || resp.GetStatus() != want {
				t.Errorf("%q: got %v, %v, want %v", name, resp.GetStatus(), err, want)
			}
		}
	}
	if _, err := h.Check(brief(t), &healthv1.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown service: %v", err)
	}
}

// Reflection hands out files that compile: what grpcurl needs to list, describe
// and call.
func TestReflection(t *testing.T) {
	_, addr := start(t, nil)
	stream, err := reflectionv1.NewServerReflectionClient(connect(t, addr).cc).ServerReflectionInfo(brief(t))
	if err != nil {
		t.Fatal(err)
	}
	call := func(req *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	list := call(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
	var services []string
	for _, s := range list.GetListServicesResponse().GetService() {
		services = append(services, s.GetName())
	}
	files := &descriptorpb.FileDescriptorSet{} // a stream sends each file once
	for service, method := range map[string]protoreflect.Name{
		"envoy.service.ratelimit.v3.RateLimitService": "ShouldRateLimit",
		"headgate.v1.DecisionService":                 "CheckBatch",
		"grpc.health.v1.Health":                       "Check",
	} {
		if !slices.Contains(services, service) {
			t.Errorf("%s is not in %v", service, services)
		}
		resp := call(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service}})
		for _, b := range resp.GetFileDescriptorResponse().GetFileDescriptorProto() {
			var f descriptorpb.FileDescriptorProto
			if err := proto.Unmarshal(b, &f); err != nil {
				t.Fatal(err)
			}
			files.File = append(files.File, &f)
		}
		reg, err := protodesc.NewFiles(files)
		if err != nil {
			t.Fatalf("%s: %v", service, err)
		}
		d, err := reg.FindDescriptorByName(protoreflect.FullName(service))
		if err != nil {
			t.Fatal(err)
		}
		if d.(protoreflect.ServiceDescriptor).Methods().ByName(method) == nil {
			t.Errorf("%s has no %s", service, method)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func TestReflectionForOlderClients(t *testing.T) {
	_, addr := start(t, nil)
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := connect(t, addr).cc.NewStream(brief(t), desc, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
	if err != nil {
		t.Fatal(err)
	}
	// The messages of v1 have the same fields.
	list := &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}
	if err := stream.SendMsg(list); err != nil {
		t.Fatal(err)
	}
	var resp reflectionv1.ServerReflectionResponse
	if err := stream.RecvMsg(&resp); err != nil || len(resp.GetListServicesResponse().GetService()) < 3 {
		t.Fatalf("got %v, %v", &resp, err)
	}
}

func TestReflectionCanBeOff(t *testing.T) {
	_, addr := start(t, func(u *setup) { u.config.Reflection = false })
	stream, err := reflectionv1.NewServerReflectionClient(connect(t, addr).cc).ServerReflectionInfo(brief(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
		t.Fatalf("got %v", err)
	}
}

func TestAConnectionTooManyIsToldSo(t *testing.T) {
	s, addr := start(t, func(u *setup) { u.config.Connections = 1 })
	first := connect(t, addr)
	if _, err := first.limits.ShouldRateLimit(brief(t), rateLimitRequest("shop", "user", "u")); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats().Front; got.Connections != 1 || got.Abuse[h2.AbuseConnections] != 0 {
		t.Fatalf("got %+v", got)
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(b), "connections_max: 1 connections are open") {
		t.Fatalf("got %q, %v", b, err)
	}
	if _, err := connect(t, addr).limits.ShouldRateLimit(brief(t), rateLimitRequest("shop", "user", "u")); status.Code(err) != codes.Unavailable {
		t.Fatalf("got %v", err)
	}
	if got := s.Stats().Front; got.Connections != 1 || got.Abuse[h2.AbuseConnections] < 2 {
		t.Fatalf("got %+v", got)
	}
	// A place that is free again can be taken.
	_ = first.cc.Close()
	eventually(t, func() bool { return s.Stats().Front.Connections == 0 })
	if _, err := connect(t, addr).limits.ShouldRateLimit(brief(t), rateLimitRequest("shop", "user", "u")); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("it never happened")
}

func TestAPanicIsAnswered(t *testing.T) {
	var methods []string
	s, addr := start(t, func(u *setup) {
		u.decider = deciderFunc(func(limiter.Instant, *limiter.Call) bool { panic("bug") })
		u.events.Panic = func(method string, v any, stack []byte) {
			if v != "bug" || !strings.Contains(string(stack), "deciderFunc") {
				t.Errorf("told of %v\n%s", v, stack)
			}
			methods = append(methods, method)
		}
	})
	c := connect(t, addr)
	_, err := c.limits.ShouldRateLimit(brief(t), rateLimitRequest("shop", "user", "u"))
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "bug") {
		t.Errorf("RLS: %v", err)
	}
	_, err = c.decision.Check(brief(t), checkRequest("shop", "user", "u"))
	if status.Code(err) != codes.Internal {
		t.Errorf("native: %v", err)
	}
	if s.Stats().Panics != 2 || len(methods) != 2 || methods[0] != "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit" || methods[1] != "/headgate.v1.DecisionService/Check" {
		t.Errorf("%d panics, told of %q", s.Stats().Panics, methods)
	}
	// No rule matches, so the decider is not asked: the server still serves.
	if _, err := c.limits.ShouldRateLimit(brief(t), rateLimitRequest("shop", "other", "u")); err != nil {
		t.Error(err)
	}
}

func TestALateDeciderIsAnsweredForByOnUnavailable(t *testing.T) {
	held := make(chan *limiter.Call, 10)
	s, addr := start(t, func(u *setup) {
		u.config.DecideTimeout = 5 * time.Millisecond
		u.decider = deciderFunc(func(_ limiter.Instant, c *limiter.Call) bool { held <- c; return false })
	})
	c := connect(t, addr)
	for key, want := range map[string]rlsv3.RateLimitResponse_Code{
		"user":    rlsv3.RateLimitResponse_OK,
		"account": rlsv3.RateLimitResponse_OVER_LIMIT,
	} {
		resp, err := c.limits.ShouldRateLimit(brief(t), rateLimitRequest("shop", key, "u"))
		if err != nil {
			t.Fatal(err)
		}
		hs := resp.GetResponseHeadersToAdd()
		if last := hs[len(hs)-1]; resp.GetOverallCode() != want || last.GetKey() != "x-headgate-degraded" || last.GetValue() != "unavailable" {
			t.Errorf("%s: %v", key, resp)
		}
	}
	if s.Stats().Late != 2 {
		t.Errorf("%d late", s.Stats().Late)
	}
	for range 2 { // far too late: nobody minds
		call := <-held
		allow(call)
		call.Finish()
	}
}

// A Decider that decides later, from another goroutine: nothing else changes.
func TestADeciderThatTakesItsTime(t *testing.T) {
	_, addr := start(t, func(u *setup) {
		u.config.DecideTimeout = 10 * time.Second
		u.decider = deciderFunc(func(_ limiter.Instant, c *limiter.Call) bool {
			go func() { allow(c); c.Finish() }()
			return false
		})
	})
	resp, err := connect(t, addr).limits.ShouldRateLimit(brief(t), rateLimitRequest("shop", "user", "u"))
	if err != nil || resp.GetOverallCode() != rlsv3.RateLimitResponse_OK || resp.GetStatuses()[0].GetLimitRemaining() != 1 {
		t.Fatalf("got %v, %v", resp, err)
	}
}

func TestConfigValidate(t *testing.T) {
	c := rpc.Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	bad := rpc.Config{Bounds: c.Bounds, ConnectionAge: time.Millisecond}
	bad.Bounds.Descriptors = 99
	bad.Headers.Limit = "No"
	err := bad.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"descriptors_max: 99", "headers.limit", "decide_timeout: 0s: must be in [1ms, 1m]", "connections_max: 0: must be in [1, 1000000]",
		"streams_max: 0", "keepalive_interval: 0s: must be at least 1s", "keepalive_timeout: 0s", "connection_grace: 0s",
		"connection_age_max: 1ms: must be 0 or at least 1s",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	if _, err := rpc.New(&bad, apitest.Gate(t, shop, apitest.Strict(), nil), wallClock, rpc.Events{}); err == nil {
		t.Error("New accepted it")
	}
}

func TestACallerThatGivesUpGetsItsOwnStatus(t *testing.T) {
	_, addr := start(t, func(u *setup) {
		u.config.DecideTimeout = time.Minute
		u.decider = deciderFunc(func(limiter.Instant, *limiter.Call) bool { return false })
	})
	// Not a deadline: the server knows that one, too, and may be the first to
	// see it, with an answer by on_unavailable.
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(20*time.Millisecond, cancel).Stop()
	_, err := connect(t, addr).limits.ShouldRateLimit(ctx, rateLimitRequest("shop", "user", "u"), grpc.WaitForReady(true))
	if status.Code(err) != codes.Canceled {
		t.Fatalf("got %v", err)
	}
}
