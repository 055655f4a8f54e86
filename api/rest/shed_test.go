package rest_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/headgate/headgate/api/rest"
)

func TestALateNodeShedsEveryWayToAskAndChargesNothing(t *testing.T) {
	var late atomic.Bool
	h := handler(t, func(c *rest.Config) { c.Behind = late.Load })
	const body = `{"domain": "strict", "attributes": {"user": "u", "open": "u"}}`
	late.Store(true)
	for i, c := range []struct {
		name, method, path, body string
		fields                   []string
		status                   int
		says                     string // once for each decision
		decisions                int
	}{
		{"a check", "POST", "/v1/check", body, nil, 429, `"decision":{"verdict":"denied"`, 1},
		{"a batch", "POST", "/v1/batch", `{"checks": [` + body + `, ` + body + `]}`, nil, 200, `"decision":{"verdict":"denied"`, 2},
		{"forward-auth", "GET", "/v1/forward-auth/strict", "", []string{"X-RateLimit-Attributes", "user=u"}, 429, `"violated-policies":["strict"]`, 1},
		{"Gubernator's batch", "POST", "/v1/GetRateLimits", asGubernator, nil, 200, `"metadata":{"degraded":"overload"}`, 3}, // the fourth is refused
		{"Envoy's /json", "POST", "/json", `{"domain": "strict", "descriptors": [{"entries": [{"key": "user", "value": "u"}]}]}`, nil, 429, `"overallCode":"OVER_LIMIT"`, 1},
	} {
		a := ask(h, c.method, c.path, c.body, c.fields...)
		if a.status != c.status || strings.Count(strings.ReplaceAll(a.body, " ", ""), c.says) != c.decisions {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
		if a.header.Get("X-Headgate-Degraded") != "overload" && !strings.Contains(strings.ReplaceAll(a.body, " ", ""), `"degraded":"overload"`) {
			t.Errorf("%s does not say why: %v %s", c.name, a.header, a.body)
		}
		if n := h.Shed(); n != uint64(i+1) {
			t.Errorf("%s: %d requests are counted, want %d", c.name, n, i+1)
		}
	}
	// A limit that says nothing of it lets the call pass.
	if a := ask(h, "POST", "/v1/check", `{"domain": "strict", "attributes": {"open": "u"}}`); a.status != 200 || a.header.Get("X-Headgate-Degraded") != "overload" {
		t.Errorf("on_unavailable: allow: %d %v", a.status, a.header)
	}
	// What is malformed is still said, and is no overload.
	if a := ask(h, "POST", "/v1/check", `{"domain": ""}`); a.status != 400 {
		t.Errorf("malformed: %d", a.status)
	}
	late.Store(false)
	a := ask(h, "POST", "/v1/check", body)
	if a.status != 200 || !strings.Contains(a.body, `"remaining":0`) || strings.Contains(a.body, "overload") {
		t.Errorf("the only unit is still there: %d %s", a.status, a.body)
	}
}
