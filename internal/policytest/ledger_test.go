package policytest

import (
	"strings"
	"testing"
	_ "time/tzdata" // the zones of quotas, on machines that know none
)

const plans = `
domain: shop
limits:
  - {name: calls, by: [user], rate: 5/s, burst: 50}
  - {name: plan, when: {plan: free}, by: [user], quota: 10/month, time_zone: Europe/Berlin, reset_at: "09:00", day: 31}
  - {name: any-day, when: {plan: trial}, by: [user], quota: 10/day, rolling: 24}
  - {name: billed, when: {plan: paid}, by: [user], quota: 3/day, post_paid: true, max_debt: 2}
  - {name: watched, when: {plan: free}, by: [user], quota: 1/hour, shadow: true}
`

// TestQuotasBeginAgainAsTheirCalendarsSay: the clock starts on 2026-01-30 at noon UTC.
func TestQuotasBeginAgainAsTheirCalendarsSay(t *testing.T) {
	const start = "2026-01-30T12:00:00Z"
	if failures := failuresFrom(t, start, plans,
		"{attributes: {user: ann, plan: free}, peek: true, expect: {verdict: allowed, remaining: 10}}",
		"{attributes: {user: ann, plan: free}, repeat: 12, expect: {allowed: 10, denied: 2, denied_by: plan, retry_after: 20h, remaining: 0, limits: [calls, plan, watched]}}",
		"{attributes: {user: ann, plan: free}, peek: true, expect: {verdict: denied}}",
		"{attributes: {user: ann, plan: free}, give_back: true, cost: 3}",
		"{attributes: {user: ann, plan: free}, cost: 4, expect: {denied_by: plan}}",
		"{attributes: {user: ann, plan: free}, cost: 3, expect: {verdict: allowed, remaining: 0}}",
		"{attributes: {user: bob, plan: free}, cost: 11, expect: {denied_by: plan, retry_after: never}}",
		"{at: 19h59min59s, attributes: {user: ann, plan: free}, expect: {denied_by: plan, retry_after: 1s}}",
		"{at: 20h, attributes: {user: ann, plan: free}, repeat: 11, expect: {allowed: 10, denied: 1}}",      // 31 January, 09:00
		"{at: 28day20h, attributes: {user: ann, plan: free}, repeat: 11, expect: {allowed: 10, denied: 1}}", // 28 February
	); len(failures) > 0 {
		t.Error(strings.Join(failures, "\n"))
	}
}

func TestAQuotaRollsAndAnotherIsPostPaid(t *testing.T) {
	if failures := failuresFrom(t, "2026-01-30T12:00:00Z", plans,
		"{attributes: {user: ann, plan: trial}, cost: 6, expect: {verdict: allowed, remaining: 4}}",
		"{at: 12h, attributes: {user: ann, plan: trial}, cost: 4, expect: {verdict: allowed, remaining: 0}}",
		"{at: 24h59min, attributes: {user: ann, plan: trial}, expect: {denied_by: any-day}}",
		"{at: 25h, attributes: {user: ann, plan: trial}, cost: 7, expect: {denied_by: any-day}}",
		"{at: 25h, attributes: {user: ann, plan: trial}, cost: 6, expect: {verdict: allowed, remaining: 0}}",
		"{at: 26h, attributes: {user: ann, plan: paid}, repeat: 7, expect: {allowed: 7, remaining: 0}}",
	); len(failures) > 0 {
		t.Error(strings.Join(failures, "\n"))
	}
}

func TestAnExactQuotaIsCountedAsAnyOther(t *testing.T) {
	const both = "\ndomain: shop\nlimits:\n  - {name: plan, by: [user], quota: 10/day, mode: exact}\n  - {name: calls, by: [user], window: 4/min}\n"
	for _, tt := range []struct{ charge, denied string }{
		{"all", "remaining: 1"},
		{"all_or_nothing", "remaining: 4"}, // of the window; 6 of the quota
	} {
		if failures := failuresFrom(t, "2026-01-30T12:00:00Z", both+"charge: "+tt.charge+"\n",
			"{attributes: {user: ann}, repeat: 9, expect: {allowed: 4, denied: 5, denied_by: calls}}",
			"{after: 1min, attributes: {user: ann}, peek: true, expect: {verdict: allowed, "+tt.denied+"}}",
			"{at: 12h, attributes: {user: ann}, cost: 11, expect: {denied_by: plan, retry_after: never}}",
			"{at: 12h1min, attributes: {user: ann}, cost: 4, expect: {verdict: allowed, remaining: 0}}",
		); len(failures) > 0 {
			t.Errorf("%s: %s", tt.charge, strings.Join(failures, "\n"))
		}
	}
}

// TestWhatADeniedRequestLeavesOfAQuota: nothing, as in any all_or_nothing.
func TestWhatADeniedRequestLeavesOfAQuota(t *testing.T) {
	const both = "\ndomain: shop\nlimits:\n  - {name: plan, by: [user], quota: 10/day}\n  - {name: calls, by: [user], window: 2/min}\n"
	if failures := failuresFrom(t, "2026-01-30T12:00:00Z", both,
		"{attributes: {user: ann}, repeat: 5, expect: {allowed: 2, denied: 3, denied_by: calls}}",
		"{after: 1min, attributes: {user: ann}, cost: 2, expect: {verdict: allowed}}",
		"{after: 1min, attributes: {user: ann}, peek: true, cost: 1, expect: {remaining: 2}}",
		"{after: 1min, attributes: {user: ann}, repeat: 4, every: 1min, expect: {allowed: 4}}",
	); len(failures) > 0 {
		t.Error(strings.Join(failures, "\n"))
	}
}
