package decision

import (
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

func compile(t *testing.T) *policy.Snapshot {
	t.Helper()
	docs, problems := policy.Parse([]policy.Source{{Name: "shop.yaml", Text: []byte("domain: shop\nlimits:\n  - {name: one, by: [user], rate: 1/s}\n")}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s, problems := policy.Compile(docs, policy.Options{Version: 300})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return s
}

// draw fills x with decisions, likely ones and others.
func draw(t *rapid.T, x *api.Exchange, s *policy.Snapshot) {
	spans := rapid.SampledFrom([]time.Duration{0, 1, time.Second - 1, time.Second, 90 * time.Second, 1<<62 + 7, limiter.Never})
	counts := rapid.SampledFrom([]uint64{0, 1, 127, 128, 1 << 40, math.MaxUint64})
	x.Snapshot = s
	x.Outcome = rapid.SampledFrom([]policy.Outcome{policy.Matched, policy.Matched, policy.UnknownDomainAllow, policy.UnknownDomainDeny}).Draw(t, "outcome")
	if x.Outcome != policy.Matched {
		return
	}
	for range rapid.IntRange(0, 4).Draw(t, "charges") {
		l := &limiter.Limit{}
		if rapid.Bool().Draw(t, "known") {
			l = s.Limits()[0]
		} else {
			l.Name = rapid.SampledFrom([]string{"", "name", "a longer name, longer than most names are, by which the length of what is around it takes one byte more than it would without, or even"}).Draw(t, "name")
			l.Kind = limiter.Kind(rapid.IntRange(0, 5).Draw(t, "kind"))
			l.Shadow, l.AnyOf = rapid.Bool().Draw(t, "shadow"), rapid.Bool().Draw(t, "any_of")
			l.Amount, l.Burst = counts.Draw(t, "amount"), counts.Draw(t, "burst")
			l.Period = spans.Draw(t, "period")
		}
		x.Call.Add(limiter.Charge{
			Key: limiter.Key{Lo: counts.Draw(t, "key")}, Limit: l,
			Decision: limiter.Decision{
				Verdict:   limiter.Verdict(rapid.IntRange(0, 2).Draw(t, "verdict")),
				Degraded:  limiter.Degraded(rapid.IntRange(0, 4).Draw(t, "degraded")),
				Remaining: counts.Draw(t, "remaining"), RetryAfter: spans.Draw(t, "retry"), ResetAfter: spans.Draw(t, "reset"),
			},
		})
	}
}

func TestAppendSaysWhatTheModelDoes(t *testing.T) {
	s := compile(t)
	rapid.Check(t, func(t *rapid.T) {
		var x api.Exchange
		draw(t, &x, s)
		explain := rapid.Bool().Draw(t, "explain")
		before := []byte("before")
		b := Append(before, &x, explain)
		var got headgatev1.CheckResponse
		if err := proto.Unmarshal(b[len(before):], &got); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if want := respond(&x, explain); !proto.Equal(&got, want) {
			t.Fatalf("\n got %v\nwant %v", &got, want)
		}
	})
}

// What a stream answers without detail is what Check does, less the details; and
// who is told only that a call passes, misses nothing that says otherwise.
func TestAnswersSayWhatTheModelDoes(t *testing.T) {
	s := compile(t)
	rapid.Check(t, func(t *rapid.T) {
		var a answers
		want := map[uint64]*headgatev1.CheckResponse{}
		for id := range uint64(rapid.IntRange(0, 5).Draw(t, "checks")) {
			var x api.Exchange
			draw(t, &x, s)
			x.Errand = errand(id<<30, rapid.Bool().Draw(t, "explain"), rapid.Bool().Draw(t, "detail"))
			if !a.fits(&x) {
				t.Fatal("no room")
			}
			a.add(&x)
			want[id<<30] = respond(&x, x.Errand.Flags&flagExplain != 0)
			if x.Errand.Flags == 0 {
				m := want[id<<30]
				m.Limits, m.PolicyHash, m.PolicyVersion = nil, "", 0
			}
		}
		sent := len(want) > 0
		var got headgatev1.CheckStreamResponse
		if err := proto.Unmarshal(a.take(nil), &got); err != nil {
			t.Fatal(err)
		}
		if !a.empty() || sent && got.GetPolicyVersion() != 300 {
			t.Fatalf("got %v", &got)
		}
		for _, id := range got.GetAllowed() {
			m := want[id]
			if m.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || m.GetDegraded() != 0 || m.GetLimits() != nil {
				t.Fatalf("told only that it passes: %v", m)
			}
			delete(want, id)
		}
		for _, answer := range got.GetAnswers() {
			m := want[answer.GetId()]
			if !proto.Equal(answer.GetResponse(), m) {
				t.Fatalf("\n got %v\nwant %v", answer, m)
			}
			if m.GetVerdict() == headgatev1.Verdict_VERDICT_ALLOWED && m.GetDegraded() == 0 && m.GetPolicyHash() == "" {
				t.Fatalf("told more than that it passes: %v", answer)
			}
			delete(want, answer.GetId())
		}
		if len(want) > 0 {
			t.Fatalf("no answer to %v", want)
		}
	})
}
