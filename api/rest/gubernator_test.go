package rest_test

import (
	"strings"
	"testing"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/rest"
	"github.com/headgate/headgate/limiter"
)

// asGubernator is what its clients send over HTTP: numbers as numbers or as texts,
// names of either kind, fields that nobody knows.
const asGubernator = `{"requests": [
	{"name": "logins", "unique_key": "ann", "hits": 2, "limit": "3", "duration": 3600000, "later": {}},
	{"name": "logins", "uniqueKey": "ann", "hits": "2", "limit": 3, "duration": "3600000", "algorithm": "TOKEN_BUCKET", "behavior": "DRAIN_OVER_LIMIT"},
	{"name": "logins", "unique_key": "ann", "limit": 3, "duration": 3600000, "algorithm": 1, "behavior": 3, "metadata": {"trace": "x"}},
	{"name": "elsewhere", "unique_key": "ann", "limit": 3, "duration": 3600000}
]}`

func TestGubernatorsPaths(t *testing.T) {
	h := handler(t)
	a := ask(h, "POST", "/v1/GetRateLimits", asGubernator)
	const want = `{"responses":[` +
		`{"status":"UNDER_LIMIT","limit":"3","remaining":"1","reset_time":"1800003600000","error":"","metadata":{}},` +
		`{"status":"OVER_LIMIT","limit":"3","remaining":"0","reset_time":"1800003600000","error":"","metadata":{}},` +
		`{"status":"UNDER_LIMIT","limit":"3","remaining":"3","reset_time":"1800000000000","error":"","metadata":{}},` +
		`{"status":"UNDER_LIMIT","limit":"0","remaining":"0","reset_time":"0","error":"name: \"elsewhere\": no domain takes limits of this name from requests","metadata":{}}]}`
	// protojson puts spaces at random, so that nobody relies on them.
	if got := strings.NewReplacer(", ", ",", `": `, `":`).Replace(a.body); a.status != 200 || got != strings.NewReplacer(", ", ",", `": `, `":`).Replace(want) {
		t.Errorf("%d\n got %s\nwant %s", a.status, got, want)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: %s", got)
	}
	if got := h.Desk.Faults(); got != 1 {
		t.Errorf("%d faults", got)
	}
}

func TestWhatGubernatorsPathsRefuse(t *testing.T) {
	unready := handler(t, func(c *rest.Config) { c.Ready = func() bool { return false } })
	for _, tt := range []struct {
		h                    *rest.Handler
		method, target, body string
		status               int
		part                 string
	}{
		{unready, "GET", "/v1/HealthCheck", "", 503, "not serving"},
		{unready, "GET", "/v1/LiveCheck", "", 200, "{}"},
		{handler(t), "GET", "/v1/HealthCheck", "", 200, "healthy"},
		{handler(t), "GET", "/v1/GetRateLimits", "", 405, "must be POST"},
		{handler(t), "POST", "/v1/HealthCheck", "", 405, "must be GET"},
		{handler(t), "POST", "/v1/LiveCheck", "", 405, "must be GET"},
		{handler(t), "POST", "/v1/GetRateLimits", "{", 400, "must be a GetRateLimitsReq in JSON"},
		{handler(t), "POST", "/v1/GetRateLimits", `{"requests": [{"hits": 1.5}]}`, 400, "must be a GetRateLimitsReq in JSON"},
		{handler(t), "POST", "/v1/GetRateLimits", `{"requests": [` + strings.Repeat("{},", 1000) + `{}]}`, 400, "requests: 1001: at most 1000"},
		{handler(t), "POST", "/v1/GetRateLimits", strings.Repeat(" ", 2<<20), 413, "1048576"},
	} {
		a := ask(tt.h, tt.method, tt.target, tt.body)
		if a.status != tt.status || !strings.Contains(a.body, tt.part) {
			t.Errorf("%s %s: %d %s, want %d and %q", tt.method, tt.target, a.status, a.body, tt.status, tt.part)
		}
	}
}

// A decider that never answers is not waited for.
func TestGubernatorsItemsAreDecidedInTime(t *testing.T) {
	never := func(api.Decider) api.Decider {
		return deciderFunc(func(limiter.Instant, *limiter.Call) bool { return false })
	}
	h, err := rest.New(config(t, never))
	if err != nil {
		t.Fatal(err)
	}
	a := ask(h, "POST", "/v1/GetRateLimits", `{"requests": [{"name": "logins", "unique_key": "ann", "hits": 1, "limit": 3, "duration": 1000}]}`)
	if a.status != 200 || !strings.Contains(a.body, "unavailable") || !strings.Contains(a.body, "UNDER_LIMIT") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
