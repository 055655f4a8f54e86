package rls

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/headers"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// exchange returns a decided exchange with n descriptors.
func exchange(n int, outcome policy.Outcome, charges ...limiter.Charge) *api.Exchange {
	x := &api.Exchange{Outcome: outcome}
	for range n {
		x.Req.AddDescriptor()
	}
	for _, ch := range charges {
		x.Call.Add(ch)
	}
	return x
}

// charge returns a charge of the descriptors whose bits are set.
func charge(descriptors uint32, s limiter.Spec, d limiter.Decision) limiter.Charge {
	if s.Period == 0 {
		s.Period = time.Second
	}
	return limiter.Charge{Limit: &limiter.Limit{Spec: s}, Descriptors: descriptors, Decision: d}
}

func answer(tb testing.TB, h *Headers, x *api.Exchange) *rlsv3.RateLimitResponse {
	tb.Helper()
	prefix := []byte("untouched")
	b := h.Append(slices.Clone(prefix), x)
	if !strings.HasPrefix(string(b), string(prefix)) {
		tb.Fatalf("Append overwrote its buffer: %q", b)
	}
	var resp rlsv3.RateLimitResponse
	if err := proto.Unmarshal(b[len(prefix):], &resp); err != nil {
		tb.Fatalf("%x: %v", b[len(prefix):], err)
	}
	return &resp
}

const (
	allowed = limiter.Allowed
	denied  = limiter.Denied

	ok   = rlsv3.RateLimitResponse_OK
	over = rlsv3.RateLimitResponse_OVER_LIMIT
)

func TestAppend(t *testing.T) {
	rate := limiter.Spec{Name: "per-client", Kind: limiter.KindRate, Amount: 10}
	window := limiter.Spec{Name: "search", Kind: limiter.KindFixed, Amount: 60, Period: time.Minute}
	shadow := limiter.Spec{Name: "trial", Kind: limiter.KindFixed, Amount: 1, Shadow: true}
	status := func(code rlsv3.RateLimitResponse_Code, name string, remaining uint32, reset time.Duration) *rlsv3.RateLimitResponse_DescriptorStatus {
		l := &rlsv3.RateLimitResponse_RateLimit{Name: name, RequestsPerUnit: 10, Unit: rlsv3.RateLimitResponse_RateLimit_SECOND}
		if name == "search" {
			l.RequestsPerUnit, l.Unit = 60, rlsv3.RateLimitResponse_RateLimit_MINUTE
		}
		if name == "trial" {
			l.RequestsPerUnit = 1
		}
		return &rlsv3.RateLimitResponse_DescriptorStatus{Code: code, CurrentLimit: l, LimitRemaining: remaining, DurationUntilReset: durationpb.New(reset)}
	}
	bare := func(code rlsv3.RateLimitResponse_Code) *rlsv3.RateLimitResponse_DescriptorStatus {
		return &rlsv3.RateLimitResponse_DescriptorStatus{Code: code}
	}
	type statuses = []*rlsv3.RateLimitResponse_DescriptorStatus
	headers := func(kv ...string) (hs []*corev3.HeaderValue) {
		for i := 0; i < len(kv); i += 2 {
			hs = append(hs, &corev3.HeaderValue{Key: kv[i], Value: kv[i+1]})
		}
		return hs
	}
	for _, c := range []struct {
		name string
		x    *api.Exchange
		want *rlsv3.RateLimitResponse
	}{
		{
			"nothing matched", exchange(2, policy.Matched),
			&rlsv3.RateLimitResponse{OverallCode: ok, Statuses: statuses{bare(ok), bare(ok)}},
		},
		{
			"an unknown domain that is allowed", exchange(1, policy.UnknownDomainAllow),
			&rlsv3.RateLimitResponse{OverallCode: ok, Statuses: statuses{bare(ok)}},
		},
		{
			"an unknown domain that is denied names the setting", exchange(2, policy.UnknownDomainDeny),
			&rlsv3.RateLimitResponse{
				OverallCode: over, Statuses: statuses{bare(over), bare(over)},
				ResponseHeadersToAdd: headers("x-headgate-limit", "on_unknown_domain"),
			},
		},
		{
			"the second descriptor matched; its reset is rounded up",
			exchange(2, policy.Matched, charge(0b10, rate, limiter.Decision{Verdict: allowed, Remaining: 7, ResetAfter: 300 * time.Millisecond})),
			&rlsv3.RateLimitResponse{OverallCode: ok, Statuses: statuses{bare(ok), status(ok, "per-client", 7, time.Second)}},
		},
		{
			"a denial names its limit and the wait, rounded up",
			exchange(1, policy.Matched, charge(1, rate, limiter.Decision{Verdict: denied, RetryAfter: 1001 * time.Millisecond, ResetAfter: 2 * time.Second})),
			&rlsv3.RateLimitResponse{
				OverallCode: over, Statuses: statuses{status(over, "per-client", 0, 2*time.Second)},
				ResponseHeadersToAdd: headers("retry-after", "2", "x-headgate-limit", "per-client"),
			},
		},
		{
			"a wait of a nanosecond is a second",
			exchange(1, policy.Matched, charge(1, rate, limiter.Decision{Verdict: denied, RetryAfter: 1, ResetAfter: 1})),
			&rlsv3.RateLimitResponse{
				OverallCode: over, Statuses: statuses{status(over, "per-client", 0, time.Second)},
				ResponseHeadersToAdd: headers("retry-after", "1", "x-headgate-limit", "per-client"),
			},
		},
		{
			"a denial without a wait still says a second: 0 would be a retry storm",
			exchange(1, policy.Matched, charge(1, rate, limiter.Decision{Verdict: denied, Degraded: limiter.TableFull})),
			&rlsv3.RateLimitResponse{
				OverallCode: over, Statuses: statuses{status(over, "per-client", 0, 0)},
				ResponseHeadersToAdd: headers("retry-after", "1", "x-headgate-limit", "per-client", "x-headgate-degraded", "table_full"),
			},
		},
		{
			"a denial that waiting doesn't help has no retry-after",
			exchange(1, policy.Matched, charge(1, rate, limiter.Decision{Verdict: denied, RetryAfter: limiter.Never, Remaining: 3})),
			&rlsv3.RateLimitResponse{
				OverallCode: over, Statuses: statuses{status(over, "per-client", 3, 0)},
				ResponseHeadersToAdd: headers("x-headgate-limit", "per-client"),
			},
		},
		{
			"of two limits of one descriptor the one that denies is its status",
			exchange(1, policy.Matched,
				charge(1, rate, limiter.Decision{Verdict: allowed}),
				charge(1, window, limiter.Decision{Verdict: denied, RetryAfter: 9 * time.Second, ResetAfter: 9 * time.Second})),
			&rlsv3.RateLimitResponse{
				OverallCode: over, Statuses: statuses{status(over, "search", 0, 9*time.Second)},
				ResponseHeadersToAdd: headers("retry-after", "9", "x-headgate-limit", "search"),
			},
		},
		{
			"of two limits that allow the one with less left is",
			exchange(1, policy.Matched,
				charge(1, rate, limiter.Decision{Verdict: allowed, Remaining: 5}),
				charge(1, window, limiter.Decision{Verdict: allowed, Remaining: 4})),
			&rlsv3.RateLimitResponse{OverallCode: ok, Statuses: statuses{status(ok, "search", 4, 0)}},
		},
		{
			"a charge of two descriptors is the status of both",
			exchange(2, policy.Matched, charge(0b11, rate, limiter.Decision{Verdict: allowed, Remaining: 5})),
			&rlsv3.RateLimitResponse{OverallCode: ok, Statuses: statuses{status(ok, "per-client", 5, 0), status(ok, "per-client", 5, 0)}},
		},
		{
			"a shadow limit that denies is told, but not enforced",
			exchange(1, policy.Matched, charge(1, shadow, limiter.Decision{Verdict: denied, RetryAfter: time.Second})),
			&rlsv3.RateLimitResponse{OverallCode: ok, Statuses: statuses{status(ok, "trial", 0, 0)}},
		},
		{
			"a shadow limit gives way to an enforced one",
			exchange(1, policy.Matched,
				charge(1, shadow, limiter.Decision{Verdict: denied, RetryAfter: time.Second}),
				charge(1, rate, limiter.Decision{Verdict: allowed, Remaining: 5})),
			&rlsv3.RateLimitResponse{OverallCode: ok, Statuses: statuses{status(ok, "per-client", 5, 0)}},
		},
		{
			"an unlimited one has no current_limit, and all that is left",
			exchange(1, policy.Matched, charge(1, limiter.Spec{Name: "u", Kind: limiter.KindUnlimited}, limiter.Decision{Verdict: allowed, Remaining: math.MaxUint64})),
			&rlsv3.RateLimitResponse{OverallCode: ok, Statuses: statuses{{Code: ok, LimitRemaining: math.MaxUint32}}},
		},
		{
			"one of two alternatives denies: its status says so, the whole passes",
			exchange(2, policy.Matched,
				charge(0b01, limiter.Spec{Name: "per-client", Kind: limiter.KindFixed, Amount: 10, AnyOf: true}, limiter.Decision{Verdict: denied, RetryAfter: time.Second}),
				charge(0b10, limiter.Spec{Name: "per-client", Kind: limiter.KindFixed, Amount: 10, AnyOf: true}, limiter.Decision{Verdict: allowed, Remaining: 1})),
			&rlsv3.RateLimitResponse{OverallCode: ok, Statuses: statuses{status(over, "per-client", 0, 0), status(ok, "per-client", 1, 0)}},
		},
		{
			"degraded and allowed",
			exchange(1, policy.Matched, charge(1, rate, limiter.Decision{Verdict: allowed, Degraded: limiter.TableFull})),
			&rlsv3.RateLimitResponse{
				OverallCode: ok, Statuses: statuses{status(ok, "per-client", 0, 0)},
				ResponseHeadersToAdd: headers("x-headgate-degraded", "table_full"),
			},
		},
		{
			"degraded and denied: the reason of the charge that denies",
			exchange(2, policy.Matched,
				charge(1, rate, limiter.Decision{Verdict: allowed, Degraded: limiter.TableFull}),
				charge(2, window, limiter.Decision{Verdict: denied, RetryAfter: time.Second, Degraded: limiter.Unavailable})),
			&rlsv3.RateLimitResponse{
				OverallCode: over, Statuses: statuses{status(ok, "per-client", 0, 0), status(over, "search", 0, 0)},
				ResponseHeadersToAdd: headers("retry-after", "1", "x-headgate-limit", "search", "x-headgate-degraded", "unavailable"),
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := DefaultHeaders()
			if got := answer(t, &h, c.x); !proto.Equal(got, c.want) {
				t.Fatalf("\n got %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestAppendWithoutHeaders(t *testing.T) {
	x := exchange(1, policy.Matched, charge(1, limiter.Spec{Name: "l", Kind: limiter.KindFixed}, limiter.Decision{Verdict: denied, RetryAfter: 1, Degraded: limiter.Overload}))
	if hs := answer(t, &Headers{}, x).GetResponseHeadersToAdd(); len(hs) != 0 {
		t.Fatalf("got headers %v", hs)
	}
}

func TestAppendMakesNamesFitForHeaders(t *testing.T) {
	name := "rate [\"é\n\"]" + strings.Repeat("x", 300)
	x := exchange(1, policy.Matched, charge(1, limiter.Spec{Name: name, Kind: limiter.KindFixed}, limiter.Decision{Verdict: denied, RetryAfter: limiter.Never}))
	h := DefaultHeaders()
	resp := answer(t, &h, x)
	if got := resp.GetStatuses()[0].GetCurrentLimit().GetName(); got != name {
		t.Errorf("current_limit.name is %q", got)
	}
	if got, want := resp.GetResponseHeadersToAdd()[0].GetValue(), "rate [\"???\"]"+strings.Repeat("x", 300); got != want {
		t.Errorf("header is %q, want %q", got, want)
	}
}

func TestPeriodsInTheWordsOfEnvoy(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		amount uint64
		period time.Duration
		want   string
	}{
		{5, time.Second, "5 SECOND x1"},
		{5, 90 * time.Second, "5 SECOND x90"},
		{5, time.Minute, "5 MINUTE x1"},
		{5, 90 * time.Minute, "5 MINUTE x90"},
		{5, time.Hour, "5 HOUR x1"},
		{5, 36 * time.Hour, "5 HOUR x36"},
		{5, day, "5 DAY x1"},
		{5, 7 * day, "5 WEEK x1"},
		{5, 14 * day, "5 WEEK x2"},
		{5, 30 * day, "5 MONTH x1"},
		{5, 31 * day, "5 DAY x31"},
		{5, 365 * day, "5 YEAR x1"},
		{5, 366 * day, "5 DAY x366"},
		{5, 500 * time.Millisecond, "10 SECOND x1"},
		{2, 1500 * time.Millisecond, "1 SECOND x1"},
		{1 << 40, time.Second, "4294967295 SECOND x1"},
		{1 << 55, time.Millisecond, "4294967295 SECOND x1"},
	} {
		amount, unit, multiplier := perUnit(&limiter.Limit{Spec: limiter.Spec{Amount: c.amount, Period: c.period}})
		if got := fmt.Sprintf("%d %v x%d", amount, unit, multiplier); got != c.want {
			t.Errorf("%d per %v: got %s, want %s", c.amount, c.period, got, c.want)
		}
	}
}

// closestHeaders are Amount, Remaining and Reset of withClosest.
func closestHeaders(amount, remaining uint32, reset int64) []*corev3.HeaderValue {
	return []*corev3.HeaderValue{
		{Key: "ratelimit-limit", Value: fmt.Sprint(amount)},
		{Key: "ratelimit-remaining", Value: fmt.Sprint(remaining)},
		{Key: "ratelimit-reset", Value: fmt.Sprint(reset)},
	}
}

// withClosest returns h with the headers of the status closest to its limit.
func withClosest(h Headers) Headers {
	h.Amount, h.Remaining, h.Reset = "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"
	return h
}

func TestTheHeadersOfEnvoysServiceTellOfTheClosestLimit(t *testing.T) {
	spec := func(amount uint64, more ...func(*limiter.Spec)) limiter.Spec {
		s := limiter.Spec{Name: "l", Kind: limiter.KindFixed, Amount: amount, Period: time.Minute}
		for _, f := range more {
			f(&s)
		}
		return s
	}
	anyOf := func(s *limiter.Spec) { s.AnyOf = true }
	shadow := func(s *limiter.Spec) { s.Shadow = true }
	left := func(n uint64) limiter.Decision {
		return limiter.Decision{Verdict: allowed, Remaining: n, ResetAfter: 1500 * time.Millisecond}
	}
	none := limiter.Decision{Verdict: denied, RetryAfter: time.Second, ResetAfter: time.Minute}
	for _, c := range []struct {
		name    string
		charges []limiter.Charge
		want    []*corev3.HeaderValue
	}{
		{"no limit", nil, nil},
		{"one limit", []limiter.Charge{charge(1, spec(10), left(7))}, closestHeaders(10, 7, 2)},
		{"the one with the least left", []limiter.Charge{charge(1, spec(10), left(7)), charge(2, spec(5), left(4))}, closestHeaders(5, 4, 2)},
		{"the first of two alike", []limiter.Charge{charge(1, spec(10), left(4)), charge(2, spec(5), left(4))}, closestHeaders(10, 4, 2)},
		{"the last that is over", []limiter.Charge{charge(1, spec(10), none), charge(2, spec(5), none), charge(4, spec(3), left(0))}, closestHeaders(5, 0, 60)},
		{"of several any_of limits the first that is over", []limiter.Charge{charge(1, spec(10, anyOf), none), charge(2, spec(5, anyOf), none)}, closestHeaders(10, 0, 60)},
		{"a shadow limit, too", []limiter.Charge{charge(1, spec(10, shadow), none), charge(2, spec(5), left(4))}, closestHeaders(10, 0, 60)},
		{"no unlimited one", []limiter.Charge{charge(1, limiter.Spec{Name: "u", Kind: limiter.KindUnlimited}, left(0))}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := withClosest(Headers{})
			x := exchange(3, policy.Matched, c.charges...)
			if got := answer(t, &h, x).GetResponseHeadersToAdd(); !slices.EqualFunc(got, c.want, func(a, b *corev3.HeaderValue) bool { return proto.Equal(a, b) }) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			x.Req.Headers = policy.HeadersChosen // headers: none
			if got := answer(t, &h, x).GetResponseHeadersToAdd(); len(got) > 0 {
				t.Errorf("the policy chose none, got %v", got)
			}
		})
	}
}

// modelAnswer is the dumb model of Append. With closest it has the three headers
// that Envoy's service can add, by that service's rule.
func modelAnswer(x *api.Exchange, closest bool) *rlsv3.RateLimitResponse {
	resp := &rlsv3.RateLimitResponse{OverallCode: ok}
	var told *rlsv3.RateLimitResponse_DescriptorStatus
	least := uint32(math.MaxUint32)
	v, by := x.Call.Verdict()
	for d := range x.Req.Descriptors() {
		var mine []limiter.Charge
		for _, ch := range x.Call.Charges() {
			if ch.Descriptors>>d&1 == 1 {
				mine = append(mine, ch)
			}
		}
		if len(mine) == 0 {
			resp.Statuses = append(resp.Statuses, &rlsv3.RateLimitResponse_DescriptorStatus{Code: ok})
			continue
		}
		slices.SortStableFunc(mine, func(a, b limiter.Charge) int {
			if headers.Stricter(&a, &b) {
				return -1
			}
			if headers.Stricter(&b, &a) {
				return 1
			}
			return 0
		})
		ch := mine[0]
		s := &rlsv3.RateLimitResponse_DescriptorStatus{Code: ok, LimitRemaining: uint32(min(ch.Decision.Remaining, math.MaxUint32))}
		if !ch.Limit.Shadow && ch.Decision.Verdict == denied {
			s.Code = over
		}
		if ch.Limit.Kind != limiter.KindUnlimited {
			amount, unit, multiplier := perUnit(ch.Limit)
			s.CurrentLimit = &rlsv3.RateLimitResponse_RateLimit{Name: ch.Limit.Name, RequestsPerUnit: uint32(amount), Unit: unit}
			if multiplier > 1 {
				s.CurrentLimit.UnitMultiplier = wrapperspb.UInt32(uint32(multiplier))
			}
			s.DurationUntilReset = &durationpb.Duration{Seconds: int64(math.Ceil(ch.Decision.ResetAfter.Seconds()))}
			if s.LimitRemaining < least {
				told, least = s, s.LimitRemaining
			}
			if s.Code == over && !ch.Limit.AnyOf {
				told, least = s, 0
			}
		}
		resp.Statuses = append(resp.Statuses, s)
	}
	if v == denied {
		resp.OverallCode = over
		if wait := x.Call.Charges()[by].Decision.RetryAfter; wait != limiter.Never {
			resp.ResponseHeadersToAdd = append(resp.ResponseHeadersToAdd, &corev3.HeaderValue{Key: "retry-after", Value: fmt.Sprint(max(1, int64(math.Ceil(wait.Seconds()))))})
		}
		resp.ResponseHeadersToAdd = append(resp.ResponseHeadersToAdd, &corev3.HeaderValue{Key: "x-headgate-limit", Value: x.Call.Charges()[by].Limit.Name})
	}
	if closest && told != nil {
		resp.ResponseHeadersToAdd = append(resp.ResponseHeadersToAdd, closestHeaders(told.GetCurrentLimit().GetRequestsPerUnit(), told.GetLimitRemaining(), told.GetDurationUntilReset().GetSeconds())...)
	}
	return resp
}

// Any decisions: the answer is what the generated message says, in order.
func TestAppendSaysWhatTheGeneratedMessageSays(t *testing.T) {
	durations := []time.Duration{0, 1, time.Millisecond, time.Second, time.Minute + 1, 90 * 24 * time.Hour, 30 * 365 * 24 * time.Hour}
	periods := []time.Duration{time.Millisecond, time.Second, 90 * time.Second, time.Hour, 7 * 24 * time.Hour, 366 * 24 * time.Hour}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, policy.DescriptorsMax).Draw(t, "descriptors")
		x := exchange(n, policy.Matched)
		for range rapid.IntRange(0, limiter.ChargesMax).Draw(t, "charges") {
			s := limiter.Spec{
				Name:   rapid.SampledFrom([]string{"a", strings.Repeat("n", 100), strings.Repeat("n", 130), strings.Repeat("n", 4096)}).Draw(t, "name"),
				Kind:   rapid.SampledFrom([]limiter.Kind{limiter.KindRate, limiter.KindFixed, limiter.KindSliding, limiter.KindUnlimited}).Draw(t, "kind"),
				Amount: rapid.Uint64().Draw(t, "amount"),
				Period: rapid.SampledFrom(periods).Draw(t, "period"),
				Shadow: rapid.Bool().Draw(t, "shadow"),
				AnyOf:  rapid.Bool().Draw(t, "any of"),
			}
			d := limiter.Decision{
				Verdict:    allowed,
				Remaining:  rapid.Uint64Range(0, 1<<34).Draw(t, "remaining"),
				ResetAfter: rapid.SampledFrom(durations).Draw(t, "reset"),
			}
			if rapid.Bool().Draw(t, "denied") {
				d.Verdict, d.RetryAfter = denied, rapid.SampledFrom(append(durations[1:], limiter.Never)).Draw(t, "retry")
			}
			x.Call.Add(charge(rapid.Uint32().Draw(t, "bits")&(1<<n-1), s, d))
		}
		h, closest := DefaultHeaders(), rapid.Bool().Draw(t, "closest")
		if closest {
			h = withClosest(h)
		}
		b := h.Append(nil, x)
		var got rlsv3.RateLimitResponse
		if err := proto.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if want := modelAnswer(x, closest); !proto.Equal(&got, want) {
			t.Fatalf("\n got %v\nwant %v", &got, want)
		}
		if len(got.ProtoReflect().GetUnknown()) > 0 {
			t.Fatal("unknown fields")
		}
	})
}

func TestHeadersValidate(t *testing.T) {
	h := DefaultHeaders()
	if err := h.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := (&Headers{}).Validate(); err != nil {
		t.Fatal(err)
	}
	err := (&Headers{RetryAfter: "Retry-After", Limit: "x limit", Degraded: "ok", Reset: "é"}).Validate()
	if err == nil || !strings.Contains(err.Error(), "headers.reset:") || !strings.Contains(err.Error(), "headers.retry_after") || !strings.Contains(err.Error(), "headers.limit") || strings.Contains(err.Error(), "degraded") {
		t.Fatalf("got %v", err)
	}
}
