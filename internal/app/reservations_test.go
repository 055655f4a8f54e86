package app

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// TestOpenReservationsStayChargedWhenANodeEnds: one that is settled gives back what it did
// not use, one that is open when the node stops is charged in full.
func TestOpenReservationsStayChargedWhenANodeEnds(t *testing.T) {
	for _, mode := range []string{"escrow", "exact"} {
		t.Run(mode, func(t *testing.T) {
			month := time.Now().UTC().AddDate(0, 6, 0).Month()
			c := patientConfig(t, fmt.Sprintf("domain: llm\nlimits:\n  - {name: budget, by: [team], quota: 100/year, month: %d, unit: cents, mode: %s}\n", month, mode))
			n := startNode(t, c)
			api := n.client
			reserve := func(id string, cents uint64) *headgatev1.ReserveResponse {
				t.Helper()
				r, err := api.Reserve(context.Background(), &headgatev1.ReserveRequest{
					Domain: "llm", Attributes: []*headgatev1.Attribute{{Key: "team", Value: "a"}}, Id: []byte(id),
					Costs: []*headgatev1.UnitCost{{Unit: "cents", Units: cents}},
				})
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			settle := func(id string, cents uint64) (*headgatev1.SettleResponse, error) {
				return api.Settle(context.Background(), &headgatev1.SettleRequest{
					Domain: "llm", Id: []byte(id), Costs: []*headgatev1.UnitCost{{Unit: "cents", Units: cents}},
				})
			}
			reserve("1", 60)
			if r := reserve("2", 41); r.GetDecision().GetDeniedBy() != "budget" {
				t.Errorf("beyond the budget: %v", r)
			}
			if r, err := settle("1", 20); err != nil || r.GetLimits()[0].GetReturned() != 40 {
				t.Errorf("settled: %v, %v", r, err)
			}
			reserve("2", 50)
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			n = startNode(t, c)
			api = n.client
			for range 2 {
				_, settled := settle("2", 0)
				_, cancelled := api.Cancel(context.Background(), &headgatev1.CancelRequest{Domain: "llm", Id: []byte("2")})
				_, extended := api.Extend(context.Background(), &headgatev1.ExtendRequest{Domain: "llm", Id: []byte("2"), Lifetime: durationpb.New(time.Minute)})
				_, repeated := settle("1", 20)
				for what, err := range map[string]error{"settled": settled, "cancelled": cancelled, "extended": extended, "settled again": repeated} {
					want := "no reservation of this domain has it: none was made on this node since it started"
					if status.Code(err) != codes.NotFound || !strings.Contains(status.Convert(err).Message(), want) {
						t.Errorf("%s after a restart: %v", what, err)
					}
				}
			}
			if r := reserve("3", 31); r.GetDecision().GetDeniedBy() != "budget" {
				t.Errorf("more than is left: %v", r)
			}
			if r := reserve("2", 10); r.GetDecision().GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || r.GetDecision().GetRemaining() != 20 {
				t.Errorf("the id of one that was forgotten charges again: %v", r)
			}
			if r := reserve("4", 20); r.GetDecision().GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || r.GetDecision().GetRemaining() != 0 {
				t.Errorf("what is left: %v", r)
			}
		})
	}
}
