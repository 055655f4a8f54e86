package limiter

import (
	"encoding/binary"
	"math"
	"math/bits"
	"testing"
	"time"
)

// FuzzApply decides from raw bytes: any definition that NewLimit takes, any
// 16 bytes as a counter, any operations at any moments. Only what holds for
// all of them is asserted; the models check the values.
func FuzzApply(f *testing.F) {
	op := func(jump int64, op Op, cost uint64) []byte {
		b := binary.LittleEndian.AppendUint64([]byte{byte(op)}, uint64(jump))
		return binary.LittleEndian.AppendUint64(b, cost)
	}
	script := append(op(0, OpCharge, 3), op(5e8, OpCharge, 1)...)
	script = append(script, op(-7e8, OpPeek, 0)...)
	script = append(script, op(1e9, OpGiveBack, 2)...)
	for _, kind := range []Kind{KindRate, KindFixed, KindSliding, KindUnlimited, KindPace} {
		for flags := range uint8(4) {
			f.Add(uint8(kind), flags, uint64(3), uint64(time.Second), uint64(0), int64(0), uint64(0), script)
			f.Add(uint8(kind), flags, uint64(math.MaxUint64), uint64(PeriodMax), uint64(1), int64(math.MaxInt64), uint64(math.MaxUint64), script)
		}
	}
	f.Fuzz(func(t *testing.T, kind, flags uint8, amount, period, burst uint64, due int64, word uint64, script []byte) {
		l, ok := fuzzLimit(kind, flags, amount, period, burst)
		if !ok {
			return
		}
		c := Counter{Instant(due), word}
		own := c == Counter{} // whether l made c, so that Due means what it should
		now := noon
		for ; len(script) >= 17; script = script[17:] {
			op := Op(script[0] % 4)
			now += Instant(binary.LittleEndian.Uint64(script[1:]))
			cost := binary.LittleEndian.Uint64(script[9:])
			before := c
			d := l.Apply(&c, now, op, cost)
			fuzzCheck(t, l, before, c, min(max(now, 0), InstantMax), op, cost, d)
			if own {
				fuzzDue(t, l, c, min(max(now, 0), InstantMax), d)
			}
		}
		if now >= 0 && now <= InstantMax {
			if got := Convert(c, l, l, now); got.Due > now.Add(HorizonMax) {
				t.Fatalf("converted to %v at %d", got, now)
			}
		}
	})
}

// fuzzLimit brings the numbers within their bounds.
func fuzzLimit(kind, flags uint8, amount, period, burst uint64) (*Limit, bool) {
	s := Spec{
		Kind:        Kind(kind % uint8(KindPace+1)),
		Period:      PeriodMin + time.Duration(period%uint64(PeriodMax-PeriodMin+1)),
		CountDenied: flags&1 != 0,
		PeekUsed:    flags&2 != 0,
	}
	switch s.Kind {
	case KindRate:
		s.Amount = 1 + amount%uint64(s.Period)
		hi, lo := bits.Mul64(uint64(HorizonMax), s.Amount)
		most, _ := bits.Div64(hi, lo, uint64(s.Period))
		s.Burst = burst % (min(most, AmountMax) + 1)
	case KindPace:
		s.Amount = 1 + amount%uint64(s.Period)
		s.MaxWait = WaitMin + time.Duration(burst%uint64(WaitMax-WaitMin+1))
	case KindFixed:
		s.Amount = amount % (AmountMax + 1)
	case KindSliding:
		s.Amount = amount % (SlidingAmountMax + 1)
	case KindUnlimited:
		s.Period = 0
	case KindConcurrency, KindQuota:
		return nil, false // decided by no counter
	}
	l, err := NewLimit(s)
	return l, err == nil
}

func fuzzCheck(t *testing.T, l *Limit, before, c Counter, now Instant, op Op, cost uint64, d Decision) {
	t.Helper()
	if d.Remaining > l.Capacity() {
		t.Fatalf("%d remain of %d", d.Remaining, l.Capacity())
	}
	if d.ResetAfter < 0 || d.RetryAfter < 0 || (d.Verdict == Allowed) != (d.RetryAfter == 0) {
		t.Fatalf("impossible: %+v", d)
	}
	if d.Wait < 0 || d.Wait > l.MaxWait || d.Wait > 0 && d.Verdict != Allowed {
		t.Fatalf("impossible: %+v", d)
	}
	if now.Add(d.ResetAfter) > max(c.Due, now) {
		t.Fatalf("reset after %v, but due in %v", d.ResetAfter, c.Due.Sub(now))
	}
	look := op != OpCharge && op != OpGiveBack || op == OpCharge && cost == 0
	if look && c != before {
		t.Fatalf("a look changed %v to %v", before, c)
	}
	if op == OpGiveBack {
		fuzzGiveBack(t, l, before, now, d)
		return
	}
	if d.Verdict == Allowed && !look && l.Kind != KindUnlimited && d.Remaining > l.Capacity()-cost {
		t.Fatalf("charged %d of %d, yet %d remain", cost, l.Capacity(), d.Remaining)
	}
	if d.Verdict == Denied {
		fuzzRetry(t, l, c, now, cost, d)
	}
	ask := max(cost, 1)
	if again := l.Apply(&c, now, OpPeek, ask); (again.Verdict == Allowed) != (again.Remaining >= ask) {
		t.Fatalf("%d units are %v, yet %d remain", ask, again.Verdict, again.Remaining)
	}
}

func fuzzGiveBack(t *testing.T, l *Limit, before Counter, now Instant, d Decision) {
	t.Helper()
	if d.Verdict != Allowed {
		t.Fatalf("a give-back was %v", d.Verdict)
	}
	if was := l.Apply(&before, now, OpPeek, 0); d.Remaining < was.Remaining || d.ResetAfter > was.ResetAfter {
		t.Fatalf("a give-back made %+v of %+v", d, was)
	}
}

// fuzzRetry checks that cost passes after d.RetryAfter and no sooner.
func fuzzRetry(t *testing.T, l *Limit, c Counter, now Instant, cost uint64, d Decision) {
	t.Helper()
	if d.RetryAfter == Never {
		// A foreign counter can be due at the end of time itself.
		if max(cost, 1) <= l.Capacity() && c.Due < math.MaxInt64 {
			t.Fatalf("cost %d of %d is never to pass", cost, l.Capacity())
		}
		return
	}
	if d.RetryAfter > InstantMax.Sub(now) {
		return // no clock shows that moment
	}
	if got := l.Apply(&c, now.Add(d.RetryAfter), OpPeek, cost); got.Verdict != Allowed {
		t.Fatalf("cost %d is still %+v after %v", cost, got, d.RetryAfter)
	}
	if got := l.Apply(&c, now.Add(d.RetryAfter-1), OpPeek, cost); got.Verdict != Denied {
		t.Fatalf("cost %d passes before %v", cost, d.RetryAfter)
	}
}

// fuzzDue checks that c is as good as fresh when it is due, and not before.
func fuzzDue(t *testing.T, l *Limit, c Counter, now Instant, d Decision) {
	t.Helper()
	if due := max(0, c.Due.Sub(now)); d.ResetAfter != due {
		t.Fatalf("reset after %v, but due in %v", d.ResetAfter, due)
	}
	if c.Due <= now || c.Due > InstantMax {
		return
	}
	fresh := Counter{}
	at := c.Due
	if got, want := l.Apply(&c, at, OpPeek, 0), l.Apply(&fresh, at, OpPeek, 0); got != want {
		t.Fatalf("due, but %+v, not %+v", got, want)
	}
	if got := l.Apply(&c, at-1, OpPeek, 0); got.ResetAfter != 1 {
		t.Fatalf("a nanosecond before it is due: %+v", got)
	}
}
