package policytest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
	"github.com/headgate/headgate/policy"
)

// FailuresMax is how many failures a test reports; it then ends.
const FailuresMax = 20

// entriesMax bounds the counters of one test. Beyond it the test fails.
const entriesMax = 1 << 20

// A Result is what became of one test.
type Result struct {
	Name     string
	Pos      policy.Position
	Failures []Failure // none: it passed
}

// A Failure is one expectation that was not met.
type Failure struct {
	Pos      policy.Position // of the expectation
	Step     int             // from 1
	What     string          // such as denied_by
	Expected string
	Got      string
}

// String returns the failure in one line: file:line: step: what.
func (f Failure) String() string {
	return fmt.Sprintf("%s:%d: step %d: %s: expected %s, got %s", f.Pos.File, f.Pos.Line, f.Step, f.What, f.Expected, f.Got)
}

// Run runs the tests against docs, which are free of problems, and returns a
// result for each. A request of a domain that docs do not have is a failure.
func Run(tests *policy.Tests, docs []*policy.Document) ([]Result, error) {
	snapshot, problems := policy.Compile(docs, policy.Options{Version: 1, OnUnknownDomain: policy.UnknownDomainError})
	if len(problems) > 0 {
		return nil, fmt.Errorf("policytest: %w", problems)
	}
	results := make([]Result, len(tests.Tests))
	for i := range tests.Tests {
		test := &tests.Tests[i]
		t, err := table.New(table.Config{EntriesMax: entriesMax, ShareMax: 1, OnFull: table.FullDeny})
		if err != nil {
			return nil, fmt.Errorf("policytest: %w", err)
		}
		t.Install(snapshot.Limits())
		r := &run{start: tests.Start}
		d, err := newDecider(t, snapshot.Limits())
		if err != nil {
			return nil, fmt.Errorf("policytest: %w", err)
		}
		r.gate.Policies, r.gate.Decider = new(atomic.Pointer[policy.Snapshot]), d
		r.gate.Policies.Store(snapshot)
		for n := range test.Steps {
			if r.step(n+1, &test.Steps[n]); len(r.failures) >= FailuresMax {
				break
			}
		}
		results[i] = Result{test.Name, test.Pos, r.failures}
	}
	return results, nil
}

// A run is one test in progress.
type run struct {
	start    limiter.Instant
	gate     api.Gate
	failures []Failure

	n int // of the step
}

// seen is what the requests of a step came to.
type seen struct {
	allowed, denied uint64
	deniedBy        string        // by the last denial
	retryAfter      time.Duration // of the last denial
	wait            time.Duration // of the last request that is allowed
	remaining       uint64        // after the last request
	bounded         bool          // some enforced limit has a remaining
	limits          []string      // that the last request reached, sorted
}

// step asks what a step asks and compares.
func (r *run) step(n int, s *policy.Step) {
	r.n = n
	var got seen
	x := new(api.Exchange)
	for i := range s.Repeat {
		now := r.start.Add(s.At + time.Duration(i)*s.Every)
		if !r.ask(x, s, now, &got) {
			return
		}
	}
	r.compare(s, &got)
}

// ask makes one request and reports whether it was decided with its counters.
func (r *run) ask(x *api.Exchange, s *policy.Step, now limiter.Instant, got *seen) bool {
	x.Reset()
	x.Req.Domain = []byte(s.Domain)
	if s.Holder != "" {
		x.Req.Holder, x.Req.Lifetime = []byte(s.Holder), s.Lifetime
	}
	for _, labels := range s.Descriptors {
		d := x.Req.AddDescriptor()
		d.Op, d.Cost = s.Op, s.Cost
		for _, l := range labels {
			x.Req.AddEntry([]byte(l.Key), []byte(l.Value)) // ParseTests has checked that they fit
		}
	}
	r.gate.Match(x)
	if s.CanWait {
		x.Call.Patience = limiter.Never
	}
	if !r.gate.Charge(now, x) {
		r.fail(s.Pos, "decision", "one at once", "none: neither the counter table nor the ledger is expected to wait")
		return false
	}
	if err := x.Fault(); err != nil {
		r.fail(s.Pos, "request", "a decision", err.Error())
		return false
	}
	charges := x.Call.Charges()
	got.remaining, got.bounded, got.limits = 0, false, make([]string, 0, len(charges))
	for i := range charges {
		ch := &charges[i]
		got.limits = append(got.limits, ch.Limit.Name)
		if d := ch.Decision.Degraded; d != limiter.NotDegraded {
			r.fail(s.Pos, "decision of "+ch.Limit.Name, "one with its counter", d.String()+": a test has at most "+strconv.Itoa(entriesMax)+" counters")
			return false
		}
		if left := ch.Decision.Remaining; !ch.Limit.Shadow && ch.Limit.Kind != limiter.KindUnlimited && (!got.bounded || left < got.remaining) {
			got.remaining, got.bounded = left, true
		}
	}
	slices.Sort(got.limits)
	if v, by := x.Verdict(); v == limiter.Denied {
		got.denied++
		got.deniedBy, got.retryAfter = charges[by].Limit.Name, charges[by].Decision.RetryAfter
	} else {
		got.allowed++
		got.wait = x.Call.Wait()
	}
	return true
}

// compare reports what is not as expected.
func (r *run) compare(s *policy.Step, got *seen) {
	e := &s.Expect
	if x := e.Verdict; x != nil {
		other := got.denied
		if x.Want == limiter.Denied {
			other = got.allowed
		}
		if other > 0 {
			r.fail(x.Pos, "verdict", x.Want.String(), r.verdicts(s, got))
		}
	}
	r.count(e.Allowed, "allowed", got.allowed)
	r.count(e.Denied, "denied", got.denied)
	r.compareDenial(e, got)
	if x := e.Wait; x != nil && (got.allowed == 0 || roundUp(got.wait) != x.Want) {
		text := "none: nothing was allowed"
		if got.allowed > 0 {
			text = span(roundUp(got.wait))
		}
		r.fail(x.Pos, "wait", span(x.Want), text)
	}
	if x := e.Remaining; x != nil && (!got.bounded || got.remaining != x.Want) {
		text := "none: no enforced limit was reached"
		if got.bounded {
			text = strconv.FormatUint(got.remaining, 10)
		}
		r.fail(x.Pos, "remaining", strconv.FormatUint(x.Want, 10), text)
	}
	if x := e.Limits; x != nil && !slices.Equal(x.Want, got.limits) {
		r.fail(x.Pos, "limits", list(x.Want), list(got.limits))
	}
}

// compareDenial reports what is not as expected of the last denial.
func (r *run) compareDenial(e *policy.Expectation, got *seen) {
	if x := e.DeniedBy; x != nil && (got.denied == 0 || got.deniedBy != x.Want) {
		r.fail(x.Pos, "denied_by", x.Want, orNone(got.denied > 0, got.deniedBy))
	}
	if x := e.RetryAfter; x != nil && (got.denied == 0 || roundUp(got.retryAfter) != x.Want) {
		r.fail(x.Pos, "retry_after", span(x.Want), orNone(got.denied > 0, span(roundUp(got.retryAfter))))
	}
}

func (r *run) count(x *policy.Expected[uint64], what string, got uint64) {
	if x != nil && got != x.Want {
		r.fail(x.Pos, what, strconv.FormatUint(x.Want, 10), strconv.FormatUint(got, 10))
	}
}

func (r *run) fail(at policy.Position, what, expected, got string) {
	r.failures = append(r.failures, Failure{at, r.n, what, expected, got})
}

// verdicts says what the requests of a step got.
func (r *run) verdicts(s *policy.Step, got *seen) string {
	text := limiter.Allowed.String()
	if got.denied > 0 {
		text = "denied by " + got.deniedBy + ", retry after " + span(roundUp(got.retryAfter))
	}
	if s.Repeat > 1 {
		text = fmt.Sprintf("%d allowed, %d denied (the last: %s)", got.allowed, got.denied, text)
	}
	return text
}

func orNone(denied bool, text string) string {
	if !denied {
		return "none: nothing was denied"
	}
	return text
}

// roundUp rounds to milliseconds, which is what spans are written in.
func roundUp(d time.Duration) time.Duration {
	if d > limiter.Never-time.Millisecond {
		return limiter.Never
	}
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}

// span writes d as a test file would.
func span(d time.Duration) string {
	if d == limiter.Never {
		return "never"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func list(names []string) string { return "[" + strings.Join(names, ", ") + "]" }
