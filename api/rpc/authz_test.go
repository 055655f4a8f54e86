package rpc_test

import (
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/api/rpc"
	"github.com/headgate/headgate/limiter"
)

// ask asks for a domain, or the default one, and the attributes of the route.
func ask(domain string, attributes ...string) *authv3.CheckRequest {
	extensions := map[string]string{}
	if domain != "" {
		extensions["domain"] = domain
	}
	for i := 0; i < len(attributes); i += 2 {
		extensions[attributes[i]] = attributes[i+1]
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{ContextExtensions: extensions}}
}

func TestExtAuthzOverTheWire(t *testing.T) {
	s, addr := start(t, func(u *setup) { u.config.ExtAuthzDomain = "shop" })
	c := authv3.NewAuthorizationClient(connect(t, addr).cc)
	status := func(req *authv3.CheckRequest) int {
		t.Helper()
		resp, err := c.Check(brief(t), req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.GetOkResponse() != nil {
			return 200
		}
		return int(resp.GetDeniedResponse().GetStatus().GetCode())
	}
	for i, want := range []int{200, 200, 429} { // limit `two`
		if got := status(ask("", "user", "alice")); got != want {
			t.Errorf("call %d: %d, want %d", i, got, want)
		}
	}
	before := s.Stats().Faults
	if got := status(ask("nowhere")); got != 404 {
		t.Errorf("an unknown domain: %d", got)
	}
	if got := status(ask("shop", "cost", "lots")); got != 400 {
		t.Errorf("a cost that is no number: %d", got)
	}
	if got := s.Stats().Faults - before; got != 2 {
		t.Errorf("%d faults counted, want 2", got)
	}
}

// A late decider is answered for as with the other doors, and the status of a denial
// that the route chose is kept.
func TestExtAuthzIsAnsweredByOnUnavailable(t *testing.T) {
	d := &hungDecider{}
	_, addr := start(t, func(u *setup) {
		u.config.DecideTimeout, u.decider = 20*time.Millisecond, d
	})
	resp, err := authv3.NewAuthorizationClient(connect(t, addr).cc).Check(brief(t), ask("shop", "account", "a", "deny_status", "403"))
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.GetDeniedResponse().GetStatus().GetCode(); got != 403 {
		t.Errorf("status %d, want 403: %v", got, resp)
	}
}

// A hungDecider never decides.
type hungDecider struct{}

func (*hungDecider) Decide(limiter.Instant, *limiter.Call) bool { return false }

// An exchange that served a check with an explanation, or a request of ext_authz,
// serves one without next.
func TestAnswersAreNotExplainedUnasked(t *testing.T) {
	_, addr := start(t, func(u *setup) { u.config = rpc.Default() })
	c := connect(t, addr)
	for range 20 {
		explained := checkRequest("shop", "user", "alice")
		explained.Explain = true
		if _, err := c.decision.Check(brief(t), explained); err != nil {
			t.Fatal(err)
		}
		if _, err := authv3.NewAuthorizationClient(c.cc).Check(brief(t), ask("shop", "user", "alice")); err != nil {
			t.Fatal(err)
		}
		var resp *headgatev1.CheckResponse
		resp, err := c.decision.Check(brief(t), checkRequest("shop", "user", "alice"))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range resp.GetLimits() {
			if l.GetExplanation() != nil {
				t.Fatalf("explained: %v", l)
			}
		}
	}
}
