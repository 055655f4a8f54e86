package rpc

import (
	"context"

	"google.golang.org/grpc/stats"

	"github.com/headgate/headgate/api/h2"
)

// readAheadMore is how much more than the longest message grpc-go may have read
// and not given to a handler: enough to go on while the handler works.
const readAheadMore = 64 << 10

// consumption tells the front which messages handlers have received: behind
// grpc.Server.ServeHTTP, grpc-go reads what there is, without a bound.
type consumption struct{}

// HandleRPC sees every message.
func (consumption) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if in, ok := s.(*stats.InPayload); ok {
		h2.Consumed(ctx, in.WireLength)
	}
}

// TagRPC does nothing.
func (consumption) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// TagConn does nothing.
func (consumption) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing.
func (consumption) HandleConn(context.Context, stats.ConnStats) {}
