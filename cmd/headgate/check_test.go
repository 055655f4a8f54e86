package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// A fakeServer answers every check with what it is told, and keeps the request.
type fakeServer struct {
	headgatev1.UnimplementedDecisionServiceServer
	asked  chan *headgatev1.CheckRequest
	answer *headgatev1.CheckResponse
	err    error
	delay  time.Duration
}

func (s *fakeServer) Check(ctx context.Context, r *headgatev1.CheckRequest) (*headgatev1.CheckResponse, error) {
	s.asked <- r
	if s.delay > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(s.delay):
		}
	}
	return s.answer, s.err
}

// start serves on loopback until the test ends, and returns the address.
func (s *fakeServer) start(t *testing.T) string {
	t.Helper()
	s.asked = make(chan *headgatev1.CheckRequest, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	headgatev1.RegisterDecisionServiceServer(g, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := g.Serve(l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { g.Stop(); <-done })
	return l.Addr().String()
}

// command runs a command line as main would.
func command(args ...string) (stdout, stderr string, code exitCode) {
	var out, errs bytes.Buffer
	code = exitCode(run(args, &out, &errs))
	return out.String(), errs.String(), code
}

func deniedAnswer() *headgatev1.CheckResponse {
	return &headgatev1.CheckResponse{
		Verdict: headgatev1.Verdict_VERDICT_DENIED, DeniedBy: "per-client", Remaining: proto.Uint64(0),
		RetryAfter: durationpb.New(599_000_001), ResetAfter: durationpb.New(2 * time.Second),
		PolicyVersion: 3, PolicyHash: "9f2c",
		Limits: []*headgatev1.LimitResult{
			{
				Name: "per-client", Kind: headgatev1.LimitKind_LIMIT_KIND_RATE, Verdict: headgatev1.Verdict_VERDICT_DENIED,
				Amount: 100, Period: durationpb.New(time.Second), Burst: 200,
				RetryAfter: durationpb.New(599_000_001), ResetAfter: durationpb.New(2 * time.Second),
				Explanation: &headgatev1.Explanation{KeyFingerprint: "a1b2c3d4e5f60718", File: "shop.yaml", Line: 3, Selector: "by remote_address", Unit: "tokens", Cost: 250},
			},
			{
				Name: "trial", Kind: headgatev1.LimitKind_LIMIT_KIND_WINDOW, Verdict: headgatev1.Verdict_VERDICT_DENIED, Shadow: true,
				Period: durationpb.New(24 * time.Hour), ResetAfter: durationpb.New(time.Hour), Explanation: &headgatev1.Explanation{File: "shop.yaml", Line: 9},
			},
			{Name: "staff", Kind: headgatev1.LimitKind_LIMIT_KIND_UNLIMITED, Verdict: headgatev1.Verdict_VERDICT_ALLOWED, Remaining: 1<<64 - 1},
		},
	}
}

func TestCheckPrintsTheAnswer(t *testing.T) {
	allowed := &headgatev1.CheckResponse{
		Verdict: headgatev1.Verdict_VERDICT_ALLOWED, Remaining: proto.Uint64(7), ResetAfter: durationpb.New(300 * time.Millisecond),
		PolicyVersion: 1, Limits: []*headgatev1.LimitResult{{Name: "w", Shadow: true, Remaining: 7}, {Name: "x", Remaining: 7}},
	}
	never := &headgatev1.CheckResponse{Verdict: headgatev1.Verdict_VERDICT_DENIED, DeniedBy: "per-client", Remaining: proto.Uint64(9)}
	free := &headgatev1.CheckResponse{Verdict: headgatev1.Verdict_VERDICT_ALLOWED}
	full := &headgatev1.CheckResponse{
		Verdict: headgatev1.Verdict_VERDICT_DENIED, DeniedBy: "per-client", RetryAfter: durationpb.New(time.Second),
		Degraded: headgatev1.DegradedReason_DEGRADED_REASON_TABLE_SHARE_FULL,
	}
	unknown := &headgatev1.CheckResponse{
		Verdict: headgatev1.Verdict_VERDICT_DENIED, DeniedBy: "seats", RetryAfter: durationpb.New(time.Second),
		Degraded: headgatev1.DegradedReason_DEGRADED_REASON_UNAVAILABLE,
	}
	for _, test := range []struct {
		name   string
		answer *headgatev1.CheckResponse
		flags  []string
		code   exitCode
		want   string
	}{
		{"allowed", allowed, nil, exitFine, "allowed\nlimit        x\nremaining    7\nreset after  300ms\n"},
		{"allowed by nothing", free, nil, exitFine, "allowed: no limit applies\n"},
		{"denied, the wait rounded up", deniedAnswer(), nil, exitNo, "denied by per-client\nremaining    0\nretry after  600ms\nreset after  2s\n"},
		{"denied for ever", never, nil, exitNo, "denied by per-client\nremaining    9\nretry after  never: waiting does not help\n"},
		{"denied without a counter", full, nil, exitNo, "denied by per-client\nretry after  1s\ndegraded     table_share_full\n"},
		{"denied for want of an answer", unknown, nil, exitNo, "denied by seats\nretry after  1s\ndegraded     unavailable\n"},
		{
			"the same under an id", unknown,
			[]string{"--request-id", "r"},
			exitNo,
			"denied by seats\nretry after  1s\ndegraded     unavailable: it may have been charged; ask again with the same --request-id\n",
		},
		{"the same of a give-back", unknown, []string{"--request-id", "r", "--give-back"}, exitNo, "denied by seats\nretry after  1s\ndegraded     unavailable\n"},
		{"explained", deniedAnswer(), []string{"--explain", "--costs", "tokens=250,cents=3,tons=1"}, exitNo, `denied by per-client
remaining    0
retry after  600ms
reset after  2s
policy       version 3 (9f2c)
uncounted    cents, tons: no limit that applies has this unit

LIMIT       VERDICT          REMAINING  RETRY AFTER  RESET AFTER  COST        ALLOWS                        COUNTER           FROM
per-client  denied           0          600ms        2s           250 tokens  100 tokens per 1s, burst 200  a1b2c3d4e5f60718  shop.yaml:3 by remote_address
trial       denied (shadow)  0          never        1h0m0s       0           0 per 24h0m0s                 -                 shop.yaml:9
staff       allowed          -          -            -            -           unlimited                     -                 -
`},
		{"as JSON", allowed, []string{"-o", "json"}, exitFine, `{
  "verdict": "allowed",
  "remaining": 7,
  "reset_after_ms": 300,
  "policy_version": 1,
  "limits": [
    {
      "name": "w",
      "kind": "",
      "verdict": "",
      "shadow": true,
      "amount": 0,
      "remaining": 7
    },
    {
      "name": "x",
      "kind": "",
      "verdict": "",
      "amount": 0,
      "remaining": 7
    }
  ]
}
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &fakeServer{answer: test.answer}
			args := append([]string{"check", "shop", "a=b", "--server", s.start(t)}, test.flags...)
			stdout, stderr, code := command(args...)
			if stdout != test.want || stderr != "" || code != test.code {
				t.Errorf("exit code %d, want %d\n got %q\nwant %q\nstderr %q", code, test.code, stdout, test.want, stderr)
			}
		})
	}
}

func TestCheckPrintsAllOfADenialAsJSON(t *testing.T) {
	s := &fakeServer{answer: deniedAnswer()}
	stdout, _, code := command("check", "shop", "--server", s.start(t), "-o", "json", "--explain", "--costs", "tokens=250,cents=3", "--request-id", "r-1")
	for _, want := range []string{
		`"verdict": "denied"`, `"denied_by": "per-client"`, `"retry_after_ms": 600`, `"kind": "rate"`, `"period_ms": 1000`, `"burst": 200`,
		`"shadow": true`, `"kind": "unlimited"`, `"remaining": 18446744073709551615`, `"counter": "a1b2c3d4e5f60718"`, `"file": "shop.yaml"`, `"line": 3`,
		`"unit": "tokens"`, `"cost": 250`, `"request_id": "r-1"`, `"units": 3`, `"uncounted": [
    "cents"
  ]`,
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %s in %s", want, stdout)
		}
	}
	if code != exitNo {
		t.Errorf("exit code %d, want %d", code, exitNo)
	}
}

func TestCheckAsksWhatWasTyped(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want *headgatev1.CheckRequest
	}{
		{"nothing but the domain", nil, &headgatev1.CheckRequest{Cost: proto.Uint64(1)}},
		{"attributes in order, in one argument or several", []string{"b=1,a=2", "c="}, &headgatev1.CheckRequest{
			Cost: proto.Uint64(1), Attributes: []*headgatev1.Attribute{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "c"}},
		}},
		{"an escaped comma, a backslash, an equals sign in the value", []string{`q=a\,b\\c\d=e`}, &headgatev1.CheckRequest{
			Cost: proto.Uint64(1), Attributes: []*headgatev1.Attribute{{Key: "q", Value: `a,b\c\d=e`}},
		}},
		{"a peek", []string{"--cost", "0"}, &headgatev1.CheckRequest{Cost: proto.Uint64(0)}},
		{"a give-back, explained", []string{"--cost", "5", "--give-back", "--explain"}, &headgatev1.CheckRequest{Cost: proto.Uint64(5), GiveBack: true, Explain: true}},
		{"costs in named units, in one flag or several, and an id", []string{"--costs", "tokens=300,cents=0", "--costs", "a.b=36028797018963968", "--request-id", "r 1"}, &headgatev1.CheckRequest{
			Cost: proto.Uint64(1), RequestId: []byte("r 1"),
			Costs: []*headgatev1.UnitCost{{Unit: "tokens", Units: 300}, {Unit: "cents"}, {Unit: "a.b", Units: 1 << 55}},
		}},
		{"nothing but a cost in a named unit, explained: that is charged", []string{"--cost", "0", "--costs", "tokens=3", "--explain"}, &headgatev1.CheckRequest{
			Cost: proto.Uint64(0), Costs: []*headgatev1.UnitCost{{Unit: "tokens", Units: 3}}, Explain: true,
		}},
		{"a named unit given back", []string{"--cost", "0", "--costs", "tokens=3", "--give-back"}, &headgatev1.CheckRequest{
			Cost: proto.Uint64(0), Costs: []*headgatev1.UnitCost{{Unit: "tokens", Units: 3}}, GiveBack: true,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &fakeServer{answer: &headgatev1.CheckResponse{Verdict: headgatev1.Verdict_VERDICT_ALLOWED}}
			_, stderr, code := command(append([]string{"check", "shop", "--server", s.start(t)}, test.args...)...)
			if code != exitFine {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			test.want.Domain = "shop"
			if got := <-s.asked; !proto.Equal(got, test.want) {
				t.Errorf("got  %v\nwant %v", got, test.want)
			}
		})
	}
}

func TestCheckRefusesWhatItsFlagsCantMean(t *testing.T) {
	seventeen := make([]string, 0, 17)
	for i := range 17 {
		seventeen = append(seventeen, fmt.Sprintf("u%d=1", i))
	}
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"no number", []string{"--costs", "tokens"}, `"--costs" flag: "tokens": must be UNIT=N`},
		{"no unit", []string{"--costs", "=3"}, `"--costs" flag: "=3": must be UNIT=N`},
		{"no whole number", []string{"--costs", "tokens=1.5"}, `units of "tokens": "1.5": must be 0 to 36028797018963968`},
		{"more than the largest cost", []string{"--costs", "tokens=36028797018963969"}, `"36028797018963969": must be 0 to 36028797018963968`},
		{"a unit twice", []string{"--costs", "a=1,b=1", "--costs", "a=2"}, `unit "a": must be given once`},
		{"a unit that is too long", []string{"--costs", strings.Repeat("u", 65) + "=1"}, "65 bytes: must be at most 64"},
		{"too many units", []string{"--costs", strings.Join(seventeen, ",")}, "17 units: must be at most 16"},
		{"an id of nothing", []string{"--request-id", ""}, "--request-id: 0 bytes: must be 1 to 256"},
		{"an id that is too long", []string{"--request-id", strings.Repeat("i", 257)}, "--request-id: 257 bytes: must be 1 to 256"},
		{"an id of a look", []string{"--request-id", "r", "--peek"}, "--request-id: nothing is charged"},
		{"an id of no cost", []string{"--request-id", "r", "--cost", "0", "--costs", "a=0"}, "--request-id: nothing is charged"},
		{"nothing to give back", []string{"--give-back", "--cost", "0", "--costs", "a=0"}, "--give-back needs a --cost of at least 1, or --costs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, stderr, code := command(append([]string{"check", "shop", "--server", "127.0.0.1:1"}, test.args...)...)
			if code != exitMisuse || !strings.Contains(stderr, test.want) {
				t.Errorf("exit code %d, want %d\n got %q\nwant %q", code, exitMisuse, stderr, test.want)
			}
		})
	}
}

func TestCheckSaysWhoseFaultAnErrorIs(t *testing.T) {
	for _, test := range []struct {
		code codes.Code
		want exitCode
	}{
		{codes.InvalidArgument, exitMisuse},
		{codes.NotFound, exitMisuse},
		{codes.AlreadyExists, exitMisuse},
		{codes.FailedPrecondition, exitTrouble},
		{codes.Unavailable, exitTrouble},
		{codes.Unimplemented, exitTrouble},
	} {
		t.Run(test.code.String(), func(t *testing.T) {
			s := &fakeServer{err: status.Error(test.code, "because")}
			address := s.start(t)
			stdout, stderr, code := command("check", "shop", "--server", address)
			want := "headgate: check on " + address + ": because (" + test.code.String() + ")\n"
			if code != test.want || stdout != "" || !strings.HasPrefix(stderr, want) {
				t.Errorf("exit code %d, want %d\n got %q\nwant %q", code, test.want, stderr, want)
			}
		})
	}
}

func TestCheckGivesUpInTime(t *testing.T) {
	s := &fakeServer{delay: time.Minute}
	began := time.Now()
	_, stderr, code := command("check", "shop", "--server", s.start(t), "--timeout", "50ms")
	if code != exitTrouble || !strings.Contains(stderr, "DeadlineExceeded") || time.Since(began) > 10*time.Second {
		t.Errorf("exit code %d after %v: %s", code, time.Since(began), stderr)
	}
}

func TestCheckReportsThatNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, stderr, code := command("check", "shop", "--server", address)
	if code != exitTrouble || !strings.Contains(stderr, "connection refused") || strings.Contains(stderr, "usage") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
