//go:build !race

// The race detector makes sync.Pool forget at random.

package rpc

import (
	"os"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"

	"github.com/headgate/headgate/api/h2"
	"github.com/headgate/headgate/internal/apitest"
	"github.com/headgate/headgate/limiter"
)

// From the bytes of a message that a real Envoy sent to those of its answer; that
// the frames and header blocks around it cost nothing either, is asserted in
// api/h2.
func TestARecordedRequestAllocatesNothing(t *testing.T) {
	for method, file := range map[string]string{
		rlsv3.RateLimitService_ShouldRateLimit_FullMethodName: "../rls/testdata/envoy-recorded/two-descriptors.bin",
		authv3.Authorization_Check_FullMethodName:             "../authz/testdata/envoy-recorded/post.bin",
	} {
		t.Run(method, func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			allocatesNothing(t, method, in)
		})
	}
}

func allocatesNothing(t *testing.T, method string, in []byte) {
	t.Helper()
	gate := apitest.Gate(t, `
domain: edge
limits:
  - {name: per-path, by: [path], rate: 1000000/s}
  - {name: per-key, by: [api_key], rate: 1000000/s}
  - {name: client, by: [remote_address], rate: 1000000/s}
`, apitest.Strict(), nil)
	c := Default()
	now := limiter.Instant(1e18)
	s, err := New(&c, gate, func() limiter.Instant { return now }, Events{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	u := s.fast()[method]
	var call h2.Call
	out := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(1000, func() {
		now++
		call = h2.Call{In: in, Now: int64(now), State: call.State}
		u.Begin(&call)
		if u.Prepare(&call) {
			u.Prepare(&call)
		}
		if !u.Decide(&call) || call.Failed() {
			t.Fatal("not decided")
		}
		out = u.Answer(out[:0], &call)
	}); n != 0 || len(out) < 20 {
		t.Fatalf("%v allocations, an answer of %d bytes", n, len(out))
	}
}
