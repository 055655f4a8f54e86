package decision_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/internal/apitest"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// A counting observer counts what was decided.
type counting struct{ n int }

func (o *counting) Observe(limiter.Instant, *api.Exchange) { o.n++ }

// TestAReservationOfAnUnknownDomain: an allowed one is open, of nothing; a denied one is
// not there.
func TestAReservationOfAnUnknownDomain(t *testing.T) {
	for _, tt := range []struct {
		name            string
		unknown         policy.Outcome
		verdict         headgatev1.Verdict
		reserve, settle api.Reason // 0: no fault
	}{
		{"allowed", policy.UnknownDomainAllow, headgatev1.Verdict_VERDICT_ALLOWED, 0, 0},
		{"denied", policy.UnknownDomainDeny, headgatev1.Verdict_VERDICT_DENIED, 0, api.NoReservation},
		{"an error", policy.UnknownDomainError, 0, api.UnknownDomain, api.NoReservation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told, clock := new(counting), func() limiter.Instant { return noon }
			gate := apitest.Gate(t, shop, policy.Options{OnUnknownDomain: tt.unknown}, nil)
			gate.Observer = told
			s := apitest.Native(t, api.NewDesk(gate, clock, time.Second), gate.Decider, clock)
			var made headgatev1.ReserveResponse
			reason := call(t, s.Desk, s.Reserve, &headgatev1.ReserveRequest{Domain: "nowhere", Id: []byte("1")}, &made)
			if reason != tt.reserve || made.GetDecision().GetVerdict() != tt.verdict || len(made.GetReserved()) > 0 {
				t.Errorf("fault %d, %v", reason, &made)
			}
			if want := map[bool]int{true: 1}[tt.reserve == 0]; told.n != want {
				t.Errorf("the observer was told of %d requests, want %d", told.n, want)
			}
			var settled headgatev1.SettleResponse
			if reason := call(t, s.Desk, s.Settle, &headgatev1.SettleRequest{Domain: "nowhere", Id: []byte("1")}, &settled); reason != tt.settle {
				t.Errorf("settled: fault %d, want %d", reason, tt.settle)
			}
		})
	}
}

// call has method answer in by out, and returns the reason of its fault.
func call(t *testing.T, desk *api.Desk, method func(context.Context, *api.Exchange) (*api.Exchange, error), in, out proto.Message) api.Reason {
	t.Helper()
	x := desk.Open()
	var err error
	if x.In, err = (proto.MarshalOptions{}).MarshalAppend(x.In[:0], in); err != nil {
		t.Fatal(err)
	}
	x, err = method(t.Context(), x)
	defer desk.Close(x)
	if err != nil {
		fault, ok := err.(*api.Fault) //nolint:errorlint // methods return it as it is
		if !ok {
			t.Fatal(err)
		}
		return fault.Reason
	}
	if err := proto.Unmarshal(x.Out, out); err != nil {
		t.Fatal(err)
	}
	return 0
}
