package rls

import (
	"math"
	"strconv"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/headers"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// Field tags of RateLimitResponse and of the messages in it: number << 3 | type.
const (
	tagOverallCode = 1<<3 | byte(protowire.VarintType)
	tagStatus      = 2<<3 | byte(protowire.BytesType)
	tagHeader      = 3<<3 | byte(protowire.BytesType)

	tagStatusCode      = 1<<3 | byte(protowire.VarintType)
	tagStatusLimit     = 2<<3 | byte(protowire.BytesType)
	tagStatusRemaining = 3<<3 | byte(protowire.VarintType)
	tagStatusReset     = 4<<3 | byte(protowire.BytesType)

	tagLimitAmount     = 1<<3 | byte(protowire.VarintType)
	tagLimitUnit       = 2<<3 | byte(protowire.VarintType)
	tagLimitName       = 3<<3 | byte(protowire.BytesType)
	tagLimitMultiplier = 4<<3 | byte(protowire.BytesType)

	tagHeaderKey   = 1<<3 | byte(protowire.BytesType)
	tagHeaderValue = 2<<3 | byte(protowire.BytesType)

	tagFirstVarint = 1<<3 | byte(protowire.VarintType) // wrappers' value, Duration's seconds
)

const (
	codeOK        = byte(rlsv3.RateLimitResponse_OK)
	codeOverLimit = byte(rlsv3.RateLimitResponse_OVER_LIMIT)
)

// Append appends the RateLimitResponse for x, which is decided and has no
// Fault, and returns the extended buffer. It allocates only to grow dst.
func (h *Headers) Append(dst []byte, x *api.Exchange) []byte {
	verdict, _ := x.Verdict()
	overall := codeOK
	if verdict == limiter.Denied {
		overall = codeOverLimit
	}
	dst = append(dst, tagOverallCode, overall)

	charges := x.Call.Charges()
	var strictest [policy.DescriptorsMax]*limiter.Charge // by descriptor
	for i := range charges {
		ch := &charges[i]
		for bits, d := ch.Descriptors, 0; bits != 0; bits, d = bits>>1, d+1 {
			if bits&1 != 0 && (strictest[d] == nil || headers.Stricter(ch, strictest[d])) {
				strictest[d] = ch
			}
		}
	}
	for d := range x.Req.Descriptors() {
		if strictest[d] != nil {
			dst = appendStatus(dst, strictest[d])
			continue
		}
		code := codeOK
		if x.Outcome == policy.UnknownDomainDeny {
			code = codeOverLimit
		}
		dst = append(dst, tagStatus, 2, tagStatusCode, code)
	}
	dst = h.appendHeaders(dst, x, verdict)
	if x.Req.Headers == 0 && (h.Amount != "" || h.Remaining != "" || h.Reset != "") {
		dst = h.appendClosest(dst, strictest[:len(x.Req.Descriptors())])
	}
	return dst
}

// appendStatus appends a DescriptorStatus. As in Envoy's own service, a shadow
// limit's code is OK, and an unlimited one has no current_limit.
func appendStatus(dst []byte, ch *limiter.Charge) []byte {
	dst, at := wire.Open(dst, tagStatus)
	code := codeOK
	if headers.Denies(ch) {
		code = codeOverLimit
	}
	dst = append(dst, tagStatusCode, code)
	if ch.Limit.Kind != limiter.KindUnlimited {
		dst = appendLimit(dst, ch.Limit)
	}
	if remaining := clamp(ch.Decision.Remaining); remaining > 0 {
		dst = protowire.AppendVarint(append(dst, tagStatusRemaining), remaining)
	}
	if ch.Limit.Kind != limiter.KindUnlimited {
		var inner int
		dst, inner = wire.Open(dst, tagStatusReset)
		if s := headers.Seconds(ch.Decision.ResetAfter); s > 0 {
			dst = protowire.AppendVarint(append(dst, tagFirstVarint), s)
		}
		dst = wire.Shut(dst, inner)
	}
	return wire.Shut(dst, at)
}

// appendLimit appends a RateLimit.
func appendLimit(dst []byte, l *limiter.Limit) []byte {
	dst, at := wire.Open(dst, tagStatusLimit)
	amount, unit, multiplier := perUnit(l)
	if amount > 0 {
		dst = protowire.AppendVarint(append(dst, tagLimitAmount), amount)
	}
	dst = wire.AppendUint(dst, tagLimitUnit, uint64(unit))
	dst = wire.AppendString(dst, tagLimitName, l.Name)
	if multiplier > 1 {
		var inner int
		dst, inner = wire.Open(dst, tagLimitMultiplier)
		dst = protowire.AppendVarint(append(dst, tagFirstVarint), multiplier)
		dst = wire.Shut(dst, inner)
	}
	return wire.Shut(dst, at)
}

// perUnit says l's amount and period in the words of Envoy: the largest unit
// that divides the period, and how often it goes into it. A period of no whole
// number of seconds is told as the amount that passes in one second, rounded
// down.
func perUnit(l *limiter.Limit) (amount uint64, unit rlsv3.RateLimitResponse_RateLimit_Unit, multiplier uint64) {
	const day = 24 * time.Hour
	p := l.Period
	amount = clamp(l.Amount)
	if l.Kind == limiter.KindConcurrency { // nothing passes per unit of time
		return amount, rlsv3.RateLimitResponse_RateLimit_UNKNOWN, 1
	}
	if l.Kind == limiter.KindQuota && l.Quota.Unit != limiter.PerSpan {
		unit, multiplier = calendarUnit(l.Quota.Unit)
		return amount, unit, multiplier
	}
	times := func(unit time.Duration) uint64 { return uint64(p / unit) }
	switch {
	case p%time.Second != 0:
		perSecond := float64(l.Amount) * float64(time.Second) / float64(p)
		return clamp(uint64(perSecond)), rlsv3.RateLimitResponse_RateLimit_SECOND, 1
	case p%time.Minute != 0:
		return amount, rlsv3.RateLimitResponse_RateLimit_SECOND, times(time.Second)
	case p%time.Hour != 0:
		return amount, rlsv3.RateLimitResponse_RateLimit_MINUTE, times(time.Minute)
	case p%day != 0:
		return amount, rlsv3.RateLimitResponse_RateLimit_HOUR, times(time.Hour)
	case p%(365*day) == 0:
		return amount, rlsv3.RateLimitResponse_RateLimit_YEAR, times(365 * day)
	case p%(30*day) == 0:
		return amount, rlsv3.RateLimitResponse_RateLimit_MONTH, times(30 * day)
	case p%(7*day) == 0:
		return amount, rlsv3.RateLimitResponse_RateLimit_WEEK, times(7 * day)
	default:
		return amount, rlsv3.RateLimitResponse_RateLimit_DAY, times(day)
	}
}

// calendarUnit says a quota's period in the words of Envoy.
func calendarUnit(u limiter.CalendarUnit) (unit rlsv3.RateLimitResponse_RateLimit_Unit, multiplier uint64) {
	switch u {
	case limiter.PerHour:
		return rlsv3.RateLimitResponse_RateLimit_HOUR, 1
	case limiter.PerDay:
		return rlsv3.RateLimitResponse_RateLimit_DAY, 1
	case limiter.PerWeek:
		return rlsv3.RateLimitResponse_RateLimit_WEEK, 1
	case limiter.PerMonth:
		return rlsv3.RateLimitResponse_RateLimit_MONTH, 1
	case limiter.PerQuarter:
		return rlsv3.RateLimitResponse_RateLimit_MONTH, 3
	default:
		return rlsv3.RateLimitResponse_RateLimit_YEAR, 1
	}
}

// appendHeaders appends response_headers_to_add: those of the settings, and the
// families that the domain's policy chose. Envoy itself can make X-RateLimit-*.
func (h *Headers) appendHeaders(dst []byte, x *api.Exchange, verdict limiter.Verdict) []byte {
	chosen := x.Req.Headers
	if verdict == limiter.Denied {
		if chosen == 0 || chosen&policy.HeadersRetryAfter != 0 {
			if wait, ok := headers.RetryAfter(x); ok && h.RetryAfter != "" {
				var digits [20]byte
				dst = appendHeader(dst, h.RetryAfter, strconv.AppendUint(digits[:0], wait, 10))
			}
		}
		if h.Limit != "" {
			dst = appendHeader(dst, h.Limit, headers.DeniedBy(x))
		}
	}
	if degraded := headers.Degraded(x); degraded != limiter.NotDegraded && h.Degraded != "" {
		dst = appendHeader(dst, h.Degraded, degraded.String())
	}
	if chosen &^= policy.HeadersChosen | policy.HeadersRetryAfter; chosen != 0 {
		dst = appendFamilies(dst, x, chosen)
	}
	return dst
}

// appendClosest appends the headers of the status that is closest to its limit, as
// Envoy's own service chooses it: the last that is over, if it is not one of several
// any_of; else the first of those with the least left.
func (h *Headers) appendClosest(dst []byte, statuses []*limiter.Charge) []byte {
	var closest *limiter.Charge
	least := uint64(math.MaxUint32)
	for _, ch := range statuses {
		if ch == nil || ch.Limit.Kind == limiter.KindUnlimited {
			continue
		}
		if over := headers.Denies(ch) && !ch.Limit.AnyOf; over {
			closest, least = ch, 0
		} else if left := ch.Decision.Remaining; left < least {
			closest, least = ch, left
		}
	}
	if closest == nil {
		return dst
	}
	amount, _, _ := perUnit(closest.Limit)
	for _, f := range [...]struct {
		name  string
		value uint64
	}{
		{h.Amount, amount},
		{h.Remaining, clamp(closest.Decision.Remaining)},
		{h.Reset, headers.Seconds(closest.Decision.ResetAfter)},
	} {
		if f.name != "" {
			var digits [20]byte
			dst = appendHeader(dst, f.name, strconv.AppendUint(digits[:0], f.value, 10))
		}
	}
	return dst
}

// appendFamilies is apart because its list takes room on the stack.
func appendFamilies(dst []byte, x *api.Exchange, chosen policy.HeaderSet) []byte {
	var l headers.List
	l.Fill(x, chosen)
	for i := range l.Len() {
		name, value := l.Field(i)
		dst = appendHeader(dst, name, value)
	}
	return dst
}

// appendHeader appends a HeaderValue. Bytes that a header can't hold become '?':
// a limit's name may be any text.
func appendHeader[T string | []byte](dst []byte, key string, value T) []byte {
	dst, at := wire.Open(dst, tagHeader)
	dst = wire.AppendString(dst, tagHeaderKey, key)
	dst = protowire.AppendVarint(append(dst, tagHeaderValue), uint64(len(value)))
	for i := range len(value) {
		c := value[i]
		if c < ' ' || c > '~' {
			c = '?'
		}
		dst = append(dst, c)
	}
	return wire.Shut(dst, at)
}

func clamp(n uint64) uint64 { return min(n, math.MaxUint32) }
