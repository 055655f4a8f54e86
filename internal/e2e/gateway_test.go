//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	clientLimit = 100 // per-client, per-user and budget, in testdata/policy.yaml.tmpl
	allowed     = http.StatusOK
	denied      = http.StatusTooManyRequests
)

func TestEveryClientGetsExactlyItsLimit(t *testing.T) {
	s := startSite(t)
	crowd{clients: 8, requests: 250, workers: 16}.ask(t, s.url("closed", "/client"))
	if n := s.upstream.count("/client"); n != 8*clientLimit {
		t.Errorf("%d requests reached the upstream, want %d", n, 8*clientLimit)
	}
	if n := s.envoy.counter(t, "cluster.upstream.ratelimit.error"); n != 0 {
		t.Errorf("Envoy counts %d errors of the rate limit service", n)
	}
}

func TestAnswersCarryTheRateLimitHeaders(t *testing.T) {
	s := startSite(t)
	c := newClient(t, 2)
	const year = 365 * 24 * 60 * 60
	for i := range clientLimit + 1 {
		code, h := c.mustGet(t, s.url("closed", "/client"))
		wantCode, wantRemaining := allowed, clientLimit-1-i
		if i == clientLimit {
			wantCode, wantRemaining = denied, 0
		}
		if code != wantCode {
			t.Fatalf("request %d: status %d, want %d", i, code, wantCode)
		}
		if got := h.Get("X-Ratelimit-Limit"); !strings.HasPrefix(got, fmt.Sprintf("%d, %d;w=%d", clientLimit, clientLimit, year)) || !strings.Contains(got, "per-client") {
			t.Errorf("request %d: X-RateLimit-Limit = %q", i, got)
		}
		if got := h.Get("X-Ratelimit-Remaining"); got != strconv.Itoa(wantRemaining) {
			t.Errorf("request %d: X-RateLimit-Remaining = %q, want %d", i, got, wantRemaining)
		}
		if got := headerSeconds(t, h, "X-Ratelimit-Reset"); got < 1 || got > year {
			t.Errorf("request %d: X-RateLimit-Reset = %d, want 1 to %d", i, got, year)
		}
		if code == denied {
			if got := headerSeconds(t, h, "Retry-After"); got < 1 || got > year {
				t.Errorf("Retry-After = %d, want 1 to %d", got, year)
			}
		} else if got := h.Get("Retry-After"); got != "" {
			t.Errorf("request %d is allowed with Retry-After %q", i, got)
		}
	}
}

// TestATokenBudgetStops is how gateways meter tokens or bytes: look before the
// call (hits_addend 0), charge what it cost when it is done.
func TestATokenBudgetStops(t *testing.T) {
	s := startSite(t)
	c := newClient(t, 2)
	// A call passes while anything is left; what it cost then counts in full.
	pass := (clientLimit + len(upstreamBody) - 1) / len(upstreamBody)
	for i := range pass {
		if code, h := c.mustGet(t, s.url("closed", "/tokens"), "X-Tenant", "acme"); code != allowed {
			t.Fatalf("call %d: status %d with %v, want 200: the budget lasts for %d", i, code, h, pass)
		}
		// Envoy charges after the response, and nobody waits for it but us.
		eventually(t, "the call to be charged", func() error {
			if n := s.envoy.counter(t, "cluster.headgate.upstream_rq_completed"); n != 2*(i+1) {
				return fmt.Errorf("%d calls to Headgate are complete, want %d", n, 2*(i+1))
			}
			return nil
		})
	}
	for range 3 {
		if code, _ := c.mustGet(t, s.url("closed", "/tokens"), "X-Tenant", "acme"); code != denied {
			t.Errorf("with the budget used up: status %d, want 429", code)
		}
	}
	if code, _ := c.mustGet(t, s.url("closed", "/tokens"), "X-Tenant", "umbrella"); code != allowed {
		t.Errorf("another tenant's call: status %d, want 200", code)
	}
}

func TestFailureModesWithHeadgateAway(t *testing.T) {
	s := startSite(t)
	c := newClient(t, 2)
	for range clientLimit {
		c.mustGet(t, s.url("open", "/client"))
	}
	for _, listener := range []string{"open", "closed"} {
		if code, _ := c.mustGet(t, s.url(listener, "/client")); code != denied {
			t.Fatalf("%s, before: status %d, want 429", listener, code)
		}
	}
	s.headgate.stop(t)
	if code, _ := c.mustGet(t, s.url("open", "/client")); code != allowed {
		t.Errorf("failure_mode_deny false, Headgate stopped: status %d, want 200", code)
	}
	if code, _ := c.mustGet(t, s.url("closed", "/client")); code != http.StatusInternalServerError {
		t.Errorf("failure_mode_deny true, Headgate stopped: status %d, want 500", code)
	}
	s.headgate.start(t)
	// The counters were saved on the graceful stop: nobody gets a second limit.
	eventually(t, "Envoy to reach Headgate again", func() error {
		if code, _ := c.mustGet(t, s.url("closed", "/client")); code == http.StatusInternalServerError {
			return errors.New("still 500")
		}
		return nil
	})
	if code, _ := c.mustGet(t, s.url("closed", "/client")); code != denied {
		t.Errorf("after the restart: status %d, want 429", code)
	}
}

// TestReloadsUnderTraffic raises one user's burst again and again, with broken
// files in between, while three kinds of traffic run. Every single answer has
// only one right value: mallory is always refused, a client without a limit
// never, and eve gets exactly the last burst.
func TestReloadsUnderTraffic(t *testing.T) {
	s := startSite(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var mallory, free, eve tally
	traffic := func(host byte, path, user string, answers *tally) {
		c := newClient(t, host)
		for range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					code, _, err := c.get(ctx, s.url("closed", path), "X-User", user)
					if err != nil {
						if ctx.Err() == nil {
							t.Error(err)
						}
						return
					}
					answers.add(code)
				}
			})
		}
	}
	traffic(2, "/user", "mallory", &mallory)
	traffic(3, "/unlimited", "", &free)
	traffic(4, "/user", "eve", &eve)

	const last = 200
	for burst := clientLimit; burst <= last; burst += 10 {
		s.headgate.writePolicy(t, "domain: edge\nlimits: [{name: broken, rate: lots}]\n")
		eventually(t, "the broken file to be refused", func() error {
			return s.headgate.metric("headgate_policy_rejected 1")
		})
		s.headgate.writePolicy(t, string(render(t, "policy.yaml.tmpl", map[string]int{"Burst": burst})))
		eventually(t, fmt.Sprintf("a burst of %d to count", burst), func() error {
			if n := eve.count(allowed); n < burst {
				return fmt.Errorf("eve has had %d", n)
			}
			return nil
		})
	}
	wait(ctx, 200*time.Millisecond)
	stop()
	wg.Wait()
	mallory.mustBe(t, "mallory", denied)
	free.mustBe(t, "a call without a limit", allowed)
	eve.mustBe(t, "eve", allowed, denied)
	if n := eve.count(allowed); n != last {
		t.Errorf("eve: %v, want exactly %d × 200", &eve, last)
	}
}

func (s *site) url(listener, path string) string {
	return "http://" + s.envoy.listeners[listener] + path
}

func headerSeconds(t *testing.T, h http.Header, name string) int {
	t.Helper()
	n, err := strconv.Atoi(h.Get(name))
	if err != nil {
		t.Errorf("%s = %q: %v", name, h.Get(name), err)
	}
	return n
}
