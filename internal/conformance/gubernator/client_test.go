package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	guber "github.com/gubernator-io/gubernator/v2"
)

// An answer is what became of a request, as far as it does not depend
// on the moment.
type answer struct {
	over      bool
	limit     int64
	remaining int64
	reset     time.Duration // from the request on, to the minute; 0: none
	failed    bool
}

// A script is requests for one key, in a row.
type script struct {
	name string
	asks []*guber.RateLimitReq
	// want are Headgate's answers; Gubernator's are the same, but for those in theirs.
	want   []answer
	theirs map[int]answer
}

const hour = 3_600_000

func bucket(hits int64, change ...func(*guber.RateLimitReq)) *guber.RateLimitReq {
	r := &guber.RateLimitReq{Name: "requests_per_hour", Hits: hits, Limit: 10, Duration: hour}
	for _, c := range change {
		c(r)
	}
	return r
}

func leaky(r *guber.RateLimitReq) { r.Algorithm = guber.Algorithm_LEAKY_BUCKET }

func limit(n int64) func(*guber.RateLimitReq) { return func(r *guber.RateLimitReq) { r.Limit = n } }

func burst(n int64) func(*guber.RateLimitReq) { return func(r *guber.RateLimitReq) { r.Burst = n } }

func duration(ms int64) func(*guber.RateLimitReq) {
	return func(r *guber.RateLimitReq) { r.Duration = ms }
}

func does(b guber.Behavior) func(*guber.RateLimitReq) {
	return func(r *guber.RateLimitReq) { guber.SetBehavior(&r.Behavior, b, true) }
}

func under(limit, remaining int64, reset time.Duration) answer {
	return answer{limit: limit, remaining: remaining, reset: reset}
}

func over(limit, remaining int64, reset time.Duration) answer {
	return answer{over: true, limit: limit, remaining: remaining, reset: reset}
}

// scripts are what both are asked.
func scripts() []script {
	const h, m = time.Hour, time.Minute
	return []script{
		{
			"token bucket",
			[]*guber.RateLimitReq{bucket(1), bucket(8), bucket(2), bucket(1), bucket(1)},
			[]answer{under(10, 9, h), under(10, 1, h), over(10, 1, h), under(10, 0, h), over(10, 0, h)},
			nil,
		},
		{
			"token bucket, a look",
			[]*guber.RateLimitReq{bucket(0), bucket(10), bucket(0)},
			[]answer{under(10, 10, h), under(10, 0, h), over(10, 0, h)},
			map[int]answer{2: under(10, 0, h)},
		},
		{
			"token bucket, more than the limit",
			[]*guber.RateLimitReq{bucket(11), bucket(1)},
			[]answer{over(10, 10, h), under(10, 9, h)},
			nil,
		},
		{
			"token bucket, hits given back",
			[]*guber.RateLimitReq{bucket(5), bucket(-2), bucket(1)},
			[]answer{under(10, 5, h), under(10, 7, h), under(10, 6, h)},
			nil,
		},
		{
			"token bucket, more given back than taken",
			[]*guber.RateLimitReq{bucket(5), bucket(-7)},
			[]answer{under(10, 5, h), under(10, 10, h)},
			map[int]answer{1: under(10, 12, h)},
		},
		{
			"token bucket, another limit",
			[]*guber.RateLimitReq{bucket(6), bucket(1, limit(20)), bucket(1, limit(8))},
			[]answer{under(10, 4, h), under(20, 13, h), under(8, 0, h)},
			nil,
		},
		{
			"token bucket, a longer duration",
			[]*guber.RateLimitReq{bucket(6), bucket(1, duration(2*hour))},
			[]answer{under(10, 4, h), under(10, 3, h)},
			map[int]answer{1: under(10, 3, 2*h)},
		},
		{
			"token bucket, a shorter duration",
			[]*guber.RateLimitReq{bucket(6), bucket(1, duration(hour/60))},
			[]answer{under(10, 4, h), under(10, 3, m)},
			nil,
		},
		{
			"token bucket, reset",
			[]*guber.RateLimitReq{bucket(6), bucket(0, does(guber.Behavior_RESET_REMAINING)), bucket(1)},
			[]answer{under(10, 4, h), under(10, 10, 0), under(10, 9, h)},
			nil,
		},
		{
			"token bucket, drained",
			[]*guber.RateLimitReq{bucket(6), bucket(5, does(guber.Behavior_DRAIN_OVER_LIMIT)), bucket(1)},
			[]answer{under(10, 4, h), over(10, 0, h), over(10, 0, h)},
			nil,
		},
		{
			"token bucket, no batching and global",
			[]*guber.RateLimitReq{bucket(1, does(guber.Behavior_NO_BATCHING)), bucket(1, does(guber.Behavior_GLOBAL))},
			[]answer{under(10, 9, h), under(10, 8, h)},
			nil,
		},
		{
			"leaky bucket",
			[]*guber.RateLimitReq{bucket(1, leaky), bucket(8, leaky), bucket(2, leaky), bucket(1, leaky), bucket(1, leaky)},
			[]answer{under(10, 9, 6*m), under(10, 1, 54*m), over(10, 1, 54*m), under(10, 0, 60*m), over(10, 0, 60*m)},
			nil,
		},
		{
			"leaky bucket with a burst",
			[]*guber.RateLimitReq{bucket(12, leaky, burst(15)), bucket(4, leaky, burst(15)), bucket(3, leaky, burst(15))},
			[]answer{under(10, 3, 72*m), over(10, 3, 72*m), under(10, 0, 90*m)},
			map[int]answer{0: under(10, 3, 42*m), 1: over(10, 3, 42*m), 2: under(10, 0, 60*m)},
		},
		{
			"leaky bucket, a look",
			[]*guber.RateLimitReq{bucket(4, leaky), bucket(0, leaky)},
			[]answer{under(10, 6, 24*m), under(10, 6, 24*m)},
			nil,
		},
		{
			"leaky bucket, reset and taken from",
			[]*guber.RateLimitReq{bucket(8, leaky), bucket(3, leaky, does(guber.Behavior_RESET_REMAINING))},
			[]answer{under(10, 2, 48*m), under(10, 7, 18*m)},
			nil,
		},
		{
			"leaky bucket, drained",
			[]*guber.RateLimitReq{bucket(6, leaky), bucket(5, leaky, does(guber.Behavior_DRAIN_OVER_LIMIT)), bucket(1, leaky)},
			[]answer{under(10, 4, 36*m), over(10, 0, 60*m), over(10, 0, 60*m)},
			map[int]answer{1: over(10, 0, 36*m)},
		},
		{
			"token bucket, hits given back after a denial",
			[]*guber.RateLimitReq{bucket(10), bucket(1), bucket(-2)},
			[]answer{under(10, 0, h), over(10, 0, h), under(10, 2, h)},
			map[int]answer{2: over(10, 2, h)},
		},
		{
			"token bucket, a first request for more, to be drained",
			[]*guber.RateLimitReq{bucket(11, does(guber.Behavior_DRAIN_OVER_LIMIT)), bucket(1)},
			[]answer{over(10, 0, h), over(10, 0, h)},
			map[int]answer{0: over(10, 10, h), 1: under(10, 9, h)},
		},
		{
			"token bucket that is not there, reset",
			[]*guber.RateLimitReq{bucket(3, does(guber.Behavior_RESET_REMAINING))},
			[]answer{under(10, 10, 0)},
			map[int]answer{0: under(10, 7, h)},
		},
		{
			"token bucket, a lower limit and the first again",
			[]*guber.RateLimitReq{bucket(8), bucket(0, limit(5)), bucket(0)},
			[]answer{under(10, 2, h), over(5, 0, h), under(10, 2, h)},
			map[int]answer{1: under(5, 0, h), 2: under(10, 5, h)},
		},
		{
			"leaky bucket, a first request for more",
			[]*guber.RateLimitReq{bucket(11, leaky), bucket(1, leaky)},
			[]answer{over(10, 10, 0), under(10, 9, 6*m)},
			map[int]answer{0: over(10, 0, h), 1: over(10, 0, h)},
		},
		{
			"leaky bucket, another duration",
			[]*guber.RateLimitReq{bucket(8, leaky), bucket(1, leaky, duration(2*hour))},
			[]answer{under(10, 2, 48*m), under(10, 9, 12*m)},
			map[int]answer{1: under(10, 1, 108*m)},
		},
		{
			"leaky bucket, another limit",
			[]*guber.RateLimitReq{bucket(8, leaky), bucket(0, leaky, limit(20))},
			[]answer{under(10, 2, 48*m), under(20, 4, 48*m)},
			map[int]answer{1: under(20, 20, 0)},
		},
		{
			"another algorithm",
			[]*guber.RateLimitReq{bucket(8), bucket(1, leaky), bucket(1)},
			[]answer{under(10, 2, h), under(10, 9, 6*m), under(10, 1, h)},
			map[int]answer{2: under(10, 9, h)},
		},
		{"what is an error", []*guber.RateLimitReq{
			bucket(1, func(r *guber.RateLimitReq) { r.Name = "" }),
			bucket(1, duration(3), does(guber.Behavior_DURATION_IS_GREGORIAN)),
			bucket(1, duration(9), does(guber.Behavior_DURATION_IS_GREGORIAN)),
		}, []answer{{failed: true}, {failed: true}, {failed: true}}, nil},
		{
			"what is more than the policy takes",
			[]*guber.RateLimitReq{bucket(1, limit(1_000_000_001))},
			[]answer{{failed: true}},
			map[int]answer{0: under(1_000_000_001, 1_000_000_000, h)},
		},
	}
}

// both are a headgate and a Gubernator, which serve until the test ends.
func both(t *testing.T) map[string]*process {
	t.Helper()
	servers := map[string]*process{}
	for _, s := range []struct {
		variable string
		start    func(context.Context, string) (*process, error)
	}{{"HEADGATE", startHeadgate}, {"GUBERNATOR", startGubernator}} {
		binary := os.Getenv(s.variable)
		if binary == "" {
			t.Skipf("%s names no binary: make gubernator does", s.variable)
		}
		p, err := s.start(context.WithoutCancel(t.Context()), binary)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.stop)
		servers[p.name] = p
	}
	return servers
}

// play asks s for a script and returns its answers.
func play(t *testing.T, s *process, key string, asks []*guber.RateLimitReq) []answer {
	t.Helper()
	answers := make([]answer, len(asks))
	for i, ask := range asks {
		r := &guber.RateLimitReq{
			Name: ask.Name, UniqueKey: key, Hits: ask.Hits, Limit: ask.Limit, Duration: ask.Duration,
			Algorithm: ask.Algorithm, Behavior: ask.Behavior, Burst: ask.Burst,
		}
		before := time.Now()
		resp, err := s.client.GetRateLimits(t.Context(), &guber.GetRateLimitsReq{Requests: []*guber.RateLimitReq{r}})
		if err != nil || len(resp.GetResponses()) != 1 {
			t.Fatalf("request %d: %v, %v", i, resp, err)
		}
		got := resp.Responses[0]
		if got.Error != "" {
			answers[i] = answer{failed: true}
			continue
		}
		answers[i] = answer{over: got.Status == guber.Status_OVER_LIMIT, limit: got.Limit, remaining: got.Remaining}
		if got.ResetTime != 0 {
			// A script takes much less than the half of the minute that is rounded away.
			answers[i].reset = time.UnixMilli(got.ResetTime).Sub(before).Round(time.Minute)
		}
	}
	return answers
}

func TestGubernatorsClientIsAnsweredAsGubernatorAnswers(t *testing.T) {
	servers := both(t)
	ours, theirs := servers["Headgate"], servers["Gubernator"]
	for i, s := range scripts() {
		t.Run(s.name, func(t *testing.T) {
			key := fmt.Sprintf("account:%d", i)
			a, b := play(t, ours, key, s.asks), play(t, theirs, key, s.asks)
			for j := range s.asks {
				want := s.want[j]
				if a[j] != want {
					t.Errorf("request %d: Headgate answers %+v, want %+v", j, a[j], want)
				}
				if other, differs := s.theirs[j]; differs {
					if want == other {
						t.Errorf("request %d is listed as different and is not", j)
					}
					want = other
				}
				if b[j] != want {
					t.Errorf("request %d: Gubernator answers %+v, want %+v", j, b[j], want)
				}
			}
		})
	}
}

func TestBatchesAreAnsweredInOrder(t *testing.T) {
	for name, s := range both(t) {
		req := &guber.GetRateLimitsReq{}
		for i := range 1000 {
			r := bucket(1, limit(int64(i+1)))
			r.UniqueKey = fmt.Sprintf("account:%d", i)
			req.Requests = append(req.Requests, r)
		}
		resp, err := s.client.GetRateLimits(t.Context(), req)
		if err != nil || len(resp.Responses) != 1000 {
			t.Fatalf("%s: %v", name, err)
		}
		for i, r := range resp.Responses {
			if r.Error != "" || r.Limit != int64(i+1) || r.Remaining != int64(i) {
				t.Errorf("%s: request %d: %v", name, i, r)
			}
		}
		req.Requests = append(req.Requests, req.Requests[0])
		if _, err := s.client.GetRateLimits(t.Context(), req); err == nil {
			t.Errorf("%s: 1,001 requests are answered", name)
		}
		if _, err := s.client.LiveCheck(t.Context(), &guber.LiveCheckReq{}); err != nil {
			t.Errorf("%s: live: %v", name, err)
		}
		if h, err := s.client.HealthCheck(t.Context(), &guber.HealthCheckReq{}); err != nil || h.Status != "healthy" || h.PeerCount != 1 {
			t.Errorf("%s: health: %v, %v", name, h, err)
		}
	}
}

func TestPathsAreAnsweredAlike(t *testing.T) {
	const body = `{"requests": [{"name": "over_http", "unique_key": "a", "hits": 1, "limit": "10", "duration": 3600000},
		{"name": "over_http", "unique_key": "a", "hits": "10", "limit": 10, "duration": "3600000", "behavior": "DRAIN_OVER_LIMIT", "algorithm": 0}]}`
	for name, s := range both(t) {
		get := func(method, path, body string) map[string]any {
			req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.http+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var v map[string]any
			if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || resp.StatusCode != 200 {
				t.Fatalf("%s: %s %s: %d, %v", name, method, path, resp.StatusCode, err)
			}
			return v
		}
		responses, _ := get("POST", "/v1/GetRateLimits", body)["responses"].([]any)
		for i, want := range []string{"UNDER_LIMIT 10 9", "OVER_LIMIT 10 0"} {
			r, _ := responses[i].(map[string]any)
			if got := fmt.Sprint(r["status"], " ", r["limit"], " ", r["remaining"]); got != want || r["error"] != "" || len(r) != 6 {
				t.Errorf("%s: request %d: %v", name, i, r)
			}
		}
		if h := get("GET", "/v1/HealthCheck", ""); h["status"] != "healthy" || h["peer_count"] != 1.0 || len(h) != 4 {
			t.Errorf("%s: health: %v", name, h)
		}
		if l := get("GET", "/v1/LiveCheck", ""); len(l) != 0 {
			t.Errorf("%s: live: %v", name, l)
		}
	}
}
