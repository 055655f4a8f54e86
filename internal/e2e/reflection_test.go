//go:build e2e

package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// TestGrpcurlFindsAndCallsEverything knows no proto file: all it is told comes
// from the server's reflection API.
func TestGrpcurlFindsAndCallsEverything(t *testing.T) {
	h := startHeadgate(t)
	for _, tc := range []struct {
		name string
		data string // the request, as JSON
		call string
		want []string
	}{
		{
			"the services are listed",
			"", "list",
			[]string{"envoy.service.ratelimit.v3.RateLimitService", "headgate.v1.DecisionService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"},
		},
		{
			"Envoy's service answers",
			`{"domain": "edge", "descriptors": [{"entries": [{"key": "user", "value": "mallory"}]}]}`,
			"envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
			[]string{`"overallCode": "OVER_LIMIT"`, `"name": "banned"`},
		},
		{
			"the native service answers",
			`{"domain": "edge", "attributes": [{"key": "user", "value": "mallory"}]}`,
			"headgate.v1.DecisionService/Check",
			[]string{`"verdict": "VERDICT_DENIED"`, `"deniedBy": "banned"`},
		},
		{
			"the node is healthy",
			"", "grpc.health.v1.Health/Check",
			[]string{`"status": "SERVING"`},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := []string{"tool", "-modfile=../tools/go.mod", "grpcurl", "-plaintext"}
			if tc.data != "" {
				args = append(args, "-d", tc.data)
			}
			out, err := exec.Command("go", append(args, h.grpc, tc.call)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, want := range tc.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("grpcurl printed no %s in:\n%s", want, out)
				}
			}
		})
	}
}
