package authz_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/authz"
	"github.com/headgate/headgate/internal/apitest"
	"github.com/headgate/headgate/limiter"
)

const edge = `
domain: edge
limits:
  - {name: per-client, by: [remote_address], rate: 1000000/s}
  - {name: per-key, by: [api_key], window: 1000000/hour}
  - {name: 'two "uploads"', when: {path: /upload}, by: [remote_address], window: 2/year}
---
domain: quiet
headers: none
limits:
  - {name: none, window: 0/year}
`

// A door decides as the server does.
type door struct {
	*authz.Service
	desk *api.Desk
}

func newDoor(tb testing.TB) *door {
	tb.Helper()
	s, err := authz.New(authz.Config{Bounds: api.DefaultBounds()})
	if err != nil {
		tb.Fatal(err)
	}
	now := func() limiter.Instant { return limiter.Instant(1_800_000_000 * time.Second) }
	return &door{s, api.NewDesk(apitest.Gate(tb, edge, apitest.Strict(), nil), now, time.Second)}
}

// serve appends the answer to b.
func (d *door) serve(dst, b []byte) []byte {
	x := d.desk.Open()
	defer d.desk.Close(x)
	err := d.Decode(b, x)
	if err == nil {
		d.desk.Begin(limiter.Instant(1_800_000_000*time.Second), x)
		err = x.Fault()
	}
	if err != nil {
		return d.AppendFault(dst, err)
	}
	return d.Append(dst, x)
}

// request asks for a path, with context extensions.
func request(tb testing.TB, path string, extensions map[string]string) []byte {
	tb.Helper()
	b, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "192.0.2.7"},
		}}},
		Request:           &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: path}},
		ContextExtensions: extensions,
	}})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// told is what a CheckResponse makes Envoy do, in lines.
func told(t *testing.T, b []byte) string {
	t.Helper()
	var m authv3.CheckResponse
	if err := proto.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintln(codes.Code(m.GetStatus().GetCode()))
	fields := m.GetOkResponse().GetResponseHeadersToAdd()
	if d := m.GetDeniedResponse(); d != nil {
		out += fmt.Sprintln(int32(d.GetStatus().GetCode()))
		fields = d.GetHeaders()
	}
	for _, f := range fields {
		if f.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%v is not overwritten", f)
		}
		out += fmt.Sprintf("%s: %s\n", f.GetHeader().GetKey(), f.GetHeader().GetValue())
	}
	if body := m.GetDeniedResponse().GetBody(); body != "" {
		var v any
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		out += body + "\n"
	}
	return out
}

func TestAnswersTellEnvoyWhatToDo(t *testing.T) {
	d := newDoor(t)
	edgeOf := map[string]string{"domain": "edge"}
	for _, tc := range []struct {
		name, path string
		extensions map[string]string
		want       string
	}{
		{"the first upload passes", "/upload", edgeOf, `OK
ratelimit-policy: "two \"uploads\"";q=2;w=31536000, "per-client";q=1000000;w=1
ratelimit: "two \"uploads\"";r=1;t=29088000, "per-client";r=999999;t=1
`},
		{"the second, too", "/upload?n=2", edgeOf, `OK
ratelimit-policy: "two \"uploads\"";q=2;w=31536000, "per-client";q=1000000;w=1
ratelimit: "two \"uploads\"";r=0;t=29088000, "per-client";r=999998;t=1
`},
		{"the third is denied", "/upload#3", edgeOf, `ResourceExhausted
429
content-type: application/problem+json
cache-control: no-store
ratelimit-policy: "two \"uploads\"";q=2;w=31536000, "per-client";q=1000000;w=1
ratelimit: "two \"uploads\"";r=0;t=29088000, "per-client";r=999998;t=1
retry-after: 29088000
x-headgate-limit: two "uploads"
{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota exceeded","status":429,"detail":"denied by limit \"two \\\"uploads\\\"\"","violated-policies":["two \"uploads\""]}
`},
		{"with a status that the route chose, and no header fields by policy", "/", map[string]string{"domain": "quiet", "deny_status": "403"}, `ResourceExhausted
403
content-type: application/problem+json
cache-control: no-store
x-headgate-limit: none
{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota exceeded","status":403,"detail":"denied by limit \"none\"","violated-policies":["none"]}
`},
		{"beyond a bound", "/" + strings.Repeat("x", 5000), edgeOf, `InvalidArgument
400
content-type: application/problem+json
cache-control: no-store
{"title":"Bad request","status":400,"detail":"attributes.path: 5001 bytes: at most 4096 bytes","field":"attributes.path"}
`},
		{"an unknown domain", "/", map[string]string{"domain": "nowhere"}, `NotFound
404
content-type: application/problem+json
cache-control: no-store
{"title":"Unknown domain","status":404,"detail":"domain: \"nowhere\": no policy has this domain","field":"domain"}
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := told(t, d.serve(nil, request(t, tc.path, tc.extensions))); got != tc.want {
				t.Errorf("got\n%swant\n%s", got, tc.want)
			}
		})
	}
	if got := told(t, d.serve(nil, []byte{0xff})); !strings.HasPrefix(got, "InvalidArgument\n400\n") {
		t.Errorf("no message: %s", got)
	}
}

func TestDegradedAnswersSayWhy(t *testing.T) {
	d := newDoor(t)
	x := d.desk.Open()
	if err := d.Decode(request(t, "/", map[string]string{"domain": "edge"}), x); err != nil {
		t.Fatal(err)
	}
	d.desk.Begin(limiter.Instant(1_800_000_000*time.Second), x)
	ch := &x.Call.Charges()[0]
	ch.Decision = limiter.Decision{Verdict: limiter.Allowed, Degraded: limiter.TableFull}
	if got := told(t, d.Append(nil, x)); !strings.HasPrefix(got, "OK\n") || !strings.Contains(got, "x-headgate-degraded: table_full\n") {
		t.Error(got)
	}
	ch.Decision = limiter.Decision{Verdict: limiter.Denied, Degraded: limiter.TableFull, RetryAfter: time.Second}
	got := told(t, d.Append(nil, x))
	for _, want := range []string{"429\n", "x-headgate-degraded: table_full\n", "retry-after: 1\n", `#temporary-reduced-capacity","title":"Temporarily reduced capacity"`, `decided without its counter: table_full"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// cases are requests that a real Envoy sent, allowed, denied.
func cases(tb testing.TB) map[string][]byte {
	tb.Helper()
	recorded, err := os.ReadFile("testdata/envoy-recorded/post-through-proxies.bin")
	if err != nil {
		tb.Fatal(err)
	}
	return map[string][]byte{
		"recorded": recorded,
		"denied":   request(tb, "/", map[string]string{"domain": "quiet"}),
		"headers":  request(tb, "/upload", map[string]string{"domain": "edge", "headers": "api_key=x-api-key", "plan": "free", "cost": "1"}),
	}
}

func BenchmarkCheck(b *testing.B) {
	for name, in := range cases(b) {
		b.Run(name, func(b *testing.B) {
			d := newDoor(b)
			out := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				out = d.serve(out[:0], in)
			}
		})
	}
}
