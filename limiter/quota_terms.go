package limiter

import (
	"encoding/binary"
	"fmt"
	"time"
)

// NotifyMax is how many marks one quota has at most.
const NotifyMax = 8

// QuotaTerms are what a quota says that no other limit does.
type QuotaTerms struct {
	Schedule // when it begins again

	// Exact commits every answer to the ledger before it is sent. Otherwise units
	// are granted ahead of need and spent in memory.
	Exact bool
	// PostPaid records all use; what does not fit is debt. Not with Exact.
	PostPaid bool
	// MaxDebt is how many units of debt one counter has at most in one window, up
	// to AmountMax; 0 means the amount.
	MaxDebt uint64
	// Notify are the marks, in percent of the amount, at which use is announced
	// once: ascending, in [1, 100], then zeros.
	Notify [NotifyMax]uint8
}

func (s *Spec) checkQuota(b *boundCheck) {
	if s.Amount > AmountMax {
		b.fail("Amount", s.Amount, "at most %d", uint64(AmountMax))
	}
	if s.Burst != 0 {
		b.fail("Burst", s.Burst, "0: only a rate has one")
	}
	if s.OnUnavailable != UnavailableDeny {
		b.fail("OnUnavailable", uint8(s.OnUnavailable), "%d: a quota that can't be counted is not admitted", UnavailableDeny)
	}
	if s.CountDenied {
		b.fail("CountDenied", true, "false: what a quota denies is not counted")
	}
	q := s.Quota
	if q == nil {
		b.fail("Quota", "nil", "set for a quota")
		return
	}
	q.check(b)
	if s.Period != q.Length() {
		b.fail("Period", s.Period, "%v, the length of the schedule", q.Length())
	}
	q.checkDebt(b)
	for i, last := 0, uint8(0); i < NotifyMax; i++ {
		mark := q.Notify[i]
		if mark > 100 || mark != 0 && (mark <= last || i > 0 && last == 0) {
			b.fail("Notify", q.Notify, "ascending, in [1, 100], then zeros")
			break
		}
		last = mark
	}
}

func (q *QuotaTerms) checkDebt(b *boundCheck) {
	if q.Exact && q.PostPaid {
		b.fail("PostPaid", true, "false where Exact is true")
	}
	if q.MaxDebt > AmountMax {
		b.fail("MaxDebt", q.MaxDebt, "at most %d", uint64(AmountMax))
	}
}

// appendQuota appends
//
//	flags(1) unit(1) week_start(1) day(1) month(1) rolling(1) notify(8)
//	every reset_at max_debt          unsigned varints, the spans in nanoseconds
//	zone                             a varint length and its bytes
func appendQuota(b []byte, q *QuotaTerms) []byte {
	var flags byte
	for i, set := range [...]bool{q.Exact, q.PostPaid} {
		if set {
			flags |= 1 << i
		}
	}
	b = append(b, flags, byte(q.Unit), q.WeekStart, q.Day, q.Month, q.Rolling)
	b = append(b, q.Notify[:]...)
	b = binary.AppendUvarint(b, uint64(q.Every))
	b = binary.AppendUvarint(b, uint64(q.ResetAt))
	b = binary.AppendUvarint(b, q.MaxDebt)
	return append(binary.AppendUvarint(b, uint64(len(q.Zone))), q.Zone...)
}

// quotaFixed is the length of what precedes the varints.
const quotaFixed = 6 + NotifyMax

// quota reads what appendQuota writes.
func (r *specReader) quota() *QuotaTerms {
	if r.err == nil && len(r.b) < quotaFixed {
		r.err = fmt.Errorf("%w: the terms of a quota have %d bytes, want at least %d", ErrSpecMalformed, len(r.b), quotaFixed)
	}
	if r.err != nil {
		return nil
	}
	head := r.b[:quotaFixed]
	if flags := head[0]; flags > 3 {
		r.err = fmt.Errorf("%w: unknown flags %#x of a quota", ErrSpecMalformed, flags)
		return nil
	}
	q := &QuotaTerms{Exact: head[0]&1 != 0, PostPaid: head[0]&2 != 0}
	q.Unit, q.WeekStart, q.Day, q.Month, q.Rolling = CalendarUnit(head[1]), head[2], head[3], head[4], head[5]
	copy(q.Notify[:], head[6:])
	r.b = r.b[quotaFixed:]
	q.Every = time.Duration(r.uvarint("every"))
	q.ResetAt = time.Duration(r.uvarint("reset at"))
	q.MaxDebt = r.uvarint("max debt")
	q.Zone = r.text("zone")
	return q
}
