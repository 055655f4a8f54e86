package quota

import (
	"encoding/binary"

	"github.com/headgate/headgate/limiter"
)

// peakMax bounds Pool.Peak: the largest amount, correction and use that is waived.
const peakMax = 3 * limiter.AmountMax

// AppendTo appends the record to b as
//
//	version(1) policy-version limit correction waived revision peak changed
//	past: outstanding stranded debt; exact: charged owed
//	count, and for each share: holder granted returned debt cleared told
//
// where all but the first are varints, and told is one more than Told, 0 of a share
// that is closed. A record of version 1 has no waived and no stranded, and closed, 1 or 0,
// instead of told.
func (p *Pool) AppendTo(b []byte) []byte {
	b = append(b, formatTold)
	b = binary.AppendUvarint(binary.AppendUvarint(b, p.Version), p.Limit)
	b = binary.AppendUvarint(appendSigned(b, p.Correction), p.Waived)
	for _, v := range [...]uint64{
		p.Revision, p.Peak, uint64(p.Changed),
		p.Past.Outstanding, p.Past.Stranded, p.Past.Debt, p.Exact.Charged, p.Exact.Owed,
		uint64(len(p.Shares)),
	} {
		b = binary.AppendUvarint(b, v)
	}
	for i := range p.Shares {
		s := &p.Shares[i]
		b = appendHolder(b, s.Holder)
		told := s.Told + 1
		if s.Closed {
			told = 0
		}
		for _, v := range [...]uint64{s.Granted, s.Returned, s.Debt, s.Cleared, told} {
			b = binary.AppendUvarint(b, v)
		}
	}
	return b
}

// DecodePool reads a whole record into p, whose Shares it reuses. Nothing of b is
// kept. Errors wrap [ErrVersion] or [ErrMalformed], and leave p zero.
func DecodePool(b []byte, p *Pool) error {
	shares := p.Shares[:0]
	*p = Pool{}
	r := reader{b: b}
	r.first = r.versions("pool", formatTold) < formatTold
	got := Pool{
		Version:    r.uint("policy version", TotalMax),
		Limit:      r.uint("limit", limiter.AmountMax),
		Correction: r.signed("correction"),
		Waived:     r.told("waived", limiter.AmountMax),
		Revision:   r.uint("revision", TotalMax),
		Peak:       r.uint("peak", peakMax),
		Changed:    int64(r.uint("changed", 1000*TimeMax)),
	}
	got.Past.Outstanding = r.uint("past outstanding", got.Peak)
	got.Past.Stranded = r.told("past stranded", got.Past.Outstanding)
	got.Past.Debt = r.uint("past debt", limiter.AmountMax)
	got.Exact.Charged = r.uint("exact charged", got.Peak)
	got.Exact.Owed = r.uint("exact owed", limiter.AmountMax)
	count := int(r.uint("shares", SharesMax))
	for range count {
		shares = append(shares, r.share(got.Peak))
		if n := len(shares); n > 1 && r.err == nil && shares[n-2].Holder.compare(shares[n-1].Holder) >= 0 {
			r.fail("share %d: must be of a later holder than the one before", n-1)
		}
	}
	if r.err == nil && (got.Correction > limiter.AmountMax || got.Correction < -limiter.AmountMax) {
		r.fail("correction=%d: must be within ±%d", got.Correction, int64(limiter.AmountMax))
	}
	got.Shares = shares
	if n := got.Outstanding(); r.err == nil && n > got.Peak {
		r.fail("outstanding=%d: must be at most the peak, %d", n, got.Peak)
	}
	if err := r.end(); err != nil {
		return err
	}
	*p = got
	return nil
}

func (r *reader) share(peak uint64) Share {
	s := Share{Holder: r.holder()}
	s.Granted = r.units("granted")
	s.Returned = r.uint("returned", s.Granted)
	s.Debt = r.units("debt")
	s.Cleared = r.uint("cleared", s.Debt)
	if r.first {
		s.Closed = r.uint("closed", 1) == 1
	} else {
		told := r.uint("told", TotalMax+1)
		s.Told, s.Closed = max(told, 1)-1, told == 0
	}
	if n := s.Granted - s.Returned; n > peak {
		r.fail("outstanding=%d: must be at most the peak, %d", n, peak)
	}
	if n := s.Debt - s.Cleared; n > limiter.AmountMax {
		r.fail("debt=%d: must be at most %d", n, uint64(limiter.AmountMax))
	}
	return s
}
