package headers_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/headers"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

const everything = policy.HeadersDraft | policy.HeadersXRateLimit | policy.HeadersRateLimit | policy.HeadersRetryAfter

// A decided is a charge and what was decided.
type decided struct {
	limiter.Spec
	limiter.Decision
}

func rate(name string, amount, burst uint64) limiter.Spec {
	return limiter.Spec{Name: name, Kind: limiter.KindRate, Amount: amount, Period: time.Second, Burst: burst}
}

func window(name string, amount uint64, period time.Duration) limiter.Spec {
	return limiter.Spec{Name: name, Kind: limiter.KindFixed, Amount: amount, Period: period}
}

func exchange(tb testing.TB, all ...decided) *api.Exchange {
	tb.Helper()
	x := new(api.Exchange)
	for _, d := range all {
		l, err := limiter.NewLimit(d.Spec)
		if err != nil {
			tb.Fatal(err)
		}
		x.Call.Add(limiter.Charge{Limit: l, Decision: d.Decision})
	}
	return x
}

func allowed(remaining uint64, reset time.Duration) limiter.Decision {
	return limiter.Decision{Verdict: limiter.Allowed, Remaining: remaining, ResetAfter: reset}
}

func denied(retry, reset time.Duration) limiter.Decision {
	return limiter.Decision{Verdict: limiter.Denied, RetryAfter: retry, ResetAfter: reset}
}

func text(x *api.Exchange, set policy.HeaderSet) string {
	var l headers.List
	l.Fill(x, set)
	var b strings.Builder
	for i := range l.Len() {
		name, value := l.Field(i)
		b.WriteString(name + ": " + string(value) + "\n")
	}
	return b.String()
}

func shadow(s limiter.Spec) limiter.Spec {
	s.Shadow = true
	return s
}

func TestFieldsSayWhatWasDecided(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  policy.HeaderSet
		all  []decided
		want string
	}{
		{
			"the limit with the least left comes first", policy.HeadersDraft,
			[]decided{{rate("per-client", 100, 200), allowed(150, time.Second)}, {window("daily", 1000, 24*time.Hour), allowed(7, 90*time.Minute)}},
			"ratelimit-policy: \"daily\";q=1000;w=86400, \"per-client\";q=100;w=1\nratelimit: \"daily\";r=7;t=5400, \"per-client\";r=150;t=1\n",
		},
		{
			"what denies comes before what has less left, spans are rounded up", everything,
			[]decided{{window("none-left", 5, time.Minute), allowed(0, time.Minute)}, {window("over", 10, time.Hour), denied(1500*time.Millisecond, 2500*time.Millisecond)}},
			"ratelimit-policy: \"over\";q=10;w=3600, \"none-left\";q=5;w=60\nratelimit: \"over\";r=0;t=3, \"none-left\";r=0;t=60\n" +
				"x-ratelimit-limit: 10\nx-ratelimit-remaining: 0\nx-ratelimit-reset: 3\n" +
				"ratelimit-limit: 10\nratelimit-remaining: 0\nratelimit-reset: 3\nretry-after: 2\n",
		},
		{
			"a wait of less than a second is one second", policy.HeadersRetryAfter,
			[]decided{{rate("r", 10, 0), denied(time.Millisecond, time.Second)}},
			"retry-after: 1\n",
		},
		{"what never passes has no wait", policy.HeadersRetryAfter, []decided{{rate("r", 10, 0), denied(limiter.Never, 0)}}, ""},
		{"what is allowed has no wait", policy.HeadersRetryAfter, []decided{{rate("r", 10, 0), allowed(1, 0)}}, ""},
		{
			"shadow and unlimited limits are not told", everything,
			[]decided{{shadow(rate("s", 10, 0)), denied(time.Second, 0)}, {limiter.Spec{Name: "u", Kind: limiter.KindUnlimited}, allowed(math.MaxUint64, 0)}},
			"",
		},
		{
			"a capacity is the burst", policy.HeadersXRateLimit,
			[]decided{{rate("r", 10, 25), allowed(24, 100*time.Millisecond)}},
			"x-ratelimit-limit: 25\nx-ratelimit-remaining: 24\nx-ratelimit-reset: 1\n",
		},
		{
			"a period of no whole seconds is told for one second", policy.HeadersDraft,
			[]decided{{window("w", 100, 250*time.Millisecond), allowed(99, time.Millisecond)}},
			"ratelimit-policy: \"w\";q=400;w=1\nratelimit: \"w\";r=99;t=1\n",
		},
		{
			"names are strings of a structured field", policy.HeadersDraft,
			[]decided{{window("by \"a\\b\" é", 1, time.Second), allowed(1, 0)}},
			"ratelimit-policy: \"by \\\"a\\\\b\\\" ??\";q=1;w=1\nratelimit: \"by \\\"a\\\\b\\\" ??\";r=1;t=0\n",
		},
		{
			"numbers fit into a structured field", policy.HeadersDraft,
			[]decided{{window("w", limiter.AmountMax, time.Hour), allowed(limiter.AmountMax, 0)}},
			"ratelimit-policy: \"w\";q=999999999999999;w=3600\nratelimit: \"w\";r=999999999999999;t=0\n",
		},
		{
			"slots are held at once and have no window", policy.HeadersDraft,
			[]decided{{limiter.Spec{Name: "exports", Kind: limiter.KindConcurrency, Amount: 5, Period: time.Minute}, allowed(4, 30*time.Second)}},
			"ratelimit-policy: \"exports\";q=5;qu=\"concurrent-requests\"\nratelimit: \"exports\";r=4;t=30\n",
		},
		{
			"a large amount in less than a second fits as well", policy.HeadersDraft,
			[]decided{{window("w", limiter.AmountMax, limiter.PeriodMin), allowed(1, 0)}},
			"ratelimit-policy: \"w\";q=999999999999999;w=1\nratelimit: \"w\";r=1;t=0\n",
		},
		{"no limit counted", everything, nil, ""},
		{"nothing is asked for", policy.HeadersChosen, []decided{{rate("r", 1, 0), denied(1, 1)}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := text(exchange(t, tc.all...), tc.set); got != tc.want {
				t.Errorf("got\n%swant\n%s", got, tc.want)
			}
		})
	}
}

func TestAListHasRoomForTheLongestNames(t *testing.T) {
	var all []decided
	for range limiter.ChargesMax {
		all = append(all, decided{window(strings.Repeat(`"`, 2*policy.NameBytesMax), limiter.AmountMax, limiter.PeriodMax), allowed(math.MaxUint64, limiter.PeriodMax)})
	}
	got := text(exchange(t, all...), everything)
	for _, want := range []string{";t=31622400\n", "ratelimit-reset: 31622400\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if n := strings.Count(got, ";r="); n != headers.ItemsMax {
		t.Errorf("%d items, want %d", n, headers.ItemsMax)
	}
}

func TestDegradedDenialsAreReducedCapacity(t *testing.T) {
	x := exchange(t, decided{window("a", 1, time.Second), allowed(1, 0)}, decided{window("b", 1, time.Second), limiter.Decision{
		Verdict: limiter.Denied, Degraded: limiter.TableFull, RetryAfter: time.Second,
	}})
	if why := headers.Degraded(x); why != limiter.TableFull || headers.ProblemType(why) != headers.ReducedCapacity {
		t.Errorf("degraded by %v: %s", why, headers.ProblemType(why))
	}
	if name := headers.DeniedBy(x); name != "b" {
		t.Errorf("denied by %q", name)
	}
	if got := headers.ProblemType(limiter.NotDegraded); got != headers.QuotaExceeded {
		t.Error(got)
	}
}

func TestFillingAllocatesNothing(t *testing.T) {
	x := exchange(t, decided{rate("per-client", 100, 200), allowed(150, time.Second)}, decided{window("daily", 1000, 24*time.Hour), denied(1, 2)})
	var l headers.List
	n := testing.AllocsPerRun(1000, func() {
		l.Fill(x, everything)
		if name, _ := l.Field(0); name == "" {
			t.Error("empty")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
