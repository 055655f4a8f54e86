package decision

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// Tags of ExplainResponse and ReplacedLimit.
const (
	tagExplainDecision = 1<<3 | message
	tagExplainDeciding = 2<<3 | number
	tagExplainMode     = 3<<3 | number
	tagExplainUnknown  = 4<<3 | number
	tagExplainReplaced = 5<<3 | message
	tagExplainExempt   = 6<<3 | number

	tagReplacedName        = 1<<3 | message
	tagReplacedExplanation = 2<<3 | message
)

// AppendExplained appends the ExplainResponse for x, which is decided and has no
// Fault, and returns the extended buffer. It allocates: it is for people.
func AppendExplained(dst []byte, x *api.Exchange) []byte {
	dst, at := wire.Open(dst, tagExplainDecision)
	dst = wire.Shut(Append(dst, x, true), at)
	if i := deciding(x); i >= 0 {
		dst = protowire.AppendVarint(append(dst, tagExplainDeciding), uint64(i))
	}
	dst = wire.AppendUint(dst, tagExplainMode, uint64(mode(x.Snapshot.Mode(string(x.Req.Domain)))))
	if x.Outcome == policy.UnknownDomainAllow || x.Outcome == policy.UnknownDomainDeny {
		dst = append(dst, tagExplainUnknown, 1)
	}
	for _, r := range x.Req.Replaced() {
		dst, at = wire.Open(dst, tagExplainReplaced)
		dst = wire.AppendString(dst, tagReplacedName, r.Limit.Name)
		dst = appendExplanation(dst, tagReplacedExplanation, x.Snapshot, &limiter.Charge{Limit: r.Limit, Key: r.Key})
		dst = wire.Shut(dst, at)
	}
	if x.Req.Exempt() {
		dst = append(dst, tagExplainExempt, 1)
	}
	return dst
}

// deciding returns the index of the charge that decides: the one that denies, else
// the enforced one that leaves the least, else −1.
func deciding(x *api.Exchange) int {
	if _, by := x.Verdict(); by >= 0 {
		return by
	}
	charges := x.Call.Charges()
	s, alternative := summarize(charges), -1
	for i := range charges {
		ch := &charges[i]
		switch {
		case ch.Limit.Shadow || ch.Limit.Kind == limiter.KindUnlimited || ch.Decision.Remaining != s.remaining:
		case !ch.Limit.AnyOf:
			return i
		case alternative < 0:
			alternative = i
		}
	}
	return alternative
}

func mode(m policy.Mode) headgatev1.DomainMode {
	switch m {
	case policy.ModeEnforce:
		return headgatev1.DomainMode_DOMAIN_MODE_ENFORCE
	case policy.ModeShadow:
		return headgatev1.DomainMode_DOMAIN_MODE_SHADOW
	case policy.ModeOff:
		return headgatev1.DomainMode_DOMAIN_MODE_OFF
	default:
		return headgatev1.DomainMode_DOMAIN_MODE_UNSPECIFIED
	}
}
