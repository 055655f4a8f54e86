package rls_test

import (
	"context"
	"strings"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/rls"
	"github.com/headgate/headgate/internal/apitest"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// edge matches what the recorded requests ask, and more.
const edge = `
domain: edge
limits:
  - {name: per-client, by: [remote_address], rate: 1000000/s}
  - {name: path-and-client, descriptor: [path, remote_address], window: 1000000/min}
  - {name: per-key, when: {plan: free}, by: [api_key], window: 1000000/hour}
  - {name: any-user, by: [user], rate: 1000000/s, shadow: true}
  - {name: three, by: [three], window: 3/hour}
`

// service returns a service over a real policy and a real table.
func service(tb testing.TB) *rls.Service {
	tb.Helper()
	return serviceOf(tb, edge)
}

func serviceOf(tb testing.TB, text string) *rls.Service {
	tb.Helper()
	desk := api.NewDesk(apitest.Gate(tb, text, apitest.Strict(), nil), wallClock, time.Second)
	return &rls.Service{Desk: desk, Bounds: api.DefaultBounds(), Headers: rls.DefaultHeaders()}
}

func wallClock() limiter.Instant { return limiter.Instant(time.Now().UnixNano()) }

// requests returns the recorded requests, and some that Envoy would send in
// other configurations.
func requests(tb testing.TB) map[string][]byte {
	tb.Helper()
	all := map[string][]byte{}
	for name, b := range apitest.Recorded(tb) {
		all["recorded/"+name] = b
	}
	all["one entry"] = request(tb, "edge", descriptor("remote_address", "192.0.2.7"))
	all["six descriptors"] = request(tb, "edge",
		descriptor("remote_address", "192.0.2.7"),
		descriptor("path", "/search", "remote_address", "192.0.2.7"),
		descriptor("plan", "free", "api_key", "0123456789abcdef0123456789abcdef"),
		descriptor("user", "someone@example.org", "remote_address", "192.0.2.8"),
		descriptor("generic_key", "nobody asks"),
		descriptor("header_match", strings.Repeat("long", 500)))
	return all
}

func descriptor(kv ...string) *ratelimitv3.RateLimitDescriptor {
	d := &ratelimitv3.RateLimitDescriptor{}
	for i := 0; i < len(kv); i += 2 {
		d.Entries = append(d.Entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: kv[i], Value: kv[i+1]})
	}
	return d
}

func request(tb testing.TB, domain string, ds ...*ratelimitv3.RateLimitDescriptor) []byte {
	tb.Helper()
	b, err := proto.Marshal(&rlsv3.RateLimitRequest{Domain: domain, Descriptors: ds})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// serve takes one request from bytes in hand to the encoded answer.
func serve(ctx context.Context, s *rls.Service, b []byte) error {
	x := s.Desk.Open()
	x.In = append(x.In[:0], b...)
	x, err := s.ShouldRateLimit(ctx, x)
	s.Desk.Close(x)
	return err
}

// ask returns the answer as Envoy reads it.
func ask(tb testing.TB, s *rls.Service, b []byte) (*rlsv3.RateLimitResponse, error) {
	tb.Helper()
	x := s.Desk.Open()
	x.In = append(x.In[:0], b...)
	x, err := s.ShouldRateLimit(tb.Context(), x)
	defer s.Desk.Close(x)
	if err != nil {
		return nil, err
	}
	var resp rlsv3.RateLimitResponse
	if err := proto.Unmarshal(x.Out, &resp); err != nil {
		tb.Fatal(err)
	}
	return &resp, nil
}

func TestTheFourthOfThreeIsDenied(t *testing.T) {
	s := service(t)
	b := request(t, "edge", descriptor("three", "x"))
	for n := range 4 {
		resp, err := ask(t, s, b)
		if err != nil {
			t.Fatal(err)
		}
		want := rlsv3.RateLimitResponse_OK
		if n == 3 {
			want = rlsv3.RateLimitResponse_OVER_LIMIT
		}
		status := resp.GetStatuses()[0]
		if resp.GetOverallCode() != want || status.GetCode() != want || status.GetLimitRemaining() != uint32(max(2-n, 0)) {
			t.Fatalf("call %d: %v", n+1, resp)
		}
		if l := status.GetCurrentLimit(); l.GetName() != "three" || l.GetRequestsPerUnit() != 3 || l.GetUnit() != rlsv3.RateLimitResponse_RateLimit_HOUR {
			t.Fatalf("current_limit %v", l)
		}
		if n == 3 {
			hs := resp.GetResponseHeadersToAdd()
			if len(hs) != 2 || hs[0].GetKey() != "retry-after" || hs[1].GetValue() != "three" {
				t.Fatalf("headers %v", hs)
			}
		}
	}
}

// hits_addend 0 looks, and is_negative_hits gives back, as Envoy's documents say.
func TestPeekAndGiveBack(t *testing.T) {
	s := service(t)
	with := func(hits *wrapperspb.UInt64Value, negative bool) []byte {
		d := descriptor("three", "y")
		d.HitsAddend, d.IsNegativeHits = hits, negative
		return request(t, "edge", d)
	}
	for _, c := range []struct {
		b    []byte
		left uint32
	}{
		{with(wrapperspb.UInt64(0), false), 3},
		{with(wrapperspb.UInt64(2), false), 1},
		{with(wrapperspb.UInt64(0), false), 1},
		{with(wrapperspb.UInt64(1), true), 2},
		{with(nil, false), 1},
		{with(wrapperspb.UInt64(9), true), 3},
	} {
		resp, err := ask(t, s, c.b)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.GetStatuses()[0].GetLimitRemaining(); got != c.left || resp.GetOverallCode() != rlsv3.RateLimitResponse_OK {
			t.Fatalf("%d left, want %d: %v", got, c.left, resp)
		}
	}
}

func TestAnUnknownDomainCanBeAnError(t *testing.T) {
	s := service(t)
	_, err := ask(t, s, request(t, "nowhere", descriptor("a", "b")))
	if api.Code(err) != codes.NotFound || !strings.Contains(err.Error(), `"nowhere"`) {
		t.Fatalf("got %v", err)
	}
}

// ShouldRateLimit's result for what does not parse is the caller's to close.
func TestAMalformedRequestIsAFault(t *testing.T) {
	s := service(t)
	if _, err := ask(t, s, []byte{0xff}); api.Code(err) != codes.InvalidArgument {
		t.Fatalf("got %v", err)
	}
}

func BenchmarkRLS(b *testing.B) {
	s := service(b)
	for name, m := range map[string][]byte{
		"minimal":  requests(b)["recorded/minimal"],
		"recorded": requests(b)["recorded/two-descriptors"],
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := serve(b.Context(), s, m); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"-decode", func(b *testing.B) {
			b.ReportAllocs()
			var r policy.Request
			for b.Loop() {
				r.Reset()
				if err := rls.Decode(m, &s.Bounds, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestAPolicyAddsHeaderFamilies(t *testing.T) {
	s := serviceOf(t, strings.Replace(edge, "domain: edge\n", "domain: edge\nheaders: [draft]\n", 1))
	var last rlsv3.RateLimitResponse
	for range 4 {
		x := s.Desk.Open()
		var err error
		if x.In, err = proto.Marshal(&rlsv3.RateLimitRequest{Domain: "edge", Descriptors: []*ratelimitv3.RateLimitDescriptor{{
			Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "three", Value: "a"}},
		}}}); err != nil {
			t.Fatal(err)
		}
		if x, err = s.ShouldRateLimit(t.Context(), x); err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(x.Out, &last); err != nil {
			t.Fatal(err)
		}
		s.Desk.Close(x)
	}
	got := map[string]string{}
	for _, h := range last.GetResponseHeadersToAdd() {
		got[h.GetKey()] = string(h.GetRawValue()) + h.GetValue()
	}
	if got["ratelimit-policy"] != `"three";q=3;w=3600` || !strings.HasPrefix(got["ratelimit"], `"three";r=0;t=`) || got["x-headgate-limit"] != "three" {
		t.Errorf("headers %v", got)
	}
	if v, ok := got["retry-after"]; ok {
		t.Errorf("the policy chose others, and still retry-after: %s", v)
	}
}
