// Command hello is what "a grpc-go hello-world" means in our figures: a grpc-go
// server with default options and the generated types that answers every
// ShouldRateLimit with a constant OK. It is not a rate limiter.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
)

type hello struct {
	rls.UnimplementedRateLimitServiceServer
}

func (hello) ShouldRateLimit(context.Context, *rls.RateLimitRequest) (*rls.RateLimitResponse, error) {
	return &rls.RateLimitResponse{OverallCode: rls.RateLimitResponse_OK}, nil
}

func main() {
	addr := flag.String("address", "127.0.0.1:8181", "`host:port` to listen on")
	flag.Parse()
	if err := serve(*addr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(addr string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("hello: listen on %s: %w", addr, err)
	}
	s := grpc.NewServer()
	rls.RegisterRateLimitServiceServer(s, hello{})

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		s.GracefulStop()
	}()
	fmt.Printf("hello: listening on %s, pid %d\n", l.Addr(), os.Getpid())
	return s.Serve(l)
}
