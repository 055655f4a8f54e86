package bench

import (
	"testing"

	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// encode returns the wire form of m.
func encode(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func seeds(tb testing.TB) [][]byte {
	tb.Helper()
	item := func(v headgatev1.Verdict) *headgatev1.CheckBatchItem {
		return &headgatev1.CheckBatchItem{Outcome: &headgatev1.CheckBatchItem_Response{Response: &headgatev1.CheckResponse{Verdict: v, PolicyVersion: 1}}}
	}
	return [][]byte{
		nil,
		encode(tb, &rls.RateLimitResponse{OverallCode: rls.RateLimitResponse_OK}),
		encode(tb, &rls.RateLimitResponse{
			OverallCode: rls.RateLimitResponse_OVER_LIMIT,
			Statuses: []*rls.RateLimitResponse_DescriptorStatus{{
				Code: rls.RateLimitResponse_OVER_LIMIT, LimitRemaining: 3, DurationUntilReset: durationpb.New(1e9),
				CurrentLimit: &rls.RateLimitResponse_RateLimit{Name: "n", RequestsPerUnit: 7},
			}},
		}),
		encode(tb, &headgatev1.CheckResponse{Verdict: headgatev1.Verdict_VERDICT_DENIED, DeniedBy: "x", PolicyHash: "abc"}),
		encode(tb, &headgatev1.CheckBatchResponse{Items: []*headgatev1.CheckBatchItem{
			item(1), item(2), item(0),
			{},
			{Outcome: &headgatev1.CheckBatchItem_Error{Error: &headgatev1.CheckError{Code: 3, Message: "no"}}},
			{Outcome: &headgatev1.CheckBatchItem_Error{Error: &headgatev1.CheckError{Code: 99}}},
			{Outcome: &headgatev1.CheckBatchItem_Error{Error: &headgatev1.CheckError{}}},
		}}),
		{0x0a, 0x04, 0x0a, 0x00, 0x12, 0x00},                   // an item with a response, then an error
		{0x0a, 0x08, 0x0a, 0x02, 0x08, 0x02, 0x0a, 0x02, 0, 0}, // a response in two parts, the second malformed
		{0x08, 0x80, 0x80, 0x80, 0x80, 0x10, 0x08, 0x01},       // a code beyond 32 bits, then OK
		{0x0b, 0x0c, 0x08, 0x01},                               // a group
		{0x08},
		{0x0a, 0xff},
	}
}

// FuzzResponse checks that whatever the generated code accepts is read the same.
func FuzzResponse(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var o outcome
		ok := decodeRLS(b, &o)
		var r rls.RateLimitResponse
		if proto.Unmarshal(b, &r) == nil {
			var want outcome
			want.count(uint64(r.OverallCode))
			if !ok || o != want {
				t.Errorf("RLS: %v %v, want %v", ok, o, want)
			}
		}

		o = outcome{}
		ok = decodeCheck(b, &o)
		var c headgatev1.CheckResponse
		if proto.Unmarshal(b, &c) == nil {
			var want outcome
			want.count(uint64(c.Verdict))
			if !ok || o != want {
				t.Errorf("check: %v %v, want %v", ok, o, want)
			}
		}

		o = outcome{}
		ok = decodeBatch(b, &o)
		var batch headgatev1.CheckBatchResponse
		if proto.Unmarshal(b, &batch) == nil {
			var want outcome
			for _, item := range batch.Items {
				e, isError := item.Outcome.(*headgatev1.CheckBatchItem_Error)
				switch {
				case !isError:
					want.count(uint64(item.GetResponse().GetVerdict()))
				case e.Error.GetCode() == 0 || e.Error.GetCode() >= codesMax:
					want.failed[codeUnknown]++
				default:
					want.failed[e.Error.GetCode()]++
				}
			}
			if !ok || o != want || o.answered() != len(batch.Items) {
				t.Errorf("batch: %v %v, want %v", ok, o, want)
			}
		}
	})
}

func TestVerdictsAreTold(t *testing.T) {
	for _, tc := range []struct {
		name string
		body []byte
		want outcome
	}{
		{"nothing said", nil, outcome{unknown: 1}},
		{"allowed", []byte{8, 1}, outcome{ok: 1}},
		{"denied", []byte{8, 2}, outcome{over: 1}},
		{"a code that does not exist", []byte{8, 3}, outcome{unknown: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var o outcome
			if !decodeRLS(tc.body, &o) || o != tc.want {
				t.Errorf("got %+v, want %+v", o, tc.want)
			}
		})
	}
}
