package limiter

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestNewLimitNamesEveryBoundThatIsBroken(t *testing.T) {
	const day = 24 * time.Hour
	long := strings.Repeat("x", TextMax+1)
	tests := []struct {
		name string
		spec Spec
		want []string // nil: valid
	}{
		{"a rate", Spec{Kind: KindRate, Amount: 1, Period: 30 * day}, nil},
		{"the highest rate", Spec{Kind: KindRate, Amount: 1_000_000_000, Period: time.Second}, nil},
		{"the highest rate over the longest period", Spec{Kind: KindRate, Amount: uint64(PeriodMax), Period: PeriodMax}, nil},
		{"a burst that refills within the horizon", Spec{Kind: KindRate, Amount: 1, Period: 365 * day, Burst: 100}, nil},
		{"the largest fixed window", Spec{Kind: KindFixed, Amount: AmountMax, Period: PeriodMax}, nil},
		{"the largest sliding window", Spec{Kind: KindSliding, Amount: SlidingAmountMax, Period: PeriodMax}, nil},
		{"a ban", Spec{Kind: KindFixed, Period: PeriodMin}, nil},
		{"unlimited", Spec{Kind: KindUnlimited}, nil},
		{"the longest texts", Spec{Kind: KindUnlimited, Domain: long[1:], Name: long[1:]}, nil},

		{"a concurrency", Spec{Kind: KindConcurrency, Amount: ConcurrencyAmountMax, Period: LifetimeMax}, nil},
		{"a concurrency that admits nobody", Spec{Kind: KindConcurrency, Period: PeriodMin}, nil},
		{"a concurrency beyond its bounds", Spec{Kind: KindConcurrency, Amount: ConcurrencyAmountMax + 1, Period: LifetimeMax + 1, Burst: 1}, []string{
			"limiter: Period=24h0m0.000000001s: must be in [1ms, 24h0m0s]",
			"limiter: Amount=4294967296: must be at most 4294967295",
			"limiter: Burst=1: must be 0: only a rate has one",
		}},
		{"no kind", Spec{}, []string{"limiter: Kind=0: must be in [1, 7]"}},
		{"an unknown kind", Spec{Kind: 8, Amount: 1}, []string{"limiter: Kind=8: must be in [1, 7]"}},
		{"a rate of 0", Spec{Kind: KindRate, Period: time.Second}, []string{"limiter: Amount=0: must be in [1, 1000000000], at most 1000000000 a second"}},
		{"a rate above one a nanosecond", Spec{Kind: KindRate, Amount: 60_000_000_001, Period: time.Minute}, []string{"limiter: Amount=60000000001: must be in [1, 60000000000], at most 1000000000 a second"}},
		{"a burst beyond the horizon", Spec{Kind: KindRate, Amount: 1, Period: 365 * day, Burst: 101}, []string{"limiter: Burst=101: must be at most 100, what refills in 876000h0m0s"}},
		{"a burst beyond AmountMax", Spec{Kind: KindRate, Amount: 1_000_000_000, Period: time.Second, Burst: AmountMax + 1}, []string{"limiter: Burst=36028797018963969: must be at most 36028797018963968"}},
		{"a period too short", Spec{Kind: KindFixed, Period: PeriodMin - 1}, []string{"limiter: Period=999.999µs: must be in [1ms, 8784h0m0s]"}},
		{"a period too long", Spec{Kind: KindSliding, Period: PeriodMax + 1}, []string{"limiter: Period=8784h0m0.000000001s: must be in [1ms, 8784h0m0s]"}},
		{"a window too large", Spec{Kind: KindFixed, Amount: AmountMax + 1, Period: time.Second}, []string{"limiter: Amount=36028797018963969: must be at most 36028797018963968"}},
		{"a sliding window too large", Spec{Kind: KindSliding, Amount: SlidingAmountMax + 1, Period: time.Second}, []string{"limiter: Amount=4294967296: must be at most 4294967295"}},
		{"a window with a burst", Spec{Kind: KindFixed, Period: time.Second, Burst: 1}, []string{"limiter: Burst=1: must be 0: only a rate has one"}},
		{"unlimited with numbers", Spec{Kind: KindUnlimited, Amount: 1, Period: 2, Burst: 3}, []string{
			"limiter: Period=2ns: must be 0: an unlimited limit has none",
			"limiter: Amount=1: must be 0: an unlimited limit has none",
			"limiter: Burst=3: must be 0: only a rate has one",
		}},
		{"a pace", Spec{Kind: KindPace, Amount: 10, Period: time.Second, MaxWait: 2 * time.Second}, nil},
		{"the slowest pace and the longest wait", Spec{Kind: KindPace, Amount: 1, Period: PeriodMax, MaxWait: WaitMax}, nil},
		{"a pace without a wait, with a burst", Spec{Kind: KindPace, Amount: 10, Period: time.Second, Burst: 3}, []string{
			"limiter: Burst=3: must be 0: only a rate has one",
			"limiter: MaxWait=0s: must be in [1ms, 24h0m0s]",
		}},
		{"a pace of 0 that waits too long", Spec{Kind: KindPace, Period: time.Second, MaxWait: WaitMax + 1}, []string{
			"limiter: Amount=0: must be in [1, 1000000000], at most 1000000000 a second",
			"limiter: MaxWait=24h0m0.000000001s: must be in [1ms, 24h0m0s]",
		}},
		{"a rate with a wait", Spec{Kind: KindRate, Amount: 1, Period: time.Second, MaxWait: 1}, []string{"limiter: MaxWait=1ns: must be 0: only a pace has one"}},
		{"a sliding window from its first charge", Spec{Kind: KindSliding, Amount: 1, Period: time.Second, FromFirst: true}, []string{
			"limiter: FromFirst=true: must be false: only a fixed window begins with its first charge",
		}},
		{"an unknown choice", Spec{Kind: KindUnlimited, OnUnavailable: 3}, []string{"limiter: OnUnavailable=3: must be at most 2"}},
		{"texts too long", Spec{Kind: KindUnlimited, Domain: long, Name: long}, []string{
			"limiter: Domain=(4097 bytes): must be at most 4096 bytes",
			"limiter: Name=(4097 bytes): must be at most 4096 bytes",
		}},
		{"everything at once", Spec{Kind: KindRate, Amount: math.MaxUint64, Period: -1, Burst: math.MaxUint64}, []string{
			"limiter: Period=-1ns: must be in [1ms, 8784h0m0s]",
			"limiter: Amount=18446744073709551615: must be in [1, 31622400000000000], at most 1000000000 a second",
			"limiter: Burst=18446744073709551615: must be at most 36028797018963968",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := NewLimit(tt.spec)
			if tt.want == nil {
				if err != nil || l.Spec != tt.spec {
					t.Fatalf("got %+v, %v", l, err)
				}
				return
			}
			if l != nil || err == nil {
				t.Fatalf("got %+v, %v", l, err)
			}
			if want := strings.Join(tt.want, "\n"); err.Error() != want {
				t.Errorf("\n got %s\nwant %s", err, want)
			}
			var bound *BoundError
			if !errors.As(err, &bound) || bound.Field == "" {
				t.Errorf("%v is no BoundError", err)
			}
		})
	}
}

func TestInitLeavesTheZeroLimitAfterAnError(t *testing.T) {
	l := mustLimit(t, Spec{Kind: KindRate, Amount: 1, Period: time.Second})
	l.Ref = 7
	if err := l.Init(Spec{}); err == nil || *l != (Limit{}) {
		t.Errorf("got %+v, %v", l, err)
	}
}

func TestCapacityIsWhatAFreshCounterAdmits(t *testing.T) {
	for _, tt := range []struct {
		spec Spec
		want uint64
	}{
		{Spec{Kind: KindRate, Amount: 10, Period: time.Second}, 10},
		{Spec{Kind: KindRate, Amount: 10, Period: time.Second, Burst: 25}, 25},
		{Spec{Kind: KindFixed, Amount: 10, Period: time.Second}, 10},
		{Spec{Kind: KindSliding, Amount: 10, Period: time.Second}, 10},
		{Spec{Kind: KindUnlimited}, math.MaxUint64},
		{Spec{Kind: KindPace, Amount: 10, Period: time.Second, MaxWait: 2 * time.Second}, 21},
		{Spec{Kind: KindPace, Amount: 3, Period: time.Second, MaxWait: time.Second - 1}, 3},
		{Spec{Kind: KindPace, Amount: 1, Period: time.Hour, MaxWait: time.Second}, 1},
	} {
		l := mustLimit(t, tt.spec)
		d := l.Apply(&Counter{}, noon, OpPeek, 0)
		if got := l.Capacity(); got != tt.want || d.Remaining != tt.want {
			t.Errorf("%v: capacity %d, a fresh counter has %d, want %d", tt.spec.Kind, got, d.Remaining, tt.want)
		}
	}
	if got := new(Limit).Capacity(); got != 0 {
		t.Errorf("the zero Limit has capacity %d", got)
	}
}

func TestNamesOfValues(t *testing.T) {
	for got, want := range map[string]string{
		KindRate.String(): "rate", KindFixed.String(): "window", KindSliding.String(): "sliding_window",
		KindUnlimited.String(): "unlimited", KindPace.String(): "pace", Kind(0).String(): "invalid",
		Undecided.String(): "undecided", Allowed.String(): "allowed", Denied.String(): "denied",
		NotDegraded.String(): "", TableFull.String(): "table_full", ShareFull.String(): "table_share_full",
		Overload.String(): "overload", Unavailable.String(): "unavailable",
		ReservationsFull.String(): "reservations_full", ReservationShareFull.String(): "reservations_share_full", Degraded(DegradedCount).String(): "",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := LimitID([16]byte{0xab, 15: 0x01}).String(); got != "ab000000000000000000000000000001" {
		t.Errorf("LimitID %s", got)
	}
}

func TestLastMomentPlusTheHorizonFits(t *testing.T) {
	if end := InstantMax.Add(HorizonMax); end < InstantMax {
		t.Errorf("overflow: %d", end)
	}
	if got := InstantMax.Time().Format(time.DateOnly); got != "2116-02-20" {
		t.Errorf("InstantMax is in %s", got)
	}
}
