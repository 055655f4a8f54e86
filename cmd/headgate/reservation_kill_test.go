package main

import (
	"context"
	"os"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// TestAReservationOfAKilledNodeStaysCharged: by its estimate, whatever is asked of it then,
// and what was settled before stays as it was settled.
func TestAReservationOfAKilledNodeStaysCharged(t *testing.T) {
	t.Setenv("HEADGATE_GRPC_DECIDE_TIMEOUT", "10s") // the disk may be slow
	v := newVictim(t, "domain: shop\nlimits:\n  - {name: exact, by: [exact], quota: 100/year, mode: exact}\n")
	v.start()
	client, closeClient := v.client()
	call := func(id string) {
		t.Helper()
		r, err := client.Reserve(t.Context(), &headgatev1.ReserveRequest{
			Domain: "shop", Id: []byte(id), Cost: new(uint64(30)), Attributes: killRequest("exact", 1).GetAttributes(),
		})
		if err != nil || r.GetDecision().GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
			t.Fatalf("%s: %v, %v", id, r, err)
		}
	}
	settle := func(id string) error {
		_, err := client.Settle(context.Background(), &headgatev1.SettleRequest{Domain: "shop", Id: []byte(id), Cost: new(uint64(10))})
		return err
	}
	used := func(what string, want uint64) {
		t.Helper()
		if q := v.quota("exact"); q.Used != want || q.Exact != want || q.Remaining != 100-want || q.Stranded != 0 || q.Debt != 0 {
			t.Errorf("%s: %+v, want %d used", what, q, want)
		}
	}
	call("1")
	call("2")
	if err := settle("1"); err != nil {
		t.Fatal(err)
	}
	used("before", 40)
	v.end(os.Kill)
	closeClient()

	v.start()
	client, closeClient = v.client()
	defer closeClient()
	for _, id := range []string{"1", "2"} {
		if err := settle(id); status.Code(err) != codes.NotFound {
			t.Errorf("%s, which was made before the node was killed: %v", id, err)
		}
	}
	used("after", 40)
	call("2") // another reservation
	used("with the same id again", 70)
	if err := settle("2"); err != nil {
		t.Error(err)
	}
	used("that one settled", 50)
}
