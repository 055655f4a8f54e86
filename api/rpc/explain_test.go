package rpc_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/internal/apitest"
)

const explained = `
domain: shop
limits:
  - {name: hourly, by: [user], window: 3/h}
  - {name: yearly, by: [user], window: 2/year}
  - {name: trial, by: [user], window: 1/year, shadow: true}
  - {name: staff, when: {role: staff}, unlimited: true}
  - {name: basic, when: {plan: "*"}, by: [plan], window: 9/h}
  - {name: vip, when: {plan: vip}, by: [user], window: 5/h, replaces: [basic]}
  - {name: exports, by: [tenant], concurrency: 1, lifetime: 30s}
  - {descriptor: [probe=health], exempt: true}
  - {name: partner, by: [partner], pace: 1/s, max_wait: 2s}
`

func explain(t *testing.T, c headgatev1.DecisionServiceClient, cost *uint64, pairs ...string) *headgatev1.ExplainResponse {
	t.Helper()
	r, err := c.Explain(brief(t), &headgatev1.ExplainRequest{Domain: "shop", Attributes: checkRequest("shop", pairs...).GetAttributes(), Cost: cost})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestExplainSaysWhyAndChargesNothing(t *testing.T) {
	_, addr := start(t, func(u *setup) { u.policy = explained })
	c := connect(t, addr).decision
	user := []string{"user", "ann", "role", "staff", "plan", "vip"}
	for range 3 {
		e := explain(t, c, nil, user...)
		limits := e.GetDecision().GetLimits()
		if len(limits) != 5 || e.GetDecision().GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || e.GetDecision().GetRemaining() != 2 ||
			e.DecidingLimit == nil || limits[e.GetDecidingLimit()].GetName() != "yearly" || e.GetMode() != headgatev1.DomainMode_DOMAIN_MODE_ENFORCE {
			t.Fatalf("%v", e)
		}
		for _, l := range limits {
			if x := l.GetExplanation(); x.GetFile() != apitest.File || x.GetLine() == 0 || len(x.GetKeyFingerprint()) != 16 || x.GetSelector() == "" {
				t.Errorf("%s: %v", l.GetName(), x)
			}
			if l.GetShadow() != (l.GetName() == "trial") || (l.GetKind() == headgatev1.LimitKind_LIMIT_KIND_UNLIMITED) != (l.GetName() == "staff") {
				t.Errorf("%v", l)
			}
		}
		if r := e.GetReplaced(); len(r) != 1 || r[0].GetName() != "basic" || r[0].GetExplanation().GetLine() != 8 || len(r[0].GetExplanation().GetKeyFingerprint()) != 16 {
			t.Fatalf("replaced: %v", r)
		}
	}
	for range 2 {
		if _, err := c.Check(brief(t), checkRequest("shop", user...)); err != nil {
			t.Fatal(err)
		}
	}
	e := explain(t, c, nil, user...)
	if d := e.GetDecision(); d.GetVerdict() != headgatev1.Verdict_VERDICT_DENIED || d.GetDeniedBy() != "yearly" || d.GetRetryAfter() == nil ||
		d.GetLimits()[e.GetDecidingLimit()].GetName() != "yearly" || d.GetPolicyVersion() != 7 {
		t.Fatalf("spent: %v", e)
	}
	big := uint64(4)
	if e := explain(t, c, &big, "user", "bob"); e.GetDecision().GetVerdict() != headgatev1.Verdict_VERDICT_DENIED || e.GetDecision().RetryAfter != nil {
		t.Fatalf("more than can ever pass: %v", e)
	}
}

func TestExplainTakesNoSlotAndNoTurn(t *testing.T) {
	_, addr := start(t, func(u *setup) { u.policy = explained })
	c := connect(t, addr).decision
	for range 3 {
		e := explain(t, c, nil, "tenant", "a", "partner", "p")
		if d := e.GetDecision(); d.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || d.GetWait().AsDuration() > 0 || d.GetRemaining() != 1 {
			t.Fatalf("%v", e)
		}
	}
	if _, err := c.Acquire(brief(t), &headgatev1.AcquireRequest{Domain: "shop", Attributes: tenant(), Id: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	e := explain(t, c, nil, "tenant", "a")
	if d := e.GetDecision(); d.GetDeniedBy() != "exports" || d.GetRetryAfter().AsDuration() > 30*time.Second {
		t.Fatalf("held: %v", e)
	}
}

func TestExplainRefusesWhatPeekRefuses(t *testing.T) {
	_, addr := start(t, nil)
	c := connect(t, addr).decision
	if _, err := c.Explain(brief(t), &headgatev1.ExplainRequest{Domain: "nowhere"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown domain: %v", err)
	}
	if _, err := c.Explain(brief(t), &headgatev1.ExplainRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no domain: %v", err)
	}
	r, err := c.Explain(brief(t), &headgatev1.ExplainRequest{Domain: "shop"})
	if err != nil || r.DecidingLimit != nil || len(r.GetDecision().GetLimits()) > 0 || r.GetExempt() {
		t.Errorf("nothing applies: %v %v", r, err)
	}
}

func TestExplainNamesAnExemption(t *testing.T) {
	_, addr := start(t, func(u *setup) { u.policy = explained })
	c := connect(t, addr).decision
	for probe, want := range map[string]bool{"health": true, "other": false} {
		e := explain(t, c, nil, "probe", probe)
		if e.GetExempt() != want || len(e.GetDecision().GetLimits()) > 0 || e.GetDecision().GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
			t.Errorf("%s: %v", probe, e)
		}
	}
}
