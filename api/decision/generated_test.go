package decision_test

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/decision"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// A generated is a service as clients of the generated code see it.
type generated struct{ *decision.Service }

// Check decides one call.
func (g *generated) Check(ctx context.Context, req *headgatev1.CheckRequest) (*headgatev1.CheckResponse, error) {
	return g.one(ctx, req, g.Service.Check)
}

// Peek looks at one call.
func (g *generated) Peek(ctx context.Context, req *headgatev1.CheckRequest) (*headgatev1.CheckResponse, error) {
	return g.one(ctx, req, g.Service.Peek)
}

func (g *generated) one(ctx context.Context, req proto.Message, serve func(context.Context, *api.Exchange) (*api.Exchange, error)) (*headgatev1.CheckResponse, error) {
	x := g.Desk.Open()
	var err error
	if x.In, err = (proto.MarshalOptions{}).MarshalAppend(x.In[:0], req); err != nil {
		return nil, err
	}
	x, err = serve(ctx, x)
	defer g.Desk.Close(x)
	if err != nil {
		g.Desk.CountFault()
		return nil, api.Status(err)
	}
	resp := new(headgatev1.CheckResponse)
	return resp, proto.Unmarshal(x.Out, resp)
}

// CheckBatch decides the calls of a batch.
func (g *generated) CheckBatch(ctx context.Context, req *headgatev1.CheckBatchRequest) (*headgatev1.CheckBatchResponse, error) {
	in, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	out, err := g.Service.CheckBatch(ctx, nil, in)
	if err != nil {
		g.Desk.CountFault()
		return nil, api.Status(err)
	}
	resp := new(headgatev1.CheckBatchResponse)
	return resp, proto.Unmarshal(out, resp)
}
