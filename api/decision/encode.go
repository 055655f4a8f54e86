package decision

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

const (
	number  = byte(protowire.VarintType)
	message = byte(protowire.BytesType)
)

// Tags of CheckResponse, LimitResult and Explanation.
const (
	tagVerdict       = 1<<3 | number
	tagDeniedBy      = 2<<3 | message
	tagRemaining     = 3<<3 | number
	tagRetryAfter    = 4<<3 | message
	tagResetAfter    = 5<<3 | message
	tagDegraded      = 6<<3 | number
	tagPolicyVersion = 7<<3 | number
	tagPolicyHash    = 8<<3 | message
	tagLimits        = 9<<3 | message
	tagWait          = 10<<3 | message

	tagLimitName        = 1<<3 | message
	tagLimitKind        = 2<<3 | number
	tagLimitVerdict     = 3<<3 | number
	tagLimitShadow      = 4<<3 | number
	tagLimitAmount      = 5<<3 | number
	tagLimitPeriod      = 6<<3 | message
	tagLimitBurst       = 7<<3 | number
	tagLimitRemaining   = 8<<3 | number
	tagLimitRetryAfter  = 9<<3 | message
	tagLimitResetAfter  = 10<<3 | message
	tagLimitDegraded    = 11<<3 | number
	tagLimitExplanation = 12<<3 | message
	tagLimitWait        = 13<<3 | message
	tagLimitMaxWait     = 14<<3 | message

	tagExplanationKey      = 1<<3 | message
	tagExplanationFile     = 2<<3 | message
	tagExplanationLine     = 3<<3 | number
	tagExplanationSelector = 4<<3 | message
	tagExplanationUnit     = 5<<3 | message
	tagExplanationCost     = 6<<3 | number
)

// Append appends the CheckResponse for x, which is decided and has no Fault, and
// returns the extended buffer. It allocates only to grow dst and to explain.
func Append(dst []byte, x *api.Exchange, explain bool) []byte {
	dst = appendDecision(dst, x)
	dst = wire.AppendUint(dst, tagPolicyVersion, x.Snapshot.Version())
	dst = wire.AppendString(dst, tagPolicyHash, x.Snapshot.Hash())
	charges := x.Call.Charges()
	for i := range charges {
		var at int
		dst, at = wire.Open(dst, tagLimits)
		dst = appendLimit(dst, &charges[i])
		if explain {
			dst = appendExplanation(dst, tagLimitExplanation, x.Snapshot, &charges[i])
		}
		dst = wire.Shut(dst, at)
	}
	return dst
}

// appendDecision appends what all limits say together: the fields of a
// CheckResponse up to degraded.
func appendDecision(dst []byte, x *api.Exchange) []byte {
	v, by := x.Verdict()
	charges := x.Call.Charges()
	dst = wire.AppendUint(dst, tagVerdict, uint64(verdict(v)))
	if v == limiter.Denied {
		name := api.UnknownDomainLimit
		if by >= 0 {
			name = charges[by].Limit.Name
		}
		dst = wire.AppendString(dst, tagDeniedBy, name)
	}
	s := summarize(charges)
	if s.counted {
		dst = protowire.AppendVarint(append(dst, tagRemaining), s.remaining)
	}
	if by >= 0 {
		dst = appendRetryAfter(dst, tagRetryAfter, &charges[by].Decision)
		if d := charges[by].Decision.Degraded; d != limiter.NotDegraded {
			s.degraded = d
		}
	}
	if s.counted {
		dst = wire.AppendDuration(dst, tagResetAfter, s.reset)
	}
	dst = wire.AppendUint(dst, tagDegraded, uint64(degraded(s.degraded)))
	return appendWait(dst, tagWait, x.Call.Wait())
}

// appendWait appends nothing if there is no wait.
func appendWait(dst []byte, tag byte, wait time.Duration) []byte {
	if wait == 0 {
		return dst
	}
	return wire.AppendDuration(dst, tag, wait)
}

// A summary is what all charges say together.
type summary struct {
	counted   bool // by an enforced limit
	remaining uint64
	reset     time.Duration
	degraded  limiter.Degraded // the first reason
}

// summarize returns what all charges say together. Of AnyOf limits the most
// generous one counts, since one of them is enough to pass.
func summarize(charges []limiter.Charge) summary {
	s := summary{remaining: math.MaxUint64}
	anyOf, alternatives := uint64(0), false
	for i := range charges {
		ch := &charges[i]
		if s.degraded == limiter.NotDegraded {
			s.degraded = ch.Decision.Degraded
		}
		if ch.Limit.Shadow || ch.Limit.Kind == limiter.KindUnlimited {
			continue
		}
		s.counted = true
		s.reset = max(s.reset, ch.Decision.ResetAfter)
		if ch.Limit.AnyOf {
			alternatives = true
			anyOf = max(anyOf, ch.Decision.Remaining)
		} else {
			s.remaining = min(s.remaining, ch.Decision.Remaining)
		}
	}
	if alternatives {
		s.remaining = min(s.remaining, anyOf)
	}
	return s
}

// appendLimit appends the fields of a LimitResult but the explanation.
func appendLimit(dst []byte, ch *limiter.Charge) []byte {
	l, d := ch.Limit, &ch.Decision
	dst = wire.AppendString(dst, tagLimitName, l.Name)
	dst = wire.AppendUint(dst, tagLimitKind, uint64(kind(l.Kind)))
	dst = wire.AppendUint(dst, tagLimitVerdict, uint64(verdict(d.Verdict)))
	if l.Shadow {
		dst = append(dst, tagLimitShadow, 1)
	}
	dst = wire.AppendUint(dst, tagLimitAmount, l.Amount)
	if l.Period > 0 {
		dst = wire.AppendDuration(dst, tagLimitPeriod, l.Period)
	}
	if l.Kind == limiter.KindRate {
		burst := l.Burst
		if burst == 0 {
			burst = l.Amount
		}
		dst = wire.AppendUint(dst, tagLimitBurst, burst)
	}
	dst = wire.AppendUint(dst, tagLimitRemaining, d.Remaining)
	if d.Verdict == limiter.Denied {
		dst = appendRetryAfter(dst, tagLimitRetryAfter, d)
	}
	dst = wire.AppendDuration(dst, tagLimitResetAfter, d.ResetAfter)
	dst = wire.AppendUint(dst, tagLimitDegraded, uint64(degraded(d.Degraded)))
	dst = appendWait(dst, tagLimitWait, d.Wait)
	return appendWait(dst, tagLimitMaxWait, l.MaxWait)
}

func appendExplanation(dst []byte, tag byte, s *policy.Snapshot, ch *limiter.Charge) []byte {
	rule := s.Rule(ch.Limit)
	dst, at := wire.Open(dst, tag)
	dst = wire.AppendString(dst, tagExplanationKey, ch.Key.Fingerprint())
	dst = wire.AppendString(dst, tagExplanationFile, rule.File)
	dst = wire.AppendUint(dst, tagExplanationLine, uint64(uint32(rule.Line)))
	dst = wire.AppendString(dst, tagExplanationSelector, rule.Selector)
	dst = wire.AppendString(dst, tagExplanationUnit, ch.Limit.Unit())
	dst = wire.AppendUint(dst, tagExplanationCost, ch.Cost)
	return wire.Shut(dst, at)
}

// appendRetryAfter appends nothing if waiting doesn't help.
func appendRetryAfter(dst []byte, tag byte, d *limiter.Decision) []byte {
	if d.RetryAfter == limiter.Never {
		return dst
	}
	return wire.AppendDuration(dst, tag, d.RetryAfter)
}

func verdict(v limiter.Verdict) headgatev1.Verdict {
	switch v {
	case limiter.Allowed:
		return headgatev1.Verdict_VERDICT_ALLOWED
	case limiter.Denied:
		return headgatev1.Verdict_VERDICT_DENIED
	default:
		return headgatev1.Verdict_VERDICT_UNSPECIFIED
	}
}

func kind(k limiter.Kind) headgatev1.LimitKind {
	switch k {
	case limiter.KindRate:
		return headgatev1.LimitKind_LIMIT_KIND_RATE
	case limiter.KindFixed:
		return headgatev1.LimitKind_LIMIT_KIND_WINDOW
	case limiter.KindSliding:
		return headgatev1.LimitKind_LIMIT_KIND_SLIDING_WINDOW
	case limiter.KindUnlimited:
		return headgatev1.LimitKind_LIMIT_KIND_UNLIMITED
	case limiter.KindConcurrency:
		return headgatev1.LimitKind_LIMIT_KIND_CONCURRENCY
	case limiter.KindPace:
		return headgatev1.LimitKind_LIMIT_KIND_PACE
	case limiter.KindQuota:
		return headgatev1.LimitKind_LIMIT_KIND_QUOTA
	default:
		return headgatev1.LimitKind_LIMIT_KIND_UNSPECIFIED
	}
}

func degraded(d limiter.Degraded) headgatev1.DegradedReason {
	switch d {
	case limiter.TableFull:
		return headgatev1.DegradedReason_DEGRADED_REASON_TABLE_FULL
	case limiter.ShareFull:
		return headgatev1.DegradedReason_DEGRADED_REASON_TABLE_SHARE_FULL
	case limiter.Overload:
		return headgatev1.DegradedReason_DEGRADED_REASON_OVERLOAD
	case limiter.Unavailable:
		return headgatev1.DegradedReason_DEGRADED_REASON_UNAVAILABLE
	case limiter.ReservationsFull:
		return headgatev1.DegradedReason_DEGRADED_REASON_RESERVATIONS_FULL
	case limiter.ReservationShareFull:
		return headgatev1.DegradedReason_DEGRADED_REASON_RESERVATIONS_SHARE_FULL
	default:
		return headgatev1.DegradedReason_DEGRADED_REASON_UNSPECIFIED
	}
}
