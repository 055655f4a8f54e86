package rest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/headers"
	"github.com/headgate/headgate/api/rest"
	"github.com/headgate/headgate/limiter"
)

func TestACheckIsAllowedThenDenied(t *testing.T) {
	h := handler(t)
	const body = `{"domain": "shop", "attributes": {"user": "alice"}}`
	for left := 2; left >= 0; left-- {
		a := ask(h, "POST", "/v1/check", body)
		got := a.json(t)
		if a.status != 200 || got["verdict"] != "allowed" || got["remaining"] != float64(left) || got["policy_version"] != 7.0 {
			t.Fatalf("%d left: %d %s", left, a.status, a.body)
		}
		if want := fmt.Sprintf(`"per-user";r=%d;t=3600`, left); a.header.Get("RateLimit") != want || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%v, want RateLimit %s", a.header, want)
		}
	}
	a := ask(h, "POST", "/v1/check", body)
	got := a.json(t)
	if a.status != 429 || got["type"] != headers.QuotaExceeded || got["status"] != 429.0 || fmt.Sprint(got["violated-policies"]) != "[per-user]" {
		t.Errorf("%d %s", a.status, a.body)
	}
	decision, _ := got["decision"].(map[string]any)
	if decision["verdict"] != "denied" || decision["denied_by"] != "per-user" || decision["retry_after_seconds"] != 3600.0 {
		t.Errorf("decision %v", decision)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/problem+json", "Retry-After": "3600", "Cache-Control": "no-store",
		"RateLimit-Policy": `"per-user";q=3;w=3600`, "X-Headgate-Limit": "per-user",
	} {
		if a.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, a.header.Get(name), want)
		}
	}
}

func TestAPolicyChoosesTheHeaders(t *testing.T) {
	h := handler(t)
	quiet := ask(h, "POST", "/v1/check", `{"domain": "quiet", "attributes": {"user": "a"}, "cost": 2}`)
	for _, name := range []string{"RateLimit", "RateLimit-Policy", "Retry-After", "X-RateLimit-Limit", "RateLimit-Limit"} {
		if v := quiet.header.Get(name); v != "" {
			t.Errorf("headers: none, and still %s: %s", name, v)
		}
	}
	old := ask(h, "POST", "/v1/check", `{"domain": "old", "attributes": {"user": "a"}}`)
	for name, want := range map[string]string{
		"X-RateLimit-Limit": "1", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3600", "RateLimit-Limit": "1", "RateLimit": "",
	} {
		if old.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, old.header.Get(name), want)
		}
	}
}

func TestTheFormsOfAttributes(t *testing.T) {
	for _, tc := range []struct{ name, attributes, limit string }{
		{"an object", `{"user": "bob"}`, "per-user"},
		{"a list of pairs", `[{"key": "user", "value": "bob"}]`, "per-user"},
		{"an object in the order that a descriptor asks for", `{"path": "/login", "user": "bob"}`, "logins"},
		{"a list in that order", `[{"key": "path", "value": "/login"}, {"key": "user", "value": "bob"}]`, "logins"},
		{"numbers and booleans as they are written", `{"number": 42, "flag": true}`, "fixed"},
		{"numbers in pairs", `[{"key": "number", "value": 42}, {"key": "flag", "value": true}]`, "fixed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := ask(handler(t), "POST", "/v1/check", `{"domain": "shop", "attributes": `+tc.attributes+`}`)
			if a.status != 200 || !strings.Contains(a.body, `"name":"`+tc.limit+`"`) {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

func TestPeekChargesNothingAndGiveBackReturns(t *testing.T) {
	h := handler(t)
	body := func(more string) string {
		return `{"domain": "quiet", "attributes": {"user": "a"}` + more + `}`
	}
	for _, step := range []struct {
		more    string
		status  int
		verdict string
	}{
		{`, "peek": true`, 200, "allowed"},
		{`, "peek": true`, 200, "allowed"},
		{``, 200, "allowed"},
		{`, "peek": true`, 200, "denied"},
		{``, 429, "denied"},
		{`, "give_back": true`, 200, "allowed"},
		{`, "cost": 0`, 200, "allowed"},
		{`, "cost": 1.0, "peek": null`, 200, "allowed"},
		{`, "give_back": true`, 200, "allowed"},
		{``, 200, "allowed"},
	} {
		a := ask(h, "POST", "/v1/check", body(step.more))
		if a.status != step.status || !strings.Contains(a.body, `"verdict":"`+step.verdict+`"`) {
			t.Errorf("%q: %d %s", step.more, a.status, a.body)
		}
	}
}

func TestCallersWhoCanWaitAreToldHowLong(t *testing.T) {
	h := handler(t)
	body := func(more string) string {
		return `{"domain": "turns", "attributes": {"user": "a"}` + more + `}`
	}
	for _, step := range []struct {
		name, more string
		status     int
		verdict    string
		wait       any // nil: not said
	}{
		{"the first starts at once", `, "can_wait": true`, 200, "allowed", nil},
		{"the next in turn", `, "can_wait": true`, 200, "allowed", 0.01},
		{"a peek is told what it would be", `, "can_wait": true, "peek": true`, 200, "allowed", 0.02},
		{"who can't wait is refused", ``, 429, "denied", nil},
		{"and took no turn", `, "can_wait": true`, 200, "allowed", 0.02},
		{"a wait beyond max_wait is a denial", `, "can_wait": true`, 429, "denied", nil},
		{"a turn given back", `, "can_wait": true, "give_back": true`, 200, "allowed", nil},
		{"is another's", `, "can_wait": true`, 200, "allowed", 0.02},
	} {
		a := ask(h, "POST", "/v1/check", body(step.more))
		d := a.json(t)
		if a.status == 429 {
			d, _ = d["decision"].(map[string]any)
		}
		limits, _ := d["limits"].([]any)
		limit, _ := limits[0].(map[string]any)
		if a.status != step.status || d["verdict"] != step.verdict || d["wait_seconds"] != step.wait || limit["wait_seconds"] != step.wait ||
			limit["max_wait_seconds"] != 0.025 {
			t.Errorf("%s: %d %s", step.name, a.status, a.body)
		}
	}
	a := ask(h, "POST", "/v1/batch", `{"checks": [`+body(`, "can_wait": true, "peek": true`)+`]}`)
	if a.status != 200 || !strings.Contains(a.body, `"verdict":"denied"`) {
		t.Errorf("batch: %d %s", a.status, a.body)
	}
}

func TestAnAnswerThatWasHeldNamesNoWait(t *testing.T) {
	var held []time.Duration
	h := handler(t, func(c *rest.Config) {
		c.Desk.Alarm = func(ring func()) (func(time.Duration), func() bool) {
			return func(d time.Duration) { held = append(held, d); go ring() }, func() bool { return true }
		}
	})
	for i := range 2 {
		a := ask(h, "POST", "/v1/check", `{"domain": "turns", "attributes": {"user": "a"}}`)
		if a.status != 200 || strings.Contains(a.body, `"wait_seconds"`) || len(held) != i {
			t.Errorf("call %d: %d %s, held %v", i, a.status, a.body, held)
		}
	}
}

func TestExplainNamesTheRule(t *testing.T) {
	a := ask(handler(t), "POST", "/v1/check", `{"domain": "shop", "attributes": {"user": "a"}, "explain": true}`)
	for _, want := range []string{`"file":"shop.yaml"`, `"line":4`, `"selector":"by user"`, `"key_fingerprint":"`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("%s is missing in %s", want, a.body)
		}
	}
}

func TestWrongRequestsAreNamed(t *testing.T) {
	h := handler(t, func(c *rest.Config) { c.Bounds.MessageBytes = 64 << 10 })
	for _, tc := range []struct {
		name, method, target, body string
		status                     int
		want                       string
	}{
		{"no JSON", "POST", "/v1/check", `{`, 400, "unexpected EOF"},
		{"two values", "POST", "/v1/check", `{"domain": "shop"} {}`, 400, "more than one JSON value"},
		{"an unknown field", "POST", "/v1/check", `{"domain": "shop", "prices": 1}`, 400, `unknown field \"prices\"`},
		{"costs that are no object", "POST", "/v1/check", `{"domain": "shop", "costs": 1}`, 400, "costs: must be an object"},
		{"a cost that is no number", "POST", "/v1/check", `{"domain": "shop", "costs": {"tokens": "many"}}`, 400, "must be a whole number"},
		{"no domain", "POST", "/v1/check", `{}`, 400, "domain"},
		{"a body that is no object", "POST", "/v1/check", `null`, 400, "must be a JSON object"},
		{"a batch without checks", "POST", "/v1/batch", `{}`, 400, "checks: is missing"},
		{"a fraction of a unit", "POST", "/v1/check", `{"domain": "shop", "cost": 1.5}`, 400, "whole number"},
		{"a cost below zero", "POST", "/v1/check", `{"domain": "shop", "cost": -1}`, 400, "whole number"},
		{"a cost that is no number", "POST", "/v1/check", `{"domain": "shop", "cost": "1"}`, 400, "cost"},
		{"a cost beyond its bound", "POST", "/v1/check", `{"domain": "shop", "attributes": {"user": "a"}, "cost": 36028797018963969}`, 400, "36028797018963968"},
		{"an attribute that is no text", "POST", "/v1/check", `{"domain": "shop", "attributes": {"user": {}}}`, 400, "user"},
		{"attributes that are no object", "POST", "/v1/check", `{"domain": "shop", "attributes": 3}`, 400, "attributes"},
		{"a pair without a value", "POST", "/v1/check", `{"domain": "shop", "attributes": [{"key": "user"}]}`, 400, "attributes[0]"},
		{"a value that is too long", "POST", "/v1/check", `{"domain": "shop", "attributes": {"user": "` + strings.Repeat("a", 5000) + `"}}`, 400, "at most 4096 bytes"},
		{"a body that is too long", "POST", "/v1/check", `{"domain": "` + strings.Repeat("a", 70_000) + `"}`, 413, "at most 65536 bytes"},
		{"an unknown domain", "POST", "/v1/check", `{"domain": "shpo"}`, 404, "shpo"},
		{"a peek that gives back", "POST", "/v1/check", `{"domain": "shop", "peek": true, "give_back": true}`, 400, "give_back"},
		{"another method", "GET", "/v1/check", ``, 405, "must be POST"},
		{"a batch that is too long", "POST", "/v1/batch", `{"checks": [` + strings.Repeat(`{},`, 1000) + `{}]}`, 400, "1001"},
		{"/json that is none", "POST", "/json", `{"domain": 3}`, 400, "RateLimitRequest"},
		{"/json without descriptors", "POST", "/json", `{"domain": "shop"}`, 400, "descriptors"},
		{"forward-auth without a domain", "GET", "/v1/forward-auth", ``, 400, "domain"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := ask(h, tc.method, tc.target, tc.body)
			if a.status != tc.status || !strings.Contains(a.body, tc.want) || a.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d %v %s, want %d and %q", a.status, a.header, a.body, tc.status, tc.want)
			}
			if got := a.json(t); got["status"] != float64(tc.status) || got["title"] == "" {
				t.Errorf("problem %v", got)
			}
		})
	}
}

func TestABatchDecidesEachCheckByItself(t *testing.T) {
	a := ask(handler(t), "POST", "/v1/batch", `{"checks": [
		{"domain": "quiet", "attributes": {"user": "a"}},
		{"domain": "quiet", "attributes": {"user": "a"}},
		{"domain": "nowhere"},
		{"domain": "quiet", "attributes": {"user": "b"}}]}`)
	items, _ := a.json(t)["items"].([]any)
	if a.status != 200 || len(items) != 4 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var got []string
	for _, item := range items {
		m, _ := item.(map[string]any)
		if d, ok := m["decision"].(map[string]any); ok {
			got = append(got, fmt.Sprint(d["verdict"]))
		} else {
			e, _ := m["error"].(map[string]any)
			got = append(got, fmt.Sprint(e["status"]))
		}
	}
	if want := "allowed denied 404 allowed"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestJSONAnswersAsTheReferenceServiceDoes(t *testing.T) {
	h := handler(t)
	const body = `{"domain": "shop", "descriptors": [{"entries": [{"key": "path", "value": "/login"}, {"key": "user", "value": "a"}]}], "hitsAddend": 2}`
	a := ask(h, "POST", "/json", body)
	if got := a.json(t); a.status != 200 || got["overallCode"] != "OK" {
		t.Errorf("%d %s", a.status, a.body)
	}
	a = ask(h, "POST", "/json", body)
	if got := a.json(t); a.status != 429 || got["overallCode"] != "OVER_LIMIT" || a.header.Get("Retry-After") != "3600" {
		t.Errorf("%d %s %v", a.status, a.body, a.header)
	}
}

func TestHealthcheckFollowsReadiness(t *testing.T) {
	ready := false
	h := handler(t, func(c *rest.Config) { c.Ready = func() bool { return ready } })
	if a := ask(h, "GET", "/healthcheck", ""); a.status != 500 {
		t.Errorf("not ready: %d", a.status)
	}
	ready = true
	if a := ask(h, "GET", "/healthcheck", ""); a.status != 200 || a.body != "OK" {
		t.Errorf("ready: %d %q", a.status, a.body)
	}
}

func TestALateDeciderIsAnsweredFor(t *testing.T) {
	c := config(t, func(api.Decider) api.Decider {
		return deciderFunc(func(limiter.Instant, *limiter.Call) bool { return false }) // and never finishes
	})
	h, err := rest.New(c)
	if err != nil {
		t.Fatal(err)
	}
	a := ask(h, "POST", "/v1/check", `{"domain": "shop", "attributes": {"user": "a"}}`)
	if a.status != 200 || a.header.Get("X-Headgate-Degraded") != "unavailable" || !strings.Contains(a.body, `"degraded":"unavailable"`) {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
}

func TestAPanicIsAnAnswerAndTold(t *testing.T) {
	told := ""
	c := config(t, func(api.Decider) api.Decider {
		return deciderFunc(func(limiter.Instant, *limiter.Call) bool { panic("broken") })
	})
	c.Panic = func(method string, value any, stack []byte) {
		told = fmt.Sprint(method, " ", value, " ", len(stack) > 0)
	}
	h, err := rest.New(c)
	if err != nil {
		t.Fatal(err)
	}
	a := ask(h, "POST", "/v1/check", `{"domain": "shop", "attributes": {"user": "a"}}`)
	if a.status != http.StatusInternalServerError || told != "POST /v1/check broken true" || h.Panics() != 1 {
		t.Errorf("%d, told %q, %d counted", a.status, told, h.Panics())
	}
}

func TestSettingsAreChecked(t *testing.T) {
	c := config(t, nil)
	c.Hops, c.DenyStatus, c.Bounds.Descriptors = 17, 200, 0
	_, err := rest.New(c)
	for _, want := range []string{"trusted_hops: 17", "deny_status: 200", "descriptors_max: 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
}
