package api_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

func TestCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want codes.Code
	}{
		{nil, codes.OK},
		{&api.Fault{Reason: api.Malformed}, codes.InvalidArgument},
		{&api.Fault{Reason: api.OutOfBounds}, codes.InvalidArgument},
		{&api.Fault{Reason: api.UnknownDomain}, codes.NotFound},
		{&api.Fault{Reason: api.TooManyCharges}, codes.FailedPrecondition},
		{&api.Fault{Reason: api.Reused}, codes.AlreadyExists},
		{&api.Fault{Reason: api.NotRemembered}, codes.FailedPrecondition},
		{&api.Fault{}, codes.Internal},
		{fmt.Errorf("rls: decode: %w", &api.Fault{Reason: api.Malformed}), codes.InvalidArgument},
		{fmt.Errorf("wait: %w", context.Canceled), codes.Canceled},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{errors.New("anything else"), codes.Internal},
	} {
		if got := api.Code(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
		if got := status.Code(api.Status(c.err)); got != c.want {
			t.Errorf("%v: got status %v, want %v", c.err, got, c.want)
		}
	}
}

func TestFaultsNameFieldValueAndBound(t *testing.T) {
	for _, c := range []struct {
		fault *api.Fault
		want  string
	}{
		{api.TooLong("domain", 300, 256), "domain: 300 bytes: at most 256 bytes"},
		{api.TooMany("checks", 1001, 1000), "checks: 1001: at most 1000"},
		{&api.Fault{Field: "domain", Bound: "must not be empty"}, "domain: must not be empty"},
		{&api.Fault{Field: "domain", Value: api.Quote([]byte("a\nb")), Bound: "unknown"}, `domain: "a\nb": unknown`},
	} {
		if got := c.fault.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	if got := api.Quote([]byte(strings.Repeat("é", 100))); got != `"`+strings.Repeat(`\u00e9`, 32)+`"…` {
		t.Errorf("got %s", got)
	}
	if got := api.Quote([]byte("x" + strings.Repeat("é", 100))); strings.Contains(got, `\x`) {
		t.Errorf("cut inside a character: %s", got)
	}
}

func TestOutcomesThatAreFaults(t *testing.T) {
	for _, c := range []struct {
		outcome policy.Outcome
		code    codes.Code
	}{
		{policy.Matched, codes.OK},
		{policy.UnknownDomainAllow, codes.OK},
		{policy.UnknownDomainDeny, codes.OK},
		{policy.UnknownDomainError, codes.NotFound},
		{policy.TooManyCharges, codes.FailedPrecondition},
		{policy.InvalidOverride, codes.InvalidArgument},
	} {
		x := &api.Exchange{Outcome: c.outcome}
		x.Req.Domain = []byte("shop")
		if got := api.Code(x.Fault()); got != c.code {
			t.Errorf("outcome %d: got %v, want %v", c.outcome, got, c.code)
		}
	}
	x := &api.Exchange{Outcome: policy.UnknownDomainDeny}
	if v, by := x.Verdict(); v != limiter.Denied || by != -1 {
		t.Errorf("an unknown domain that is denied: got %v by %d", v, by)
	}
}

func TestBoundsValidate(t *testing.T) {
	b := api.DefaultBounds()
	if err := b.Validate(); err != nil {
		t.Fatal(err)
	}
	bad := api.Bounds{MessageBytes: 10, Descriptors: 33, Entries: 0, KeyBytes: 11, ValueBytes: 0, BatchChecks: 1001}
	err := bad.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"message_bytes_max: 10 is not in [1024, 67108864]",
		"descriptors_max: 33 is not in [1, 32]",
		"entries_max: 0 is not in [1, 256]",
		"key_bytes_max: 11 is not in [1, 10]",
		"value_bytes_max: 0 is not in [1, 10]",
		"batch_checks_max: 1001 is not in [1, 1000]",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
}
