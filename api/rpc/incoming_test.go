package rpc

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/mem"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
)

// A caller that sends headers and no message holds no exchange, which is 18 KB.
func TestAnExchangeIsOpenedWhenTheMessageIsThere(t *testing.T) {
	opened := func(in any) bool { return in.(*incoming).x != nil }
	s := &Server{desk: api.NewDesk(&api.Gate{}, func() limiter.Instant { return 0 }, 1)}
	gone := errors.New("the caller is gone")
	_, err := s.shouldRateLimit(nil, context.Background(), func(in any) error {
		if opened(in) {
			t.Error("it is open before there is a message")
		}
		for range 2 { // a second message is refused after it was decoded
			if err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer("message")}, in); err != nil {
				t.Fatal(err)
			}
			if x := in.(*incoming).x; x == nil || string(x.In) != "message" {
				t.Error("it does not hold the message")
			}
		}
		return gone
	}, nil)
	if !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}
