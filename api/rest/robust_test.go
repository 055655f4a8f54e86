package rest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/rest"
	"github.com/headgate/headgate/limiter"
)

// TestAnExchangeIsNotLentAgainAfterAPanic: its state is unknown then, so every
// call that panics has an exchange of its own.
func TestAnExchangeIsNotLentAgainAfterAPanic(t *testing.T) {
	for _, tc := range []struct{ name, method, target, body string }{
		{"check", "POST", "/v1/check", `{"domain": "shop", "attributes": {"user": "a"}}`},
		{"batch", "POST", "/v1/batch", `{"checks": [{"domain": "shop", "attributes": {"user": "a"}}]}`},
		{"json", "POST", "/json", `{"domain": "shop", "descriptors": [{"entries": [{"key": "user", "value": "a"}]}]}`},
		{"forward-auth", "GET", "/v1/forward-auth/shop/limited", ``},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var seen []*limiter.Call
			c := config(t, func(api.Decider) api.Decider {
				return deciderFunc(func(_ limiter.Instant, call *limiter.Call) bool {
					for _, before := range seen {
						if call == before {
							t.Error("the call of a panic was lent again")
						}
					}
					seen = append(seen, call)
					panic("broken")
				})
			})
			h, err := rest.New(c)
			if err != nil {
				t.Fatal(err)
			}
			const rounds = 20
			for range rounds {
				if a := ask(h, tc.method, tc.target, tc.body); a.status != 500 {
					t.Fatalf("%d %s", a.status, a.body)
				}
			}
			if len(seen) != rounds {
				t.Errorf("%d calls were decided, want %d", len(seen), rounds)
			}
		})
	}
}

func TestOfAttributesThatAreThereTwiceTheLastCount(t *testing.T) {
	a := ask(handler(t), "POST", "/v1/check",
		`{"domain": "shop", "attributes": {"user": "a"}, "attributes": [{"key": "number", "value": 42}, {"key": "flag", "value": true}]}`)
	if a.status != 200 || strings.Contains(a.body, "per-user") || !strings.Contains(a.body, `"name":"fixed"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestABatchWaitsForALateDeciderOnce(t *testing.T) {
	const checks = 50
	c := config(t, func(api.Decider) api.Decider {
		return deciderFunc(func(limiter.Instant, *limiter.Call) bool { return false }) // and never finishes
	})
	h, err := rest.New(c)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	a := ask(h, "POST", "/v1/batch", `{"checks": [`+strings.TrimSuffix(strings.Repeat(`{"domain": "shop", "attributes": {"user": "a"}},`, checks), ",")+`]}`)
	took := time.Since(began)
	if n := strings.Count(a.body, `"degraded":"unavailable"`); a.status != 200 || n < checks {
		t.Errorf("%d, %d degraded: %s", a.status, n, a.body)
	}
	// One by one they would take checks times the desk's timeout: a whole second.
	if limit := checks / 2 * c.Desk.Timeout(); took > limit {
		t.Errorf("took %v, want at most %v", took, limit)
	}
}

func TestADenialIsToldTheSameByEveryDoor(t *testing.T) {
	for _, tc := range []struct{ name, method, target, body string }{
		{"check", "POST", "/v1/check", `{"domain": "shop", "attributes": {"user": "a"}, "cost": 4}`},
		{"json", "POST", "/json", `{"domain": "shop", "hitsAddend": 4, "descriptors": [{"entries": [{"key": "user", "value": "a"}]}]}`},
		{"forward-auth", "GET", "/v1/forward-auth/shop", ``},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := ask(handler(t), tc.method, tc.target, tc.body, "X-RateLimit-Attributes", "user=a", "X-RateLimit-Cost", "4")
			got := fmt.Sprint(a.status, a.header.Get("RateLimit"), a.header.Get("RateLimit-Policy"), a.header.Get("X-Headgate-Limit"))
			if want := `429"per-user";r=3;t=0"per-user";q=3;w=3600per-user`; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}
