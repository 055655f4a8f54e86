package rest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/rest"
	"github.com/headgate/headgate/api/rls"
	"github.com/headgate/headgate/internal/apitest"
	"github.com/headgate/headgate/limiter"
)

const shop = `
domain: shop
limits:
  - {name: per-user, by: [user], window: 3/hour}
  - {name: logins, descriptor: [path=/login, user], window: 2/hour}
  - {name: per-client, when: {path: {prefix: /limited}}, by: [remote_address], window: 2/hour}
  - {name: plan, when: {plan: free, method: POST}, by: [api_key], window: 1/hour}
  - {name: fixed, when: {number: "42", flag: "true"}, window: 5/hour}
---
domain: quiet
headers: none
limits:
  - {name: one, by: [user], window: 1/hour}
---
domain: old
headers: [x_ratelimit, ratelimit]
limits:
  - {name: one, by: [user], window: 1/hour}
---
domain: services
gubernator: {names: [logins], max_limit: 100, max_duration: day}
---
domain: strict
limits:
  - {name: strict, by: [user], window: 1/hour, on_unavailable: deny}
  - {name: open, by: [open], window: 1/hour}
---
domain: llm
limits:
  - {name: requests, by: [team], window: 5/hour}
  - {name: tokens, by: [team], window: 10000/hour, unit: tokens, max_estimate: 4000}
  - {name: running, by: [team], concurrency: 2, lifetime: 10m}
---
domain: turns
limits:
  - {name: turn, by: [user], pace: 100/s, max_wait: 25ms}
`

// noon is when everything here happens.
const noon = limiter.Instant(1_800_000_000_000_000_000)

func config(tb testing.TB, d func(api.Decider) api.Decider) rest.Config {
	tb.Helper()
	gate := apitest.Gate(tb, shop, apitest.Strict(), nil)
	if d != nil {
		gate.Decider = d(gate.Decider)
	}
	desk := api.NewDesk(gate, func() limiter.Instant { return noon }, 20*time.Millisecond)
	return rest.Config{
		Desk: desk, Native: apitest.Native(tb, desk, gate.Decider, func() limiter.Instant { return noon }),
		Bounds: api.DefaultBounds(), RLS: rls.DefaultHeaders(), DenyStatus: 429,
		Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")},
		Ready:   func() bool { return true },
	}
}

func handler(tb testing.TB, change ...func(*rest.Config)) *rest.Handler {
	tb.Helper()
	c := config(tb, nil)
	for _, f := range change {
		f(&c)
	}
	h, err := rest.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// An answer is what a handler wrote.
type answer struct {
	status int
	header http.Header
	body   string
}

// json decodes the body.
func (a *answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return v
}

// ask serves one request from a trusted proxy, unless header has "from".
func ask(h http.Handler, method, target, body string, header ...string) *answer {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:40000"
	for i := 0; i < len(header); i += 2 {
		switch header[i] {
		case "from":
			r.RemoteAddr = header[i+1]
		default:
			r.Header.Add(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	return &answer{resp.StatusCode, resp.Header, string(b)}
}

// A deciderFunc is a Decider.
type deciderFunc func(now limiter.Instant, c *limiter.Call) bool

func (f deciderFunc) Decide(now limiter.Instant, c *limiter.Call) bool { return f(now, c) }
