package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// A checkAnswer is what `headgate check -o json` prints. Durations are whole
// milliseconds, rounded up.
type checkAnswer struct {
	Verdict       string       `json:"verdict"` // allowed or denied
	DeniedBy      string       `json:"denied_by,omitempty"`
	Remaining     *uint64      `json:"remaining,omitempty"`      // absent: no limit counted the call
	RetryAfterMS  *int64       `json:"retry_after_ms,omitempty"` // absent on a denial: waiting doesn't help
	ResetAfterMS  *int64       `json:"reset_after_ms,omitempty"`
	WaitMS        *int64       `json:"wait_ms,omitempty"` // absent: start at once
	Degraded      string       `json:"degraded,omitempty"`
	PolicyVersion uint64       `json:"policy_version"`
	PolicyHash    string       `json:"policy_hash,omitempty"`
	RequestID     string       `json:"request_id,omitempty"` // as given, and so are the costs
	Costs         []unitCost   `json:"costs,omitempty"`
	Uncounted     []string     `json:"uncounted,omitempty"` // units of them that no limit counts: only with --explain
	Mode          string       `json:"mode,omitempty"`      // these three only where nothing is charged and --explain is given
	UnknownDomain bool         `json:"unknown_domain,omitempty"`
	Exempt        bool         `json:"exempt,omitempty"`
	Limits        []checkLimit `json:"limits"`
	Replaced      []replaced   `json:"replaced,omitempty"`
}

// A unitCost is what the call costs in one unit.
type unitCost struct {
	Unit  string `json:"unit"`
	Units uint64 `json:"units"`
}

// A checkLimit is what one limit decided.
type checkLimit struct {
	Name         string `json:"name"`
	Kind         string `json:"kind"`
	Verdict      string `json:"verdict"`
	Shadow       bool   `json:"shadow,omitempty"`
	Decides      bool   `json:"decides,omitempty"` // as mode
	Amount       uint64 `json:"amount"`
	PeriodMS     *int64 `json:"period_ms,omitempty"`
	Burst        uint64 `json:"burst,omitempty"`
	Remaining    uint64 `json:"remaining"`
	RetryAfterMS *int64 `json:"retry_after_ms,omitempty"`
	ResetAfterMS *int64 `json:"reset_after_ms,omitempty"`
	WaitMS       *int64 `json:"wait_ms,omitempty"`
	MaxWaitMS    *int64 `json:"max_wait_ms,omitempty"`
	Degraded     string `json:"degraded,omitempty"`
	definition
}

// A definition says where a limit is from: only with --explain.
type definition struct {
	Counter  string `json:"counter,omitempty"`
	File     string `json:"file,omitempty"`
	Line     uint32 `json:"line,omitempty"`
	Selector string `json:"selector,omitempty"`
	Unit     string `json:"unit,omitempty"` // of the limit's amount
	Cost     uint64 `json:"cost,omitempty"` // what the call asks of it
}

// A replaced is a limit that gave way to another.
type replaced struct {
	Name string `json:"name"`
	definition
}

// printCheck writes the answer for people, or as JSON.
func printCheck(w io.Writer, answer *headgatev1.ExplainResponse, o *checkOptions) error {
	if o.output == outputJSON {
		return printJSON(w, newCheckAnswer(answer, o))
	}
	r := answer.GetDecision()
	var b strings.Builder
	b.WriteString(headline(answer) + "\n")
	if name := tightest(answer); name != "" && r.GetVerdict() != headgatev1.Verdict_VERDICT_DENIED {
		fmt.Fprintf(&b, "limit        %s\n", name)
	}
	if r.Wait != nil {
		fmt.Fprintf(&b, "wait         %v\n", roundUp(r.GetWait().AsDuration()))
	}
	if r.Remaining != nil {
		fmt.Fprintf(&b, "remaining    %d\n", r.GetRemaining())
	}
	if r.GetVerdict() == headgatev1.Verdict_VERDICT_DENIED {
		fmt.Fprintf(&b, "retry after  %s\n", retryAfter(r.GetRetryAfter()))
	}
	if r.ResetAfter != nil {
		fmt.Fprintf(&b, "reset after  %v\n", roundUp(r.GetResetAfter().AsDuration()))
	}
	if d := enumWord(r.GetDegraded().String(), "DEGRADED_REASON_"); d != "" {
		fmt.Fprintf(&b, "degraded     %s%s\n", d, o.doubt(r))
	}
	if o.explain {
		fmt.Fprintf(&b, "policy       version %d (%.12s)\n", r.GetPolicyVersion(), r.GetPolicyHash())
		if answer.GetMode() > headgatev1.DomainMode_DOMAIN_MODE_ENFORCE {
			fmt.Fprintf(&b, "mode         %s\n", enumWord(answer.GetMode().String(), "DOMAIN_MODE_"))
		}
		if units := o.costs.uncounted(answer); len(units) > 0 {
			fmt.Fprintf(&b, "uncounted    %s: no limit that applies has this unit\n", strings.Join(units, ", "))
		}
		if len(r.GetLimits()) > 0 {
			b.WriteString("\n")
			writeLimits(&b, answer)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// doubt says what to do about a denial of a call with an id that may have been charged.
func (o *checkOptions) doubt(r *headgatev1.CheckResponse) string {
	unavailable := r.GetDegraded() == headgatev1.DegradedReason_DEGRADED_REASON_UNAVAILABLE
	if o.requestID == "" || o.giveBack || !unavailable || r.GetVerdict() != headgatev1.Verdict_VERDICT_DENIED {
		return ""
	}
	return ": it may have been charged; ask again with the same --request-id"
}

// headline says whether the call passes, and why if no limit says so.
func headline(answer *headgatev1.ExplainResponse) string {
	r := answer.GetDecision()
	switch {
	case r.GetVerdict() == headgatev1.Verdict_VERDICT_DENIED:
		return "denied by " + r.GetDeniedBy()
	case answer.GetUnknownDomain():
		return "allowed: no policy has this domain"
	case answer.GetMode() == headgatev1.DomainMode_DOMAIN_MODE_OFF:
		return "allowed: the domain's mode is off, so no limit applies"
	case len(r.GetLimits()) == 0 && answer.GetExempt():
		return "allowed: a rule exempts the call"
	case len(r.GetLimits()) == 0:
		return "allowed: no limit applies"
	default:
		return "allowed"
	}
}

// tightest names the limit that leaves the least.
func tightest(answer *headgatev1.ExplainResponse) string {
	r := answer.GetDecision()
	if answer.DecidingLimit != nil && int(answer.GetDecidingLimit()) < len(r.GetLimits()) {
		return r.GetLimits()[answer.GetDecidingLimit()].GetName()
	}
	for _, l := range r.GetLimits() {
		if r.Remaining != nil && !l.GetShadow() && l.GetRemaining() == r.GetRemaining() {
			return l.GetName()
		}
	}
	return ""
}

// writeLimits writes the table of --explain.
func writeLimits(b *strings.Builder, answer *headgatev1.ExplainResponse) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	row := func(cells ...string) {
		for i, c := range cells {
			if c == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	row("LIMIT", "VERDICT", "REMAINING", "RETRY AFTER", "RESET AFTER", "COST", "ALLOWS", "COUNTER", "FROM")
	for _, l := range answer.GetDecision().GetLimits() {
		verdict, retry, remaining, reset, cost, allows := enumWord(l.GetVerdict().String(), "VERDICT_"), "", "", "", "", "unlimited"
		if l.GetShadow() {
			verdict += " (shadow)"
		}
		if l.GetVerdict() == headgatev1.Verdict_VERDICT_DENIED {
			retry = "never"
			if l.RetryAfter != nil {
				retry = retryAfter(l.GetRetryAfter())
			}
		}
		if l.GetKind() != headgatev1.LimitKind_LIMIT_KIND_UNLIMITED {
			remaining = strconv.FormatUint(l.GetRemaining(), 10)
			reset = roundUp(l.GetResetAfter().AsDuration()).String()
			cost = withUnit(l.GetExplanation().GetCost(), l)
			allows = fmt.Sprintf("%s per %v", withUnit(l.GetAmount(), l), l.GetPeriod().AsDuration())
			if l.MaxWait != nil {
				allows += fmt.Sprintf(", waits up to %v", l.GetMaxWait().AsDuration())
			}
			if l.GetBurst() > 0 {
				allows += fmt.Sprintf(", burst %d", l.GetBurst())
			}
		}
		row(l.GetName(), verdict, remaining, retry, reset, cost, allows, l.GetExplanation().GetKeyFingerprint(), origin(l.GetExplanation()))
	}
	for _, l := range answer.GetReplaced() {
		row(l.GetName(), "replaced", "", "", "", "", "", l.GetExplanation().GetKeyFingerprint(), origin(l.GetExplanation()))
	}
	t.Flush() //nolint:errcheck // a strings.Builder takes everything
}

// withUnit writes n with the unit of l, if it has one.
func withUnit(n uint64, l *headgatev1.LimitResult) string {
	return strings.TrimSuffix(strconv.FormatUint(n, 10)+" "+l.GetExplanation().GetUnit(), " ")
}

// origin says where a limit is defined: file, line and selector.
func origin(e *headgatev1.Explanation) string {
	var parts []string
	if e.GetFile() != "" {
		parts = append(parts, fmt.Sprintf("%s:%d", e.GetFile(), e.GetLine()))
	}
	if e.GetSelector() != "" {
		parts = append(parts, e.GetSelector())
	}
	return strings.Join(parts, " ")
}

// newCheckAnswer turns answer, to what o asked, into what -o json prints.
func newCheckAnswer(answer *headgatev1.ExplainResponse, o *checkOptions) checkAnswer {
	r := answer.GetDecision()
	a := checkAnswer{
		Verdict: enumWord(r.GetVerdict().String(), "VERDICT_"), DeniedBy: r.GetDeniedBy(),
		Remaining: r.Remaining, RetryAfterMS: milliseconds(r.GetRetryAfter()), ResetAfterMS: milliseconds(r.GetResetAfter()),
		WaitMS:        milliseconds(r.GetWait()),
		Degraded:      enumWord(r.GetDegraded().String(), "DEGRADED_REASON_"),
		PolicyVersion: r.GetPolicyVersion(), PolicyHash: r.GetPolicyHash(),
		Mode: enumWord(answer.GetMode().String(), "DOMAIN_MODE_"), UnknownDomain: answer.GetUnknownDomain(), Exempt: answer.GetExempt(),
		RequestID: o.requestID,
		Limits:    make([]checkLimit, 0, len(r.GetLimits())),
	}
	for _, c := range o.costs {
		a.Costs = append(a.Costs, unitCost{c.GetUnit(), c.GetUnits()})
	}
	if o.explain {
		a.Uncounted = o.costs.uncounted(answer)
	}
	for i, l := range r.GetLimits() {
		a.Limits = append(a.Limits, checkLimit{
			Name: l.GetName(), Kind: enumWord(l.GetKind().String(), "LIMIT_KIND_"),
			Verdict: enumWord(l.GetVerdict().String(), "VERDICT_"), Shadow: l.GetShadow(),
			Decides: answer.DecidingLimit != nil && int(answer.GetDecidingLimit()) == i,
			Amount:  l.GetAmount(), PeriodMS: milliseconds(l.GetPeriod()), Burst: l.GetBurst(), Remaining: l.GetRemaining(),
			RetryAfterMS: milliseconds(l.GetRetryAfter()), ResetAfterMS: milliseconds(l.GetResetAfter()),
			WaitMS: milliseconds(l.GetWait()), MaxWaitMS: milliseconds(l.GetMaxWait()),
			Degraded:   enumWord(l.GetDegraded().String(), "DEGRADED_REASON_"),
			definition: definitionOf(l.GetExplanation()),
		})
	}
	for _, l := range answer.GetReplaced() {
		a.Replaced = append(a.Replaced, replaced{l.GetName(), definitionOf(l.GetExplanation())})
	}
	return a
}

func definitionOf(e *headgatev1.Explanation) definition {
	return definition{Counter: e.GetKeyFingerprint(), File: e.GetFile(), Line: e.GetLine(), Selector: e.GetSelector(), Unit: e.GetUnit(), Cost: e.GetCost()}
}

// enumWord turns VERDICT_DENIED into denied, and the unspecified value into "".
func enumWord(name, prefix string) string {
	word := strings.ToLower(strings.TrimPrefix(name, prefix))
	if word == "unspecified" {
		return ""
	}
	return word
}

// milliseconds rounds d up; nil stays nil.
func milliseconds(d *durationpb.Duration) *int64 {
	if d == nil {
		return nil
	}
	ms := int64((d.AsDuration() + time.Millisecond - 1) / time.Millisecond)
	return &ms
}

// retryAfter spells the wait of a denial for people.
func retryAfter(d *durationpb.Duration) string {
	if d == nil {
		return "never: waiting does not help"
	}
	return roundUp(d.AsDuration()).String()
}

// roundUp rounds up to whole milliseconds: nobody should come back too early.
func roundUp(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}
