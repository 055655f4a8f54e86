package rest

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/headgate/headgate/api"
	native "github.com/headgate/headgate/api/decision"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// A decision is a CheckResponse of the native API, spelt as JSON users expect:
// numbers are numbers, spans are seconds.
type decision struct {
	Verdict       string   `json:"verdict"`
	DeniedBy      string   `json:"denied_by,omitempty"`
	Remaining     *uint64  `json:"remaining,omitempty"`
	RetryAfter    *float64 `json:"retry_after_seconds,omitempty"`
	ResetAfter    *float64 `json:"reset_after_seconds,omitempty"`
	Wait          *float64 `json:"wait_seconds,omitempty"`
	Degraded      string   `json:"degraded,omitempty"`
	PolicyVersion uint64   `json:"policy_version"`
	PolicyHash    string   `json:"policy_hash"`
	Limits        []limit  `json:"limits"`
}

// A limit is a LimitResult.
type limit struct {
	Name        string       `json:"name"`
	Kind        string       `json:"kind"`
	Verdict     string       `json:"verdict"`
	Shadow      bool         `json:"shadow,omitempty"`
	Amount      uint64       `json:"amount"`
	Period      *float64     `json:"period_seconds,omitempty"`
	MaxWait     *float64     `json:"max_wait_seconds,omitempty"`
	Burst       uint64       `json:"burst,omitempty"`
	Remaining   uint64       `json:"remaining"`
	RetryAfter  *float64     `json:"retry_after_seconds,omitempty"`
	ResetAfter  *float64     `json:"reset_after_seconds,omitempty"`
	Wait        *float64     `json:"wait_seconds,omitempty"`
	Degraded    string       `json:"degraded,omitempty"`
	Explanation *explanation `json:"explanation,omitempty"`
}

// An explanation is an Explanation.
type explanation struct {
	KeyFingerprint string `json:"key_fingerprint"`
	File           string `json:"file"`
	Line           uint32 `json:"line"`
	Selector       string `json:"selector"`
	Unit           string `json:"unit,omitempty"`
	Cost           uint64 `json:"cost"`
}

// decisionOf returns what the native API says of x, which is decided for c and has
// no Fault. Only who can wait is told a wait: for the others the desk has waited.
func decisionOf(x *api.Exchange, c *check) *decision {
	x.Out = native.Append(x.Out[:0], x, c.Explain)
	var m headgatev1.CheckResponse
	if err := proto.Unmarshal(x.Out, &m); err != nil { // our own bytes
		panic(err)
	}
	return decisionFrom(&m, c.CanWait)
}

// decisionFrom returns m as JSON has it.
func decisionFrom(m *headgatev1.CheckResponse, canWait bool) *decision {
	d := &decision{
		Verdict: word(m.GetVerdict().String(), "VERDICT_"), DeniedBy: m.GetDeniedBy(), Remaining: m.Remaining,
		RetryAfter:    seconds(m.GetRetryAfter()),
		ResetAfter:    seconds(m.GetResetAfter()),
		Degraded:      word(m.GetDegraded().String(), "DEGRADED_REASON_"),
		PolicyVersion: m.GetPolicyVersion(), PolicyHash: m.GetPolicyHash(), Limits: make([]limit, 0, len(m.GetLimits())),
	}
	if canWait {
		d.Wait = seconds(m.GetWait())
	}
	for _, l := range m.GetLimits() {
		d.Limits = append(d.Limits, limitOf(l, canWait))
	}
	return d
}

func limitOf(m *headgatev1.LimitResult, canWait bool) limit {
	l := limit{
		Name: m.GetName(), Kind: word(m.GetKind().String(), "LIMIT_KIND_"), Verdict: word(m.GetVerdict().String(), "VERDICT_"),
		Shadow: m.GetShadow(), Amount: m.GetAmount(), Burst: m.GetBurst(), Remaining: m.GetRemaining(),
		Period:     seconds(m.GetPeriod()),
		MaxWait:    seconds(m.GetMaxWait()),
		RetryAfter: seconds(m.GetRetryAfter()),
		ResetAfter: seconds(m.GetResetAfter()),
		Degraded:   word(m.GetDegraded().String(), "DEGRADED_REASON_"),
	}
	if canWait {
		l.Wait = seconds(m.GetWait())
	}
	if e := m.GetExplanation(); e != nil {
		l.Explanation = &explanation{e.GetKeyFingerprint(), e.GetFile(), e.GetLine(), e.GetSelector(), e.GetUnit(), e.GetCost()}
	}
	return l
}

// word returns an enum's name as JSON spells it: without prefix, in lower case, and
// "" for the unspecified.
func word(name, prefix string) string {
	w := strings.ToLower(strings.TrimPrefix(name, prefix))
	if w == "unspecified" {
		return ""
	}
	return w
}
