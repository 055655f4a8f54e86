package decision_test

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/decision"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/policy"
)

// A generated is a service as clients of the generated code see it.
type generated struct{ *decision.Service }

// Check decides one call.
func (g *generated) Check(ctx context.Context, req *headgatev1.CheckRequest) (*headgatev1.CheckResponse, error) {
	return g.one(ctx, req, decision.Decode)
}

// Peek looks at one call.
func (g *generated) Peek(ctx context.Context, req *headgatev1.CheckRequest) (*headgatev1.CheckResponse, error) {
	return g.one(ctx, req, decision.DecodePeek)
}

func (g *generated) one(ctx context.Context, req proto.Message, decode func([]byte, *api.Bounds, *policy.Request) (bool, error)) (*headgatev1.CheckResponse, error) {
	x := g.Desk.Open()
	var err error
	if x.In, err = (proto.MarshalOptions{}).MarshalAppend(x.In[:0], req); err != nil {
		return nil, err
	}
	x, err = serve(ctx, g.Service, x, decode)
	defer g.Desk.Close(x)
	if err != nil {
		g.Desk.CountFault()
		return nil, api.Status(err)
	}
	resp := new(headgatev1.CheckResponse)
	return resp, proto.Unmarshal(x.Out, resp)
}

// serve answers the request in x.In by x.Out.
func serve(ctx context.Context, s *decision.Service, x *api.Exchange, decode func([]byte, *api.Bounds, *policy.Request) (bool, error)) (*api.Exchange, error) {
	explain, err := decode(x.In, &s.Bounds, &x.Req)
	if err != nil {
		return x, err
	}
	x = s.Desk.Decide(ctx, x)
	if err := x.Fault(); err != nil {
		return x, err
	}
	x.Out = decision.Append(x.Out[:0], x, explain)
	return x, nil
}

// CheckBatch decides the calls of a batch.
func (g *generated) CheckBatch(ctx context.Context, req *headgatev1.CheckBatchRequest) (*headgatev1.CheckBatchResponse, error) {
	in, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	out, err := g.Batches().Serve(ctx, in, false)
	if err != nil {
		g.Desk.CountFault()
		return nil, api.Status(err)
	}
	resp := new(headgatev1.CheckBatchResponse)
	return resp, proto.Unmarshal(out, resp)
}
