package limiter

import (
	"errors"
	"fmt"
	"math/bits"
)

// A BoundError says which field of a Spec is out of bounds.
type BoundError struct {
	Field string // the field's name in Spec
	Value string // what it is
	Bound string // what it must be, to follow "must be"
}

// Error returns the field, its value and its bound in one line.
func (e *BoundError) Error() string {
	return "limiter: " + e.Field + "=" + e.Value + ": must be " + e.Bound
}

// A boundCheck collects what is out of bounds.
type boundCheck []error

func (b *boundCheck) fail(field string, value any, bound string, args ...any) {
	*b = append(*b, &BoundError{field, fmt.Sprint(value), fmt.Sprintf(bound, args...)})
}

// check returns all the bounds that s breaks, joined.
func (s *Spec) check() error {
	var b boundCheck
	if n := len(s.Domain); n > TextMax {
		b.fail("Domain", fmt.Sprintf("(%d bytes)", n), "at most %d bytes", TextMax)
	}
	if n := len(s.Name); n > TextMax {
		b.fail("Name", fmt.Sprintf("(%d bytes)", n), "at most %d bytes", TextMax)
	}
	if s.OnUnavailable > UnavailableLocal {
		b.fail("OnUnavailable", uint8(s.OnUnavailable), "at most %d", UnavailableLocal)
	}
	switch s.Kind {
	case KindRate:
		s.checkRate(&b)
	case KindFixed:
		s.checkWindow(&b, AmountMax)
	case KindSliding:
		s.checkWindow(&b, SlidingAmountMax)
	case KindUnlimited:
		s.checkUnlimited(&b)
	case KindConcurrency:
		s.checkConcurrency(&b)
	case KindPace:
		s.checkPace(&b)
	case KindQuota:
		s.checkQuota(&b)
	default:
		b.fail("Kind", uint8(s.Kind), "in [%d, %d]", KindRate, KindQuota)
	}
	s.checkOthers(&b)
	return errors.Join(b...)
}

// checkOthers checks that s has nothing that only another kind has.
func (s *Spec) checkOthers(b *boundCheck) {
	if s.Kind != KindQuota && s.Quota != nil {
		b.fail("Quota", "set", "nil: only a quota has terms")
	}
	if s.Kind != KindPace && s.MaxWait != 0 {
		b.fail("MaxWait", s.MaxWait, "0: only a pace has one")
	}
	if s.Kind != KindFixed && s.FromFirst {
		b.fail("FromFirst", true, "false: only a fixed window begins with its first charge")
	}
}

func (s *Spec) checkPeriod(b *boundCheck) (ok bool) {
	if s.Period < PeriodMin || s.Period > PeriodMax {
		b.fail("Period", s.Period, "in [%v, %v]", PeriodMin, PeriodMax)
		return false
	}
	return true
}

// checkSpeed checks Amount and Period of what has an exact time for each unit.
func (s *Spec) checkSpeed(b *boundCheck) (ok bool) {
	periodOK := s.checkPeriod(b)
	// RateMax is one unit a nanosecond, so the period is also the bound.
	amountMax := uint64(PeriodMax)
	if periodOK {
		amountMax = uint64(s.Period)
	}
	amountOK := s.Amount >= 1 && s.Amount <= amountMax
	if !amountOK {
		b.fail("Amount", s.Amount, "in [1, %d], at most %d a second", amountMax, RateMax)
	}
	return periodOK && amountOK
}

func (s *Spec) checkRate(b *boundCheck) {
	speedOK := s.checkSpeed(b)
	switch {
	case s.Burst > AmountMax:
		b.fail("Burst", s.Burst, "at most %d", uint64(AmountMax))
	case speedOK:
		// Amount ≤ Period, so the quotient is at most HorizonMax.
		hi, lo := bits.Mul64(uint64(HorizonMax), s.Amount)
		refilled, _ := bits.Div64(hi, lo, uint64(s.Period))
		if s.Burst > refilled {
			b.fail("Burst", s.Burst, "at most %d, what refills in %v", refilled, HorizonMax)
		}
	}
}

func (s *Spec) checkPace(b *boundCheck) {
	s.checkSpeed(b)
	if s.Burst != 0 {
		b.fail("Burst", s.Burst, "0: only a rate has one")
	}
	if s.MaxWait < WaitMin || s.MaxWait > WaitMax {
		b.fail("MaxWait", s.MaxWait, "in [%v, %v]", WaitMin, WaitMax)
	}
}

func (s *Spec) checkWindow(b *boundCheck, amountMax uint64) {
	s.checkPeriod(b)
	if s.Amount > amountMax {
		b.fail("Amount", s.Amount, "at most %d", amountMax)
	}
	if s.Burst != 0 {
		b.fail("Burst", s.Burst, "0: only a rate has one")
	}
}

func (s *Spec) checkConcurrency(b *boundCheck) {
	if s.Period < PeriodMin || s.Period > LifetimeMax {
		b.fail("Period", s.Period, "in [%v, %v]", PeriodMin, LifetimeMax)
	}
	if s.Amount > ConcurrencyAmountMax {
		b.fail("Amount", s.Amount, "at most %d", uint64(ConcurrencyAmountMax))
	}
	if s.Burst != 0 {
		b.fail("Burst", s.Burst, "0: only a rate has one")
	}
}

func (s *Spec) checkUnlimited(b *boundCheck) {
	if s.Period != 0 {
		b.fail("Period", s.Period, "0: an unlimited limit has none")
	}
	if s.Amount != 0 {
		b.fail("Amount", s.Amount, "0: an unlimited limit has none")
	}
	if s.Burst != 0 {
		b.fail("Burst", s.Burst, "0: only a rate has one")
	}
}
