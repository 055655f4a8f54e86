package decision_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/decision"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/internal/apitest"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

const shop = `domain: shop
limits:
  - name: two
    by: [user]
    window: 2/hour
  - name: bucket
    by: [user]
    rate: 10/s
    burst: 20
  - name: trial
    by: [user]
    window: 1/hour
    shadow: true
  - name: search
    descriptor: [path=/search, user]
    window: 1/hour
  - name: free
    when: {staff: yes}
    unlimited: true
  - name: jobs
    by: [job]
    concurrency: 1
`

// noon is on the hour, so that windows are whole.
const noon = limiter.Instant(1_800_000_000 * int64(time.Second) / int64(time.Hour) * int64(time.Hour))

// newService returns a service over a real policy and, unless d is given, a
// real table. Its clock begins at noon; in a synctest bubble it stands still
// unless somebody waits.
func newService(tb testing.TB, d api.Decider, unknown policy.Outcome) *generated {
	tb.Helper()
	start := time.Now()
	clock := func() limiter.Instant { return noon.Add(time.Since(start)) }
	desk := api.NewDesk(apitest.Gate(tb, shop, policy.Options{OnUnknownDomain: unknown}, d), clock, time.Second)
	return &generated{&decision.Service{Desk: desk, Bounds: api.DefaultBounds()}}
}

func request(kv ...string) *headgatev1.CheckRequest {
	req := &headgatev1.CheckRequest{Domain: "shop"}
	for i := 0; i < len(kv); i += 2 {
		req.Attributes = append(req.Attributes, &headgatev1.Attribute{Key: kv[i], Value: kv[i+1]})
	}
	return req
}

func check(tb testing.TB, s *generated, req *headgatev1.CheckRequest) *headgatev1.CheckResponse {
	tb.Helper()
	resp, err := s.Check(tb.Context(), req)
	if err != nil {
		tb.Fatal(err)
	}
	return resp
}

func TestCheckSaysAllThatWasDecided(t *testing.T) {
	synctest.Test(t, testCheckSaysAllThatWasDecided)
}

func testCheckSaysAllThatWasDecided(t *testing.T) {
	s := newService(t, nil, 0)
	req := request("user", "u")
	req.Explain = true
	check(t, s, req)
	check(t, s, req)
	got := check(t, s, req)
	if got.GetPolicyHash() == "" {
		t.Error("no policy hash")
	}
	for _, l := range got.GetLimits() {
		if f := l.GetExplanation().GetKeyFingerprint(); len(f) != 16 {
			t.Errorf("%s: fingerprint %q", l.GetName(), f)
		}
		l.Explanation.KeyFingerprint = ""
	}
	allowed, denied := headgatev1.Verdict_VERDICT_ALLOWED, headgatev1.Verdict_VERDICT_DENIED
	hour := durationpb.New(time.Hour)
	want := &headgatev1.CheckResponse{
		Verdict: denied, DeniedBy: "two", Remaining: proto.Uint64(0), RetryAfter: hour, ResetAfter: hour,
		PolicyVersion: 7, PolicyHash: got.GetPolicyHash(),
		Limits: []*headgatev1.LimitResult{
			{
				Name: "two", Kind: headgatev1.LimitKind_LIMIT_KIND_WINDOW, Verdict: denied,
				Amount: 2, Period: hour, RetryAfter: hour, ResetAfter: hour,
				Explanation: &headgatev1.Explanation{File: "shop.yaml", Line: 3, Selector: "by user", Cost: 1},
			},
			{
				Name: "bucket", Kind: headgatev1.LimitKind_LIMIT_KIND_RATE, Verdict: allowed,
				Amount: 10, Period: durationpb.New(time.Second), Burst: 20, Remaining: 18, ResetAfter: durationpb.New(200 * time.Millisecond),
				Explanation: &headgatev1.Explanation{File: "shop.yaml", Line: 6, Selector: "by user", Cost: 1},
			},
			{
				Name: "trial", Kind: headgatev1.LimitKind_LIMIT_KIND_WINDOW, Verdict: denied, Shadow: true,
				Amount: 1, Period: hour, RetryAfter: hour, ResetAfter: hour,
				Explanation: &headgatev1.Explanation{File: "shop.yaml", Line: 10, Selector: "by user", Cost: 1},
			},
		},
	}
	if !proto.Equal(got, want) {
		t.Fatalf("\n got %v\nwant %v", got, want)
	}
}

func TestCheckWithoutExplainExplainsNothing(t *testing.T) {
	for _, l := range check(t, newService(t, nil, 0), request("user", "u")).GetLimits() {
		if l.GetExplanation() != nil {
			t.Fatalf("got %v", l)
		}
	}
}

// The units left are those of the enforced limits.
func TestCost(t *testing.T) {
	s := newService(t, nil, 0)
	for _, c := range []struct {
		name    string
		cost    *uint64
		give    bool
		verdict headgatev1.Verdict
		left    uint64
	}{
		{"0 looks", proto.Uint64(0), false, headgatev1.Verdict_VERDICT_ALLOWED, 2},
		{"unset is 1", nil, false, headgatev1.Verdict_VERDICT_ALLOWED, 1},
		{"2 is too much", proto.Uint64(2), false, headgatev1.Verdict_VERDICT_DENIED, 1},
		{"1 fits", proto.Uint64(1), false, headgatev1.Verdict_VERDICT_ALLOWED, 0},
		{"0 says that 1 would not", proto.Uint64(0), false, headgatev1.Verdict_VERDICT_DENIED, 0},
		{"giving 0 back looks", proto.Uint64(0), true, headgatev1.Verdict_VERDICT_DENIED, 0},
		{"1 is given back", nil, true, headgatev1.Verdict_VERDICT_ALLOWED, 1},
		{"never above full", proto.Uint64(limiter.CostMax), true, headgatev1.Verdict_VERDICT_ALLOWED, 2},
	} {
		req := request("user", "u")
		req.Cost, req.GiveBack = c.cost, c.give
		if got := check(t, s, req); got.GetVerdict() != c.verdict || got.GetRemaining() != c.left {
			t.Fatalf("%s: got %v", c.name, got)
		}
	}
	req := request("user", "other")
	req.Cost = proto.Uint64(3)
	if got := check(t, s, req); got.GetVerdict() != headgatev1.Verdict_VERDICT_DENIED || got.GetRetryAfter() != nil {
		t.Fatalf("a cost that never passes: got %v", got)
	}
}

// The order of attributes matters only to descriptor rules.
func TestAttributeOrder(t *testing.T) {
	s := newService(t, nil, 0)
	names := func(kv ...string) string {
		var names []string
		for _, l := range check(t, s, request(kv...)).GetLimits() {
			names = append(names, l.GetName())
		}
		return strings.Join(names, " ")
	}
	if got := names("path", "/search", "user", "u"); !strings.Contains(got, "two") || !strings.Contains(got, "search") {
		t.Errorf("got %q", got)
	}
	if got := names("user", "u", "path", "/search"); !strings.Contains(got, "two") || strings.Contains(got, "search") {
		t.Errorf("got %q", got)
	}
}

func TestWhatNoLimitCounted(t *testing.T) {
	s := newService(t, nil, 0)
	for _, req := range []*headgatev1.CheckRequest{request(), request("other", "x"), request("staff", "yes"), {Domain: "nowhere"}} {
		got := check(t, s, req)
		if got.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || got.Remaining != nil || got.GetResetAfter() != nil {
			t.Errorf("%v: got %v", req, got)
		}
	}
	got := check(t, s, request("staff", "yes")).GetLimits()
	if len(got) != 1 || got[0].GetKind() != headgatev1.LimitKind_LIMIT_KIND_UNLIMITED || got[0].GetRemaining() != math.MaxUint64 || got[0].GetPeriod() != nil {
		t.Errorf("unlimited: got %v", got)
	}
}

func TestAnUnknownDomainThatIsDeniedNamesTheSetting(t *testing.T) {
	got := check(t, newService(t, nil, policy.UnknownDomainDeny), &headgatev1.CheckRequest{Domain: "nowhere"})
	if got.GetVerdict() != headgatev1.Verdict_VERDICT_DENIED || got.GetDeniedBy() != "on_unknown_domain" {
		t.Fatalf("got %v", got)
	}
}

// malformed are requests that can't be decided, and why.
func malformed() map[string]*headgatev1.CheckRequest {
	costly := request("user", "u")
	costly.Cost = proto.Uint64(limiter.CostMax + 1)
	many := request()
	for range policy.EntriesMax + 1 {
		many.Attributes = append(many.Attributes, &headgatev1.Attribute{Key: "k"})
	}
	return map[string]*headgatev1.CheckRequest{
		"domain: must not be empty":                           {},
		"domain: 257 bytes: at most 256 bytes":                {Domain: strings.Repeat("d", 257)},
		"attributes: 257: at most 256":                        many,
		"attributes[1].key: must not be empty":                request("user", "u", "", "x"),
		"attributes[0].key: 257 bytes: at most 256 bytes":     request(strings.Repeat("k", 257), ""),
		"attributes[0].value: 4097 bytes: at most 4096 bytes": request("k", strings.Repeat("v", 4097)),
		"cost: 36028797018963969: at most 36028797018963968":  costly,
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	s := newService(t, nil, policy.UnknownDomainError)
	for want, req := range malformed() {
		_, err := s.Check(t.Context(), req)
		if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := s.Check(t.Context(), &headgatev1.CheckRequest{Domain: "nowhere"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown domain: %v", err)
	}
	if got, want := s.Desk.Faults(), uint64(len(malformed())+1); got != want {
		t.Errorf("%d faults counted, want %d", got, want)
	}
}

func TestCheckBatchAnswersInOrder(t *testing.T) {
	s := newService(t, nil, policy.UnknownDomainError)
	batch := &headgatev1.CheckBatchRequest{}
	for range 3 {
		batch.Checks = append(batch.Checks, request("user", "u"))
	}
	batch.Checks = append(batch.Checks, request("", ""), request("user", "v"), &headgatev1.CheckRequest{Domain: "nowhere"})
	resp, err := s.CheckBatch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, item := range resp.GetItems() {
		if e := item.GetError(); e != nil {
			got = append(got, fmt.Sprint(codes.Code(e.GetCode()), " ", e.GetMessage()))
			continue
		}
		got = append(got, item.GetResponse().GetVerdict().String()+item.GetResponse().GetDeniedBy())
	}
	want := []string{
		"VERDICT_ALLOWED", "VERDICT_ALLOWED", "VERDICT_DENIEDtwo",
		"InvalidArgument attributes[0].key: must not be empty",
		"VERDICT_ALLOWED",
		`NotFound domain: "nowhere": no policy has this domain`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("\n got %q\nwant %q", got, want)
	}
}

func TestCheckBatchBounds(t *testing.T) {
	s := newService(t, nil, 0)
	batch := &headgatev1.CheckBatchRequest{}
	if resp, err := s.CheckBatch(t.Context(), batch); err != nil || len(resp.GetItems()) != 0 {
		t.Errorf("an empty batch: %v, %v", resp, err)
	}
	for range 1000 {
		batch.Checks = append(batch.Checks, request("user", "u"))
	}
	if resp, err := s.CheckBatch(t.Context(), batch); err != nil || len(resp.GetItems()) != 1000 {
		t.Errorf("1,000 checks: %v", err)
	}
	batch.Checks = append(batch.Checks, request("user", "u"))
	_, err := s.CheckBatch(t.Context(), batch)
	if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "checks: 1001: at most 1000" {
		t.Errorf("1,001 checks: %v", err)
	}
}

// A reverser is a Decider that finishes calls in groups, last come first, and
// decides every fifth at once.
type reverser struct {
	n    int
	kept []*limiter.Call
	all  int
}

func (r *reverser) Decide(_ limiter.Instant, c *limiter.Call) bool {
	r.n++
	for i := range c.Charges() {
		c.Charges()[i].Decision = limiter.Decision{Verdict: limiter.Allowed, Remaining: c.Charges()[i].Cost}
	}
	done := r.n%5 == 0
	if !done {
		r.kept = append(r.kept, c)
	}
	if r.n == r.all {
		kept := r.kept
		go func() {
			for i := len(kept) - 1; i >= 0; i-- {
				kept[i].Finish()
			}
		}()
	}
	return done
}

func TestCheckBatchWithADeciderThatFinishesOutOfOrder(t *testing.T) {
	const n = 100
	s := newService(t, &reverser{all: n}, 0)
	batch := &headgatev1.CheckBatchRequest{}
	for i := range n {
		req := request("user", "u")
		req.Cost = proto.Uint64(uint64(i + 1))
		batch.Checks = append(batch.Checks, req)
	}
	resp, err := s.CheckBatch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, item := range resp.GetItems() {
		if got := item.GetResponse().GetLimits()[0].GetRemaining(); got != uint64(i+1) {
			t.Fatalf("item %d has the answer of %d", i, got-1)
		}
	}
}

// All of a batch is late: it waits once, not once for each check.
func TestCheckBatchWaitsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, deciderFunc(func(limiter.Instant, *limiter.Call) bool { return false }), 0)
		batch := &headgatev1.CheckBatchRequest{}
		for range 50 {
			batch.Checks = append(batch.Checks, request("user", "u"))
		}
		start := time.Now()
		resp, err := s.CheckBatch(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v", took)
		}
		for _, item := range resp.GetItems() {
			if item.GetResponse().GetDegraded() != headgatev1.DegradedReason_DEGRADED_REASON_UNAVAILABLE {
				t.Fatalf("got %v", item)
			}
		}
	})
}

// A deciderFunc is a Decider.
type deciderFunc func(now limiter.Instant, c *limiter.Call) bool

func (f deciderFunc) Decide(now limiter.Instant, c *limiter.Call) bool { return f(now, c) }
