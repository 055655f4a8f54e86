package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

func requestOf(id string, cost uint64) *headgatev1.CheckRequest {
	return &headgatev1.CheckRequest{
		Domain: "shop", Cost: &cost, RequestId: []byte(id),
		Attributes: []*headgatev1.Attribute{{Key: "user", Value: "alice"}},
	}
}

// TestARequestIDIsChargedOnceByEveryDoorThatTakesIt: the same id answers the same,
// also from the next process, and another cost is an error of its check alone.
func TestARequestIDIsChargedOnceByEveryDoorThatTakesIt(t *testing.T) {
	c := patientConfig(t, yearly(9)+"    mode: exact\n")
	n := startNode(t, c)
	for range 2 {
		r, err := n.client.Check(t.Context(), requestOf("a", 2))
		if err != nil || r.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || r.GetRemaining() != 7 {
			t.Fatalf("%v, %v, want 7 remaining", r, err)
		}
	}
	if _, err := n.client.Check(t.Context(), requestOf("a", 3)); status.Code(err) != codes.AlreadyExists {
		t.Errorf("another cost: %v", err)
	}

	batch, err := n.client.CheckBatch(t.Context(), &headgatev1.CheckBatchRequest{Checks: []*headgatev1.CheckRequest{
		requestOf("a", 2), requestOf("a", 1), requestOf("b", 1), requestOf("", 1),
	}})
	if err != nil {
		t.Fatal(err)
	}
	items := batch.GetItems()
	if got := items[1].GetError().GetCode(); got != uint32(codes.AlreadyExists) {
		t.Errorf("another cost in a batch: %v", items[1])
	}
	for i, want := range map[int]uint64{0: 7, 2: 6, 3: 5} {
		if r := items[i].GetResponse(); r.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || r.GetRemaining() != want {
			t.Errorf("item %d: %v, want %d remaining", i, items[i], want)
		}
	}
	streamed(t, n)
	overHTTP(t, n)

	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, c)
	r, err := n.client.Check(t.Context(), requestOf("a", 2))
	if err != nil || r.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || r.GetRemaining() != 5 {
		t.Errorf("after a restart: %v, %v, want 5 remaining", r, err)
	}
	back := requestOf("a", 2)
	back.GiveBack = true
	for range 2 {
		if r, err = n.client.Check(t.Context(), back); err != nil || r.GetRemaining() != 7 {
			t.Errorf("given back: %v, %v, want 7 remaining", r, err)
		}
	}
	if _, err := n.client.Check(t.Context(), requestOf("a", 2)); status.Code(err) != codes.AlreadyExists {
		t.Errorf("charged again after it was given back: %v", err)
	}
	if q := quotaOf(t, n, "alice"); q.Exact != 2 || q.Used != 2 {
		t.Errorf("%+v, want 2 units charged", q)
	}
}

// streamed asks in a stream for what was charged, and for it at another cost.
func streamed(t *testing.T, n *testNode) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := n.client.CheckStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&headgatev1.CheckStreamRequest{Checks: []*headgatev1.StreamCheck{
		{Id: 1, Check: requestOf("b", 1)}, {Id: 2, Check: requestOf("b", 4)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	passed, code := false, uint32(0)
	for !passed || code == 0 {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range r.GetAllowed() {
			passed = passed || id == 1
		}
		for _, a := range r.GetAnswers() {
			if a.GetId() != 2 {
				t.Fatalf("%v", a)
			}
			code = a.GetError().GetCode()
		}
	}
	if code != uint32(codes.AlreadyExists) {
		t.Errorf("another cost in a stream: code %d", code)
	}
}

// overHTTP asks for what was charged by POST /v1/check.
func overHTTP(t *testing.T, n *testNode) {
	t.Helper()
	for cost, want := range map[int]int{2: http.StatusOK, 3: http.StatusConflict} {
		body := fmt.Sprintf(`{"domain": "shop", "attributes": {"user": "alice"}, "cost": %d, "request_id": "a"}`, cost)
		r, err := http.Post("http://"+n.HTTP+"/v1/check", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("cost %d: %d %s, want %d", cost, r.StatusCode, answer, want)
		}
	}
}

// TestARequestIDIsDecidedOnceBesideOtherLimits: in all_or_nothing what passed passes again,
// whatever the other limits say by then, and what they denied is charged nothing.
func TestARequestIDIsDecidedOnceBesideOtherLimits(t *testing.T) {
	both := yearly(9) + "    mode: exact\n  - {name: once, by: [user], window: 1/day}\n"
	c := patientConfig(t, both)
	n := startNode(t, c)
	for _, step := range []struct {
		id      string
		restart bool
		want    headgatev1.Verdict
	}{
		{"a", false, headgatev1.Verdict_VERDICT_ALLOWED},
		{"a", false, headgatev1.Verdict_VERDICT_ALLOWED},
		{"b", false, headgatev1.Verdict_VERDICT_DENIED},
		{"b", true, headgatev1.Verdict_VERDICT_DENIED},
		{"a", false, headgatev1.Verdict_VERDICT_ALLOWED},
	} {
		if step.restart {
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			n = startNode(t, c)
		}
		r, err := n.client.Check(t.Context(), requestOf(step.id, 1))
		if err != nil || r.GetVerdict() != step.want {
			t.Errorf("%+v: %v, %v", step, r, err)
		}
		if q := quotaOf(t, n, "alice"); q.Used != 1 {
			t.Errorf("%+v: %+v, want 1 unit charged", step, q)
		}
	}
	if _, err := n.client.Check(t.Context(), requestOf("a", 2)); status.Code(err) != codes.AlreadyExists {
		t.Errorf("another cost: %v", err)
	}
}

// TestARequestIDThatCantBeRememberedIsRefused: a quota that denies nobody can't say what
// became of a call.
func TestARequestIDThatCantBeRememberedIsRefused(t *testing.T) {
	both := yearly(9) + "    mode: exact\n    shadow: true\n  - {name: rate, by: [user], rate: 100/s}\n"
	n := startNode(t, patientConfig(t, both))
	if _, err := n.client.Check(t.Context(), requestOf("a", 2)); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "request_id") {
		t.Errorf("all_or_nothing: %v", err)
	}
	if q := quotaOf(t, n, "alice"); q.Used != 0 {
		t.Errorf("%+v, want nothing charged", q)
	}
	n = startNode(t, patientConfig(t, both+"charge: all\n"))
	for range 2 {
		if r, err := n.client.Check(t.Context(), requestOf("a", 2)); err != nil || r.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
			t.Errorf("all: %v, %v", r, err)
		}
	}
}
