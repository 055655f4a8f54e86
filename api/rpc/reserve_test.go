package rpc_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
)

const llm = `
domain: llm
limits:
  - {name: tokens, by: [team], window: 10000/year, unit: tokens}
  - {name: running, by: [team], concurrency: 2, lifetime: 10m}
`

func reserveRequest(id string, tokens uint64) *headgatev1.ReserveRequest {
	return &headgatev1.ReserveRequest{
		Domain: "llm", Attributes: []*headgatev1.Attribute{{Key: "team", Value: "a"}}, Id: []byte(id),
		Costs: []*headgatev1.UnitCost{{Unit: "tokens", Units: tokens}},
	}
}

func settleRequest(id string, tokens uint64) *headgatev1.SettleRequest {
	return &headgatev1.SettleRequest{Domain: "llm", Id: []byte(id), Costs: []*headgatev1.UnitCost{{Unit: "tokens", Units: tokens}}}
}

// A watcher counts what the observer is told.
type watcher struct{ charges chan int }

func (w *watcher) Observe(_ limiter.Instant, x *api.Exchange) { w.charges <- len(x.Call.Charges()) }

func TestReservationsOverGRPC(t *testing.T) {
	told := &watcher{make(chan int, 16)}
	s, addr := start(t, func(u *setup) { u.policy, u.watch = llm, told })
	c := connect(t, addr).decision
	made, err := c.Reserve(brief(t), reserveRequest("1", 6000))
	if err != nil || made.GetDecision().GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || made.GetLifetime().AsDuration() != 5*time.Minute {
		t.Fatalf("%v, %v", made, err)
	}
	again, err := c.Reserve(brief(t), reserveRequest("1", 6000))
	if err != nil || !proto.Equal(again, made) {
		t.Errorf("again: %v, %v", again, err)
	}
	denied, err := c.Reserve(brief(t), reserveRequest("2", 6000))
	if err != nil || denied.GetDecision().GetDeniedBy() != "tokens" || denied.GetReserved() != nil || denied.GetLifetime() != nil {
		t.Errorf("what does not fit: %v, %v", denied, err)
	}
	for range 2 {
		if n := <-told.charges; n != 2 {
			t.Errorf("the observer was told of %d charges, want 2", n)
		}
	}
	longer, err := c.Extend(brief(t), &headgatev1.ExtendRequest{Domain: "llm", Id: []byte("1"), Lifetime: durationpb.New(9 * time.Minute)})
	if err != nil || longer.GetLifetime().AsDuration() != 9*time.Minute {
		t.Errorf("%v, %v", longer, err)
	}
	settled, err := c.Settle(brief(t), settleRequest("1", 1500))
	want := &headgatev1.SettleResponse{Limits: []*headgatev1.SettledUnits{
		{Name: "tokens", Unit: "tokens", Reserved: 6000, Cost: 1500, Returned: 4500}, {Name: "running", Reserved: 1, Cost: 1},
	}}
	if err != nil || !proto.Equal(settled, want) {
		t.Errorf("%v, %v, want %v", settled, err, want)
	}
	if more, err := c.Reserve(brief(t), reserveRequest("2", 8500)); err != nil || more.GetDecision().GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
		t.Errorf("what came back: %v, %v", more, err)
	}
	if end, err := c.Cancel(brief(t), &headgatev1.CancelRequest{Domain: "llm", Id: []byte("2")}); err != nil || end.GetLimits()[0].GetReturned() != 8500 {
		t.Errorf("cancelled: %v, %v", end, err)
	}
	faults := s.Stats().Faults
	for name, tt := range map[string]struct {
		call func() error
		want codes.Code
	}{
		"other content": {func() error { _, err := c.Reserve(brief(t), reserveRequest("1", 1)); return err }, codes.AlreadyExists},
		"another cost":  {func() error { _, err := c.Settle(brief(t), settleRequest("1", 1)); return err }, codes.AlreadyExists},
		"not there":     {func() error { _, err := c.Settle(brief(t), settleRequest("3", 1)); return err }, codes.NotFound},
		"ended": {func() error {
			_, err := c.Extend(brief(t), &headgatev1.ExtendRequest{Domain: "llm", Id: []byte("1"), Lifetime: durationpb.New(1)})
			return err
		}, codes.FailedPrecondition},
		"no id": {func() error { _, err := c.Cancel(brief(t), &headgatev1.CancelRequest{Domain: "llm"}); return err }, codes.InvalidArgument},
	} {
		if got := status.Code(tt.call()); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	if got := s.Stats().Faults - faults; got != 5 {
		t.Errorf("%d faults were counted, want 5", got)
	}
}
