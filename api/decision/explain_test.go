package decision

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// checkDecodeExplain holds DecodeExplain against the generated decoder.
func checkDecodeExplain(t interface{ Fatalf(string, ...any) }, b []byte, bounds *api.Bounds) {
	var r policy.Request
	explain, err := DecodeExplain(b, bounds, &r)
	m := new(headgatev1.ExplainRequest)
	if refusal := proto.Unmarshal(b, m); refusal != nil || len(b) > bounds.MessageBytes {
		if err == nil {
			t.Fatalf("accepted %x: %v", b, refusal)
		}
		return
	}
	as := &headgatev1.CheckRequest{Domain: m.GetDomain(), Attributes: m.GetAttributes(), Cost: m.Cost, Explain: true, Costs: m.GetCosts()}
	if diff := differs(as, bounds, true, &r, explain, err); diff != "" {
		t.Fatalf("%x: %s", b, diff)
	}
}

// decidingModel is the dumb model of deciding: the first of the enforced limits
// which, taken away, would leave more.
func decidingModel(x *api.Exchange) int {
	if _, by := x.Verdict(); by >= 0 {
		return by
	}
	charges := x.Call.Charges()
	best, bestLeft := -1, uint64(0)
	consider := func(i int, left uint64) {
		if best < 0 || left < bestLeft {
			best, bestLeft = i, left
		}
	}
	enforced := func(ch *limiter.Charge) bool { return !ch.Limit.Shadow && ch.Limit.Kind != limiter.KindUnlimited }
	for i := range charges {
		if ch := &charges[i]; enforced(ch) && !ch.Limit.AnyOf {
			consider(i, ch.Decision.Remaining)
		}
	}
	generous := -1
	for i := range charges {
		if ch := &charges[i]; enforced(ch) && ch.Limit.AnyOf && (generous < 0 || ch.Decision.Remaining > charges[generous].Decision.Remaining) {
			generous = i
		}
	}
	if generous >= 0 {
		consider(generous, charges[generous].Decision.Remaining)
	}
	return best
}

func TestAppendExplainedSaysWhatTheModelDoes(t *testing.T) {
	s := compile(t)
	rapid.Check(t, func(t *rapid.T) {
		var x api.Exchange
		want := &headgatev1.ExplainResponse{Mode: headgatev1.DomainMode_DOMAIN_MODE_ENFORCE}
		of := s
		switch rapid.IntRange(0, 3).Draw(t, "mode") {
		case 1:
			of, want.Mode = s.WithModes(map[string]policy.Mode{"shop": policy.ModeShadow}), headgatev1.DomainMode_DOMAIN_MODE_SHADOW
		case 2:
			of, want.Mode = s.WithModes(map[string]policy.Mode{"shop": policy.ModeOff}), headgatev1.DomainMode_DOMAIN_MODE_OFF
		}
		draw(t, &x, of)
		x.Req.Domain = []byte("shop")
		want.UnknownDomain = x.Outcome != policy.Matched
		want.Decision = respond(&x, true)
		if i := decidingModel(&x); i >= 0 {
			want.DecidingLimit = proto.Uint32(uint32(i))
		}
		before := []byte("before")
		var got headgatev1.ExplainResponse
		if err := proto.Unmarshal(AppendExplained(before, &x)[len(before):], &got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&got, want) {
			t.Fatalf("\n got %v\nwant %v", &got, want)
		}
	})
}
