package rpc_test

import (
	"context"
	"net"
	"testing"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

// A stream whose handler waits for its client's next message does not hold the
// drain up: it is told to go elsewhere.
func TestAnIdleStreamEndsWithTheDrain(t *testing.T) {
	s, addr := start(t, nil)
	stream, err := reflectionv1.NewServerReflectionClient(connect(t, addr).cc).ServerReflectionInfo(brief(t))
	if err != nil {
		t.Fatal(err)
	}
	list := &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}
	if err := stream.Send(list); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil { // the handler runs, and waits
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Drain(brief(t)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the drain took %v", took)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
}

// A call whose message never comes is cut when the drain's context ends.
func TestACallWithoutItsMessageEndsWithTheDrainsContext(t *testing.T) {
	s, addr := start(t, nil)
	cc := connect(t, addr).cc
	desc := &grpc.StreamDesc{ClientStreams: true}
	call, err := cc.NewStream(brief(t), desc, rlsv3.RateLimitService_ShouldRateLimit_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	// Streams of a connection are opened in order: the one before has arrived.
	if _, err := rlsv3.NewRateLimitServiceClient(cc).ShouldRateLimit(brief(t), rateLimitRequest("shop", "user", "u")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := s.Drain(ctx); err == nil {
		t.Error("the drain says that nothing was cut")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the drain took %v", took)
	}
	if err := call.RecvMsg(&rlsv3.RateLimitResponse{}); status.Code(err) != codes.Unavailable {
		t.Errorf("the call ended with %v", err)
	}
}

// Connections that never become HTTP/2 hold up neither the drain nor the news
// of it, however much of the handshake they sent.
func TestAConnectionThatSaysNothingDoesNotHoldTheDrainUp(t *testing.T) {
	for _, e := range []struct{ name, sent string }{
		{"silent", ""},
		{"half a preface", http2.ClientPreface[:10]},
		{"a preface and no settings", http2.ClientPreface},
	} {
		t.Run(e.name, func(t *testing.T) {
			s, addr := start(t, nil)
			c := connect(t, addr)
			if _, err := c.limits.ShouldRateLimit(brief(t), rateLimitRequest("shop", "user", "u")); err != nil {
				t.Fatal(err)
			}
			silent, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			if _, err := silent.Write([]byte(e.sent)); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { return s.Stats().Front.Connections == 2 })
			began := time.Now()
			if err := s.Drain(brief(t)); err != nil {
				t.Errorf("the drain cut requests: %v", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("the drain took %v", took)
			}
			if n := s.Stats().Front.Connections; n != 0 {
				t.Errorf("%d connections are still open", n)
			}
		})
	}
}

// Close waits for no handshake.
func TestCloseDoesNotWaitForAConnectionThatSaysNothing(t *testing.T) {
	s, addr := start(t, nil)
	silent, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	eventually(t, func() bool { return s.Stats().Front.Connections == 1 })
	began := time.Now()
	s.Close()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
